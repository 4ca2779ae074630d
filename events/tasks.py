"""Jobs that count events and maintain their tables. Each may be killed at any point and may run
twice, also at the same time: the fold locks its position, partitions are created under a lock, and
the rest only deletes what has expired."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connection
from django.db.models import Max
from procrastinate.contrib.django import app
from psycopg import sql

from events import notices, partitions, rejections, rollups
from ilara_admin.core.jobs import EVENTS_QUEUE, RETRY
from ilara_admin.models import Environment

RECEIPT_DAYS = 7
MINUTE_DAYS = 7
CHUNK_ROWS = 5_000


@app.periodic(cron="* * * * * */5")
@app.task(queue=EVENTS_QUEUE, queueing_lock="events.fold", pass_context=False)
def fold(timestamp: int, **_: Any) -> None:
    """Count the events that have arrived."""
    rollups.fold()


@app.periodic(cron="7 * * * *")
@app.task(queue=EVENTS_QUEUE, queueing_lock="events.ensure_partitions", pass_context=False)
def ensure_partitions(timestamp: int, **_: Any) -> None:
    """Create upcoming partitions. They are created days ahead, so the next hour is soon enough
    after a failure."""
    partitions.ensure()


@app.periodic(cron="9 * * * *")
@app.task(queueing_lock="events.maintain", retry=RETRY, pass_context=False)
def maintain(timestamp: int, **_: Any) -> None:
    """Delete expired rows."""
    delete_expired(datetime.now(UTC).date())
    delete_old("event_receipt", RECEIPT_DAYS)
    delete_old("event_rejected", rejections.KEPT_DAYS)
    delete_old("event_minute", MINUTE_DAYS, "start")


@app.periodic(cron="*/5 * * * *")
@app.task(queueing_lock="events.watch", pass_context=False)
def watch(timestamp: int, **_: Any) -> None:
    """Make notifications of rejected events that rise and of events that stopped."""
    notices.events_watch(datetime.now(UTC))


def delete_expired(today: date) -> None:
    """Delete events older than `retention_days`, and their counts. Partitions that no environment
    retains are dropped; other expired rows are deleted in chunks."""
    longest_retention = Environment.objects.aggregate(longest=Max("retention_days"))["longest"]
    if longest_retention is None:
        return
    partitions.drop_before(today - timedelta(days=longest_retention))
    for environment in Environment.objects.all():
        until = today - timedelta(days=environment.retention_days)
        for partition in partitions.describe():
            if partition.day and partition.day < until:
                _delete_rows(partition.name, "environment_id = %s", [environment.pk])
        moment = datetime.combine(until, time(), UTC)
        _delete_rows("event_hour", "environment_id = %s AND start < %s", [environment.pk, moment])


def delete_old(table: str, days: int, column: str = "received_at") -> None:
    _delete_rows(table, f"{column} < now() - make_interval(days => %s)", [days])


def _delete_rows(table: str, where: str, params: list[Any]) -> None:
    """Delete in chunks, each in its own transaction, since a long one would delay the stream."""
    chunk = sql.SQL(
        f"DELETE FROM {{table}} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {{table}} WHERE {where}"
        f" LIMIT {CHUNK_ROWS}))"
    ).format(table=sql.Identifier(table))
    deleted = CHUNK_ROWS
    while deleted == CHUNK_ROWS:
        with connection.cursor() as cursor:
            cursor.execute(chunk, params)
            deleted = cursor.rowcount

"""Jobs that count events and keep their tables in order. Each may be killed at any point."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connection
from django.db.models import Max
from procrastinate.contrib.django import app
from psycopg import sql

from events import partitions, rejections, rollups
from ilara_admin.models import Environment

RECEIPT_DAYS = 7
MINUTE_DAYS = 7
CHUNK_ROWS = 5_000


@app.periodic(cron="* * * * * */10")
@app.task(queueing_lock="events.fold", pass_context=False)
def fold(timestamp: int, **_: Any) -> None:
    """Count what has arrived."""
    rollups.fold()


@app.periodic(cron="7 * * * *")
@app.task(queueing_lock="events.maintain", pass_context=False)
def maintain(timestamp: int, **_: Any) -> None:
    """Make the partitions of the days to come, and delete whatever has been kept long enough."""
    partitions.ensure()
    delete_expired(datetime.now(UTC).date())
    delete_old("event_receipt", RECEIPT_DAYS)
    delete_old("event_rejected", rejections.KEPT_DAYS)
    delete_old("event_minute", MINUTE_DAYS, "start")


def delete_expired(today: date) -> None:
    """Delete the events of days that lie more than `retention_days` back, and their counts. What no
    environment keeps any more goes as whole partitions; the rest of the shorter ones in chunks."""
    kept = Environment.objects.aggregate(longest=Max("retention_days"))["longest"]
    if kept is None:
        return
    partitions.drop_before(today - timedelta(days=kept))
    for environment in Environment.objects.all():
        until = today - timedelta(days=environment.retention_days)
        for partition in partitions.describe():
            if partition.day and partition.day < until:
                _repeat(partition.name, "environment_id = %s", [environment.pk])
        moment = datetime.combine(until, time(), UTC)
        _repeat("event_hour", "environment_id = %s AND start < %s", [environment.pk, moment])


def delete_old(table: str, days: int, column: str = "received_at") -> None:
    _repeat(table, f"{column} < now() - make_interval(days => %s)", [days])


def _repeat(table: str, where: str, params: list[Any]) -> None:
    """Delete in chunks, each a transaction of its own: a long one would hold up the stream."""
    chunk = sql.SQL(
        f"DELETE FROM {{table}} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {{table}} WHERE {where}"
        f" LIMIT {CHUNK_ROWS}))"
    ).format(table=sql.Identifier(table))
    deleted = CHUNK_ROWS
    while deleted == CHUNK_ROWS:
        with connection.cursor() as cursor:
            cursor.execute(chunk, params)
            deleted = cursor.rowcount

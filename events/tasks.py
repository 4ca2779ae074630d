"""Jobs that keep the event tables in order. Each may be killed at any point."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connection
from django.db.models import Max
from procrastinate.contrib.django import app

from events import partitions
from ilara_admin.models import Environment

RECEIPT_DAYS = 7
CHUNK_ROWS = 5_000


@app.periodic(cron="7 * * * *")
@app.task(queueing_lock="events.maintain", pass_context=False)
def maintain(timestamp: int, **_: Any) -> None:
    """Make the partitions of the days to come, forget event ids after a week, and delete events
    past their environment's retention."""
    partitions.ensure()
    while forget_receipts():
        pass
    delete_expired(datetime.now(UTC).date())


def delete_expired(today: date) -> None:
    """Delete the events of days that lie more than `retention_days` back. What no environment keeps
    any more goes as whole partitions; the rest of the shorter ones row by row."""
    kept = Environment.objects.aggregate(longest=Max("retention_days"))["longest"]
    if kept is None:
        return
    partitions.drop_before(today - timedelta(days=kept))
    for environment in Environment.objects.filter(retention_days__lt=kept):
        until = today - timedelta(days=environment.retention_days)
        while delete_events(environment.pk, datetime.combine(until, time(), UTC)):
            pass


def delete_events(environment_id: int, until: datetime) -> int:
    """Delete one chunk of the events received before `until`; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM event WHERE received_at < %s AND (player_id, received_at, id) IN (
                   SELECT player_id, received_at, id FROM event
                   WHERE environment_id = %s AND received_at < %s LIMIT %s)""",
            [until, environment_id, until, CHUNK_ROWS],
        )
        return int(cursor.rowcount)


def forget_receipts() -> int:
    """Delete one chunk of expired ids; returns how many. Small chunks keep transactions short."""
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM event_receipt WHERE ctid = ANY(ARRAY(
                   SELECT ctid FROM event_receipt
                   WHERE received_at < now() - make_interval(days => %s) LIMIT %s))""",
            [RECEIPT_DAYS, CHUNK_ROWS],
        )
        return int(cursor.rowcount)

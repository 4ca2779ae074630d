"""Jobs that keep the event tables in order. Each may be killed at any point."""

from typing import Any

from django.db import connection
from procrastinate.contrib.django import app

from events import partitions

RECEIPT_DAYS = 7
CHUNK_ROWS = 5_000


@app.periodic(cron="7 * * * *")
@app.task(queueing_lock="events.maintain", pass_context=False)
def maintain(timestamp: int, **_: Any) -> None:
    """Make the partitions of the days to come and forget event ids after a week."""
    partitions.ensure()
    while forget_receipts():
        pass


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

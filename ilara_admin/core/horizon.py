"""Up to which id the rows of a growing table are complete. Transactions commit in another order
than they draw ids, so a later commit may add a lower id."""

from datetime import datetime
from time import monotonic, sleep
from typing import Any, NamedTuple

from django.db import connection

SETTLE_SECONDS = 1.0  # longer than any insert takes from drawing an id to having a transaction id
PATIENCE_SECONDS = 3.0
POLL_SECONDS = 0.1


class Horizon(NamedTuple):
    """All rows up to `id` were visible at the time `at`, or will never be."""

    id: int
    at: datetime


def settled(
    sequence: str, *, seconds: float = SETTLE_SECONDS, patience: float = PATIENCE_SECONDS
) -> Horizon | None:
    """The current horizon of the table whose ids come from this sequence, or None if older
    transactions do not end within `patience` seconds."""
    # Before its first use, a sequence shows the id that it will return first.
    highest = _one(f"SELECT last_value - (NOT is_called)::int, clock_timestamp() FROM {sequence}")
    # A transaction that drew an id has its transaction id by then, lower than the one taken next.
    sleep(seconds)
    (transaction_id,) = _one("SELECT pg_current_xact_id()::text::bigint")
    deadline = monotonic() + patience
    while _one("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")[0] < transaction_id:
        if monotonic() > deadline:
            return None
        sleep(POLL_SECONDS)
    return Horizon(*highest)


def _one(sql: str) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        row: tuple[Any, ...] = cursor.fetchone()
        return row

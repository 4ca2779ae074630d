"""The daily partitions of the event table: made ahead of time, by UTC day of arrival.

Rows of a day that has no partition yet fall into event_default, and are moved when it is made.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db import connection, transaction
from psycopg import sql

DAYS_AHEAD = 7
LOCK_TIMEOUT = "4s"


@dataclass(frozen=True, slots=True)
class Partition:
    name: str
    rows: int  # an estimate by the planner's statistics
    bytes: int


def ensure(today: date | None = None, days_ahead: int = DAYS_AHEAD) -> list[str]:
    """Make the partitions of today and the days to come that are missing; returns their names."""
    first = today or datetime.now(UTC).date()
    existing = {partition.name for partition in describe()}
    days = [first + timedelta(days=offset) for offset in range(days_ahead + 1)]
    missing = [day for day in days if name_of(day) not in existing]
    for day in missing:
        _make(day)
    return [name_of(day) for day in missing]


def describe() -> list[Partition]:
    """The partitions that exist, in the order of their names."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.relname, greatest(c.reltuples, 0)::bigint, pg_total_relation_size(c.oid)
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'event'::regclass ORDER BY c.relname"""
        )
        return [Partition(*row) for row in cursor.fetchall()]


def drop_before(day: date) -> list[str]:
    """Drop the partitions of the days before `day`; returns their names."""
    old = [item.name for item in describe() if (of := day_of(item.name)) and of < day]
    for name in old:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
            cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
    return old


def name_of(day: date) -> str:
    return f"event_{day:%Y%m%d}"


def day_of(name: str) -> date | None:
    """The day of a partition, or None for the default one."""
    try:
        return datetime.strptime(name, "event_%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None


def _make(day: date) -> None:
    """Build the table beside its parent and attach it, so that writers wait for a moment only."""
    start = datetime.combine(day, time(), UTC)
    names = {
        "table": sql.Identifier(name_of(day)),
        "check": sql.Identifier(f"{name_of(day)}_day"),
        "start": sql.Literal(start.isoformat()),
        "end": sql.Literal((start + timedelta(days=1)).isoformat()),
    }
    inside = "received_at >= {start}::timestamptz AND received_at < {end}::timestamptz"
    statements = [
        "CREATE TABLE {table} (LIKE event INCLUDING DEFAULTS)",
        f"ALTER TABLE {{table}} ADD CONSTRAINT {{check}} CHECK ({inside})",
        f"""WITH stray AS (DELETE FROM event_default WHERE {inside} RETURNING *)
            INSERT INTO {{table}} SELECT * FROM stray""",
        "ALTER TABLE event ATTACH PARTITION {table} FOR VALUES FROM ({start}) TO ({end})",
        "ALTER TABLE {table} DROP CONSTRAINT {check}",
    ]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
        for statement in statements:
            cursor.execute(sql.SQL(statement).format(**names))

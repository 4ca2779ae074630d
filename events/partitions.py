"""Daily partitions of the event table by UTC day of arrival, created in advance.

Rows of a day without a partition go to event_default and are moved when the partition is created.
Queries on `event` see them in either place.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db import connection, transaction
from psycopg import sql

DAYS_AHEAD = 7
LOCK_TIMEOUT = "4s"
DEFAULT = "event_default"
MAKING_LOCK = 0xE7E27  # of the transaction that creates a partition

# For /readyz: tomorrow's partition exists and no event went to the default one.
READY = f"""to_regclass(format('event_%s', to_char(
        now() AT TIME ZONE 'UTC' + interval '1 day', 'YYYYMMDD'))) IS NOT NULL
    AND NOT EXISTS (SELECT FROM {DEFAULT})"""


@dataclass(frozen=True, slots=True)
class Partition:
    """`rows` is an estimate from PostgreSQL's statistics. `day` is None for the default one."""

    name: str
    rows: int
    bytes: int

    @property
    def day(self) -> date | None:
        return day_of(self.name)


def ensure(today: date | None = None, days_ahead: int = DAYS_AHEAD) -> list[str]:
    """Create the missing partitions: today's, those of the next days, and those of stray rows.
    Returns their names."""
    first = today or datetime.now(UTC).date()
    existing = {partition.name for partition in describe()}
    days = {first + timedelta(days=offset) for offset in range(days_ahead + 1)} | days_of_strays()
    missing = [day for day in sorted(days) if name_of(day) not in existing]
    return [name_of(day) for day in missing if _make(day)]


def describe() -> list[Partition]:
    """The existing partitions, sorted by name."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.relname, greatest(c.reltuples::bigint, pg_stat_get_live_tuples(c.oid), 0),
                      pg_total_relation_size(c.oid)
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'event'::regclass ORDER BY c.relname"""
        )
        return [Partition(*row) for row in cursor.fetchall()]


def days_of_strays() -> set[date]:
    """The days of rows in the default partition, which should be empty."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT DISTINCT (received_at AT TIME ZONE 'UTC')::date FROM {DEFAULT}")
        return {day for (day,) in cursor.fetchall()}


def drop_before(day: date) -> list[str]:
    """Drop the partitions of days before `day`; returns their names."""
    old = [item.name for item in describe() if item.day and item.day < day]
    for name in old:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
            cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))
    return old


def name_of(day: date) -> str:
    return f"event_{day:%Y%m%d}"


def day_of(name: str) -> date | None:
    """The day of a partition, or None for the default one."""
    try:
        return datetime.strptime(name, "event_%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None


def _make(day: date) -> bool:
    """Create the table with its indexes as a standalone table and attach it; False if another
    process has just done so.

    Stray rows are moved twice: most of them while inserts continue, then under a lock the few that
    arrived in the meantime, since attaching fails while the default partition holds matching rows.
    """
    start = datetime.combine(day, time(), UTC)
    names = {
        "table": sql.Identifier(name_of(day)),
        "check": sql.Identifier(f"{name_of(day)}_day"),
        "default": sql.Identifier(DEFAULT),
        "start": sql.Literal(start.isoformat()),
        "end": sql.Literal((start + timedelta(days=1)).isoformat()),
    }
    inside = "received_at >= {start}::timestamptz AND received_at < {end}::timestamptz"
    move = f"""WITH stray AS (DELETE FROM {{default}} WHERE {inside} RETURNING *)
               INSERT INTO {{table}} SELECT * FROM stray"""
    statements = [
        "CREATE TABLE {table} (LIKE event INCLUDING DEFAULTS INCLUDING INDEXES)",
        f"ALTER TABLE {{table}} ADD CONSTRAINT {{check}} CHECK ({inside})",
        move,
        "LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE",
        move,
        "ALTER TABLE event ATTACH PARTITION {table} FOR VALUES FROM ({start}) TO ({end})",
        "ALTER TABLE {table} DROP CONSTRAINT {check}",
    ]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [MAKING_LOCK])
        cursor.execute("SELECT to_regclass(%s)", [name_of(day)])
        if cursor.fetchone()[0]:
            return False
        for statement in statements:
            cursor.execute(sql.SQL(statement).format(**names))
    return True

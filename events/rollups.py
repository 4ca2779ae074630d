"""Counts events per minute and hour, and maintains the catalogue of names and properties.

Ingest updates no counters, because writers would wait for each other. A job reads settled events in
id order and counts each exactly once: the counts and the job's position are written in one
transaction, and no id at or below a settled one can appear later (see tail.py).
"""

from django.db import connection, transaction

from ilara_admin.core import horizon
from ilara_admin.core.horizon import SETTLE_SECONDS, Horizon
from ilara_admin.models import Environment
from ilara_admin.runtime.metrics import Figure

# A chunk takes a fraction of a second; a longer transaction would delay all readers of the log.
CHUNK_EVENTS = 5_000
# Generated property names, as in {"item_4711": 1}, must not fill the catalogue.
MAX_PROPERTIES = 500
PATIENCE_SECONDS = 3.0

FIGURES = {
    "ilara_fold_lag_seconds": Figure("Age of the newest complete count of events"),
    "ilara_fold_lag_events": Figure("Events stored after the last one counted, at most"),
}
FIGURES_SQL = """
    SELECT figure.name, '', figure.value
    FROM (SELECT extract(epoch FROM now() - min(counted_until)) AS seconds,
                 (SELECT last_value - (NOT is_called)::int FROM event_id_seq) - min(folded_id)
                     AS events
          FROM event_fold) lag,
    LATERAL (VALUES ('ilara_fold_lag_seconds', coalesce(seconds, 0)::float8),
                    ('ilara_fold_lag_events', greatest(events, 0)::float8)) figure (name, value)"""


def fold() -> int:
    """Count settled events that are not counted yet; returns how many.

    It may be killed at any point, and two runs may overlap. Events that an open transaction keeps
    from settling are counted by the next run.
    """
    horizon = settled()
    return fold_until(horizon) if horizon else 0


def settled() -> Horizon | None:
    """The current horizon of events."""
    return horizon.settled("event_id_seq", seconds=SETTLE_SECONDS, patience=PATIENCE_SECONDS)


def fold_until(horizon: Horizon) -> int:
    """Count all events up to the horizon; returns how many were new."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO event_fold (environment_id) SELECT id FROM environment
               ON CONFLICT DO NOTHING"""
        )
    total = 0
    for environment_id in Environment.objects.order_by("pk").values_list("pk", flat=True):
        while counted := fold_chunk(environment_id, horizon):
            total += counted
    return total


def fold_chunk(environment_id: int, horizon: Horizon) -> int:
    """Count the next events of one environment; 0 when all up to the horizon are counted, or while
    another job counts them."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """SELECT folded_id FROM event_fold WHERE environment_id = %s AND folded_id <= %s
               AND (counted_until < %s OR counted_until IS NULL) FOR UPDATE SKIP LOCKED""",
            [environment_id, *horizon],
        )
        state = cursor.fetchone()
        if state is None:
            return 0
        values = {"environment": environment_id, "after": state[0], "until": horizon.id}
        cursor.execute(FOLD_SQL, values)
        counted, last_id = cursor.fetchone()
        finished = counted < CHUNK_EVENTS
        cursor.execute(
            """UPDATE event_fold SET folded_id = %s, counted_until = coalesce(%s, counted_until)
               WHERE environment_id = %s""",
            [horizon.id if finished else last_id, horizon.at if finished else None, environment_id],
        )
    return int(counted)


def _counts(table: str, unit: str) -> str:
    return f"""
    INSERT INTO {table} AS known (environment_id, start, event_name_id, count)
    SELECT %(environment)s, date_trunc('{unit}', received_at, 'UTC'), names.id, count(*)
    FROM page JOIN names USING (name) GROUP BY 2, 3
    ON CONFLICT (environment_id, start, event_name_id)
    DO UPDATE SET count = known.count + excluded.count"""


FOLD_SQL = f"""
WITH page AS MATERIALIZED (
    SELECT id, name, received_at, properties FROM event
    WHERE environment_id = %(environment)s AND id > %(after)s AND id <= %(until)s
    ORDER BY id LIMIT {CHUNK_EVENTS})
, names AS (
    INSERT INTO event_name AS known (environment_id, name, first_seen_at, last_seen_at, count)
    SELECT %(environment)s, name, min(received_at), max(received_at), count(*)
    FROM page GROUP BY name
    ON CONFLICT (environment_id, name) DO UPDATE SET
        first_seen_at = least(known.first_seen_at, excluded.first_seen_at),
        last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at),
        count = known.count + excluded.count
    RETURNING id, name)
, minutes AS ({_counts("event_minute", "minute")})
, hours AS ({_counts("event_hour", "hour")})
, seen AS (
    SELECT names.id AS event_name_id, item.key AS name, jsonb_typeof(item.value) AS type,
           count(*) AS count
    FROM page JOIN names USING (name), jsonb_each(page.properties) AS item GROUP BY 1, 2, 3)
, ranked AS (
    SELECT seen.*, known.name IS NOT NULL AS is_known,
           row_number() OVER (PARTITION BY seen.event_name_id, known.name IS NOT NULL
                              ORDER BY seen.count DESC, seen.name) AS rank
    FROM seen LEFT JOIN event_property known USING (event_name_id, name, type))
, properties AS (
    INSERT INTO event_property AS known (event_name_id, name, type, count)
    SELECT event_name_id, name, type, count FROM ranked
    WHERE is_known OR rank + (SELECT count(*) FROM event_property held
                              WHERE held.event_name_id = ranked.event_name_id) <= {MAX_PROPERTIES}
    ON CONFLICT (event_name_id, name, type) DO UPDATE SET count = known.count + excluded.count)
SELECT count(*), max(id) FROM page"""

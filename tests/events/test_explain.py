"""The plans of the statements that the code runs, with a million events.

The statements are captured as they run, with default planner settings.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from events import export, log_reader, partitions, rollups, search, stats, tail
from events.log_reader import Filter
from events.properties import PropertyFilter, PropertyOperator
from events.search import ALL_TIME, TimeRange
from events.timeline import TimelineFilter, timeline
from ilara_admin.core import db
from ilara_admin.models import Environment
from segments.language.parser import EventCount
from segments.language.sql import LATEST, Window, count_sql
from tests.events.conftest import make_environment

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

ROWS = 1_000_000
DAYS = 5
PLAYERS = 20_000
PLAYER = UUID(int=77)
# The time of the last event. Soon after midnight the day's partition is so small that a sequential
# scan is right.
NOW = datetime.now(UTC)
if NOW.hour < 3:
    NOW -= timedelta(hours=3)

FILL = """
    INSERT INTO event (player_id, received_at, environment_id, event_id, name, session_id,
                       properties, occurred_at)
    SELECT lpad(to_hex(n * 7919 %% %(players)s), 32, '0')::uuid, moment,
           CASE WHEN n %% 10 = 0 THEN %(other)s ELSE %(environment)s END, 'e-' || n,
           (ARRAY['start','start','level_up','level_up','shop','purchase','quit','quit','chat',
                  'rare-' || n %% 997])[1 + n * 31 %% 10],
           's-' || n / 20, '{"level": 5, "item": "sword"}', moment
    FROM generate_series(%(start)s::bigint, %(end)s::bigint - 1) n,
         LATERAL (SELECT %(now)s - (%(rows)s - n) * %(span)s::interval / %(rows)s AS moment)
"""


def fill(environment: Environment, rows: int, days: int = DAYS) -> None:
    """Fill the last days with events in order of arrival, nine of ten in `environment`, and update
    PostgreSQL's statistics."""
    other = make_environment()
    partitions.ensure((NOW - timedelta(days=days)).date(), days)
    values: dict[str, Any] = {
        "players": PLAYERS, "environment": environment.pk, "other": other.pk, "rows": rows,
        "now": NOW, "span": f"{days} days",
    }  # fmt: skip
    step = 250_000
    with connection.cursor() as cursor:
        for start in range(0, rows, step):
            cursor.execute(FILL, {**values, "start": start, "end": min(start + step, rows)})
        cursor.execute("VACUUM (ANALYZE) event")


@pytest.fixture(scope="module")
def environment(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Environment]:
    with django_db_blocker.unblock():
        made = make_environment()
        fill(made, ROWS)
        yield made
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE event, project, staff CASCADE")


type Plan = dict[str, Any]


@contextmanager
def plans() -> Iterator[list[Plan]]:
    """The plans of the statements that run inside, on the raw connection and through Django."""
    found: list[Plan] = []
    run = db.fetch_all

    def explained(sql: str, params: Any, **options: bool) -> list[db.Row]:
        with psycopg.RawCursor(connection.connection) as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
            found.append(_plan(cursor.fetchone()))
        return run(sql, params, **options)

    def wrapper(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        if not str(sql).lstrip().startswith(("SELECT", "WITH")):
            return execute(sql, params, many, context)
        session = connection.connection
        assert session
        with session.transaction(force_rollback=True), session.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
            found.append(_plan(cursor.fetchone()))
        return execute(sql, params, many, context)

    with pytest.MonkeyPatch.context() as patched, connection.execute_wrapper(wrapper):
        connection.ensure_connection()
        patched.setattr(db, "fetch_all", explained)
        yield found


def _plan(row: Any) -> Plan:
    document = row[0] if not isinstance(row[0], str) else msgspec.json.decode(row[0])
    plan: Plan = document[0]["Plan"]
    return plan


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def read_rows(found: list[Plan]) -> int:
    """The number of event rows read, including those that a filter removed."""
    total = 0.0
    for node in (node for plan in found for node in nodes(plan)):
        if str(node.get("Relation Name", "")).startswith("event_2"):
            dropped = node.get("Rows Removed by Filter", 0) + node.get(
                "Rows Removed by Index Recheck", 0
            )
            total += (node["Actual Rows"] + dropped) * node["Actual Loops"]
    return round(total)


def seq_scans(found: list[Plan]) -> list[str]:
    """Partitions with rows that were read sequentially."""
    return [
        node["Relation Name"]
        for plan in found
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan"
        and node["Relation Name"].startswith("event_2")
        and node["Actual Rows"] + node.get("Rows Removed by Filter", 0) > 0
    ]


def player_by_key(environment: Environment) -> None:
    db.fetch_one("SELECT id FROM player WHERE id = $1", [PLAYER])


def newest(environment: Environment) -> None:
    log_reader.newest(environment.pk, 100)


def newest_of_a_name(environment: Environment) -> None:
    log_reader.newest(environment.pk, 100, Filter("level_up"))


def newest_of_a_rare_name(environment: Environment) -> None:
    log_reader.newest(environment.pk, 100, Filter("rare-11"))


def newest_of_a_player(environment: Environment) -> None:
    log_reader.newest(environment.pk, 100, Filter(None, PLAYER))


def page_of_the_log(environment: Environment) -> None:
    (last,) = log_reader.newest(environment.pk, 1)
    log_reader.page(environment.pk, last.id - 5_000, log_reader.EARLIEST, log_reader.EVERYTHING)


def beginning_of_a_stream(environment: Environment) -> None:
    tail.begin(environment.pk)


def poll_of_the_stream(environment: Environment) -> None:
    (last,) = log_reader.newest(environment.pk, 1)
    since = NOW - log_reader.SLACK
    db.fetch_one(tail.POLL_SQL, [environment.pk, last.id - 50, since, False])


def waiting_after_a_pause(environment: Environment) -> None:
    (last,) = log_reader.newest(environment.pk, 1)
    search.count_after(environment.pk, Filter("level_up"), last.id - 1_000, 10_000)


MIDDLE = TimeRange(NOW - timedelta(days=2, hours=7), NOW - timedelta(days=2))
NO_LEVEL = PropertyFilter("level", PropertyOperator.AT_LEAST, "6")
SWORD = PropertyFilter("item", PropertyOperator.EQUALS, "sword")


def search_of_a_time(environment: Environment) -> None:
    assert len(search.search(environment.pk, log_reader.EVERYTHING, MIDDLE, 100).entries) == 100


def search_of_a_name(environment: Environment) -> None:
    assert len(search.search(environment.pk, Filter("level_up"), MIDDLE, 100).entries) == 100


def search_of_a_rare_name(environment: Environment) -> None:
    assert search.search(environment.pk, Filter("rare-11"), ALL_TIME, 100).entries


def search_of_an_unknown_name(environment: Environment) -> None:
    assert search.search(environment.pk, Filter("unknown"), ALL_TIME, 100).looked_to is None


def search_of_a_player(environment: Environment) -> None:
    assert search.search(environment.pk, Filter(None, PLAYER), MIDDLE, 100).looked_to is None


def search_of_a_property(environment: Environment) -> None:
    wanted = Filter(where=SWORD)
    assert len(search.search(environment.pk, wanted, MIDDLE, 100).entries) == 100


def search_of_a_property_that_no_event_has(environment: Environment) -> None:
    found = search.search(environment.pk, Filter(where=NO_LEVEL), MIDDLE, 100)
    assert (found.entries, found.looked_to is None) == ([], False)


def chart_of_rates(environment: Environment) -> None:
    stats.rates(environment, NOW, None)


def timeline_of_a_player(environment: Environment) -> None:
    timeline(PLAYER)
    timeline(PLAYER, TimelineFilter(event_name="purchase"))


def chunk_of_the_count(environment: Environment) -> None:
    with connection.cursor() as cursor:
        values = {"environment": environment.pk, "after": 400_000, "until": 2**62}
        cursor.execute(rollups.FOLD_SQL, values)


def hour_of_an_export(environment: Environment) -> None:
    start = NOW - timedelta(hours=30)
    list(export.read(environment.pk, export.Hour(start, start + export.HOUR)))


def hour_of_an_export_of_a_name(environment: Environment) -> None:
    start = NOW - timedelta(hours=30)
    list(export.read(environment.pk, export.Hour(start, start + export.HOUR), "purchase"))


PURCHASES = EventCount("purchase", "2d", None, 5)


def event_count_of_one_player(environment: Environment) -> None:
    """The query of a segment for one player: recent events, up to a limit."""
    params: list[Any] = [PLAYER]

    def bind(value: Any) -> str:
        params.append(value)
        return f"${len(params)}"

    window = Window("statement_timestamp()", bind(NOW - PURCHASES.span), bind(NOW + LATEST))
    db.fetch_one(f"SELECT {count_sql(PURCHASES, '$1', bind, window)}", params)


def event_count_of_all_players(environment: Environment) -> None:
    """The query for the size of such a segment, over the last three hours."""
    db.fetch_all(
        """SELECT e.player_id, count(*) FROM event e
           WHERE e.environment_id = $1 AND e.name = $2 AND e.received_at > $3
           GROUP BY e.player_id""",
        [environment.pk, "purchase", NOW - timedelta(hours=3)],
    )


# The queries, and how many rows each may read: a small multiple of the rows it needs.
QUERIES = {
    newest: 1_000,
    newest_of_a_name: 5_000,
    newest_of_a_rare_name: 2_000,
    newest_of_a_player: 1_000,
    page_of_the_log: 2_500,
    beginning_of_a_stream: 30_000,
    poll_of_the_stream: 1_000,
    waiting_after_a_pause: 5_000,
    search_of_a_time: 10_000,
    search_of_a_name: 5_000,
    search_of_a_rare_name: 2_000,
    search_of_an_unknown_name: 100,
    search_of_a_player: 1_000,
    search_of_a_property: 10_000,
    search_of_a_property_that_no_event_has: 40_000,
    chart_of_rates: 25_000,
    timeline_of_a_player: 1_000,
    chunk_of_the_count: 30_000,
    hour_of_an_export: 60_000,
    hour_of_an_export_of_a_name: 2_000,
    event_count_of_one_player: 1_000,
    event_count_of_all_players: 10_000,
}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.__name__)
def test_statement__is_served_by_an_index(query: Any, environment: Environment) -> None:
    with plans() as found:
        query(environment)
    assert found
    assert seq_scans(found) == []
    assert read_rows(found) <= QUERIES[query]

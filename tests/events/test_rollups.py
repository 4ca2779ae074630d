"""The fold job counts each event exactly once, also when it is killed or runs twice."""

import random
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from events import rollups
from events.log_reader import recent_examples
from events.models import EventFold, EventHour, EventMinute, EventName, EventProperty
from ilara_admin.core.horizon import Horizon
from ilara_admin.models import Environment
from tests.events.conftest import database_session, insert, make_environment, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def environment(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setattr(rollups, "SETTLE_SECONDS", 0.1)
    return make_environment()


def store(environment: Environment, *names: str) -> list[int]:
    with database_session() as session:
        ids = insert(session, environment, *names)
        session.commit()
    return ids


def rows(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def assert_equal_to_the_table() -> None:
    """The rollups and the catalogue match a count of the events."""
    for unit, table in (("minute", "event_minute"), ("hour", "event_hour")):
        counted = rows(
            f"""SELECT c.environment_id, n.name, start, c.count FROM {table} c
                JOIN event_name n ON n.id = event_name_id ORDER BY 1, 2, 3"""
        )
        expected = rows(
            f"""SELECT environment_id, name, date_trunc('{unit}', received_at, 'UTC'), count(*)
                FROM event GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
        )
        assert counted == expected
    assert rows(
        """SELECT environment_id, name, count, first_seen_at, last_seen_at FROM event_name
           ORDER BY 1, 2"""
    ) == rows(
        """SELECT environment_id, name, count(*), min(received_at), max(received_at) FROM event
           GROUP BY 1, 2 ORDER BY 1, 2"""
    )
    assert rows(
        """SELECT n.environment_id, n.name, p.name, p.type, p.count FROM event_property p
           JOIN event_name n ON n.id = event_name_id ORDER BY 1, 2, 3, 4"""
    ) == rows(
        """SELECT environment_id, name, key, jsonb_typeof(value), count(*)
           FROM event, jsonb_each(properties) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""
    )


def test_settled_events__are_counted_once(environment: Environment) -> None:
    other = make_environment()
    store(environment, "a", "b", "a")
    store(other, "a")
    assert [rollups.fold(), rollups.fold()] == [4, 0]
    store(environment, "c", "a")
    assert rollups.fold() == 2
    assert_equal_to_the_table()
    assert {row.environment_id for row in EventName.objects.all()} == {environment.pk, other.pk}


def test_counting_in_chunks__gives_the_same_counts(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = rollups.FOLD_SQL.replace(f"LIMIT {rollups.CHUNK_EVENTS}", "LIMIT 3")
    monkeypatch.setattr(rollups, "CHUNK_EVENTS", 3)
    monkeypatch.setattr(rollups, "FOLD_SQL", sql)
    store(environment, *"abcabcabcab")
    assert rollups.fold() == 11
    assert_equal_to_the_table()


def test_backdated_events__are_counted_at_their_arrival(environment: Environment) -> None:
    """As in the sample game: old times, new ids."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO event (player_id, received_at, environment_id, event_id, name,
                                  properties, occurred_at)
               SELECT gen_random_uuid(), now() - n * interval '17 minutes', %s, n::text, 'x', '{}',
                      now() FROM generate_series(1, 200) n""",
            [environment.pk],
        )
        cursor.execute("SET TIME ZONE 'Asia/Kolkata'")  # an offset of half hours
        assert rollups.fold() == 200
        cursor.execute("SET TIME ZONE 'UTC'")
    assert_equal_to_the_table()


def test_events_after_an_open_transaction__are_counted_when_it_ends(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "PATIENCE_SECONDS", 0.3)
    with database_session() as late:
        insert(late, environment, "late")
        store(environment, "early")
        assert rollups.fold() == 0
        late.commit()
    assert rollups.fold() == 2
    assert_equal_to_the_table()


@pytest.mark.parametrize("statement", ["SELECT folded_id", "WITH page", "UPDATE event_fold"])
def test_killed_job__changes_nothing(statement: str, environment: Environment) -> None:
    store(environment, *"abc")
    with pytest.raises(KilledError), connection.execute_wrapper(killed_after(statement)):
        rollups.fold()
    assert EventName.objects.count() == 0
    assert rollups.fold() == 3
    assert_equal_to_the_table()


class KilledError(Exception):
    pass


def killed_after(start: str) -> Any:
    def wrapper(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if str(sql).strip().startswith(start):
            raise KilledError
        return result

    return wrapper


@pytest.mark.slow
def test_concurrent_jobs__count_nothing_twice(environment: Environment) -> None:
    """Writers with transactions of varying length, and four overlapping jobs."""
    writing = threading.Event()
    writing.set()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with database_session() as session:
            for _ in range(25):
                insert(session, environment, *chance.choices("abcd", k=chance.randint(1, 30)))
                time.sleep(chance.choice([0, 0.01, 0.1]))
                session.rollback() if chance.random() < 0.2 else session.commit()

    def count() -> None:
        while writing.is_set():
            rollups.fold()
        connection.close()

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    counters = [threading.Thread(target=count) for _ in range(4)]
    for thread in [*writers, *counters]:
        thread.start()
    for thread in writers:
        thread.join()
    writing.clear()
    for thread in counters:
        thread.join()
    rollups.fold()
    assert sum(row.count for row in EventName.objects.all()) > 500
    assert_equal_to_the_table()


def test_properties__have_types_and_counts_and_store_no_values(environment: Environment) -> None:
    with connection.cursor() as cursor:
        for properties in ('{"level": 5, "item": "sword"}', '{"level": "six", "vip": true}',
                           '{"level": 7, "list": [1, 2], "none": null}'):  # fmt: skip
            cursor.execute(
                """INSERT INTO event (player_id, received_at, environment_id, event_id, name,
                                      properties, occurred_at)
                   VALUES (gen_random_uuid(), now(), %s, 'e', 'x', %s, now())""",
                [environment.pk, properties],
            )
    rollups.fold()
    found = EventProperty.objects.order_by("name", "type").values_list("name", "type", "count")
    assert list(found) == [
        ("item", "string", 1),
        ("level", "number", 2),
        ("level", "string", 1),
        ("list", "array", 1),
        ("none", "null", 1),
        ("vip", "boolean", 1),
    ]
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(p::text, ' ') FROM event_property p")
        assert "sword" not in cursor.fetchone()[0]
    since = datetime.now(UTC) - timedelta(hours=1)
    assert recent_examples(environment.pk, "x", since) == {
        ("item", "string"): "sword",
        ("level", "number"): "7",
        ("level", "string"): "six",
        ("list", "array"): "[1, 2]",
        ("none", "null"): "null",
        ("vip", "boolean"): "true",
    }


def test_number_of_properties__is_bounded(environment: Environment) -> None:
    with connection.cursor() as cursor:
        for start in (0, 400):
            cursor.execute(
                """INSERT INTO event (player_id, received_at, environment_id, event_id, name,
                                      properties, occurred_at)
                   SELECT gen_random_uuid(), now(), %s, 'e', 'x',
                          jsonb_build_object('item_' || n, n, 'always', true), now()
                   FROM generate_series(%s::int, %s::int) n""",
                [environment.pk, start, start + 399],
            )
            rollups.fold()
    assert EventProperty.objects.count() == rollups.MAX_PROPERTIES
    assert EventProperty.objects.get(name="always").count == 800


def test_horizon__is_stored_with_its_time(environment: Environment) -> None:
    (last,) = store(environment, "a")
    before = datetime.now(UTC)
    rollups.fold()
    fold = EventFold.objects.get(environment=environment)
    assert fold.folded_id == last
    assert fold.counted_until
    assert timedelta() <= fold.counted_until - before < timedelta(seconds=5)
    rollups.fold()  # no new events
    later = EventFold.objects.get(environment=environment).counted_until
    assert later
    assert later > fold.counted_until


def test_events_after_the_horizon__are_not_counted(environment: Environment) -> None:
    first, second = store(environment, "a", "b")
    assert second > first
    assert rollups.fold_until(Horizon(first, datetime.now(UTC))) == 1
    assert [row.name for row in EventName.objects.all()] == ["a"]
    assert EventMinute.objects.count() == EventHour.objects.count() == 1
    wait_for(lambda: rollups.fold() == 1)
    assert_equal_to_the_table()


def test_first_event_ever__is_counted_after_an_empty_run(
    environment: Environment,
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER SEQUENCE event_id_seq RESTART")
    EventFold.objects.all().delete()
    rollups.fold()
    assert store(environment, "a") == [1]
    assert rollups.fold() == 1

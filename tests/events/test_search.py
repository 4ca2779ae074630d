"""The search of past events."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.db import connection

from events import search
from events.log_reader import EVERYTHING, Filter
from events.properties import PropertyFilter, PropertyOperator
from events.search import ALL_TIME, Position, TimeRange, position_of
from ilara_admin.models import Environment

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PLAYER = UUID(int=7)
LEVEL_8 = PropertyFilter("level", PropertyOperator.EQUALS, "8")


def insert(environment: Environment, minutes: Iterable[float], name: str = "a") -> None:
    """An event at each minute after START, in this order of ids, whose id and level are the
    minute."""
    rows = [
        (UUID(int=7 + int(minute) % 2), START + minute * MINUTE, environment.pk, f"{minute:g}",
         name, msgspec.json.encode({"level": int(minute)}).decode(), START)
        for minute in minutes
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO event (player_id, received_at, environment_id, event_id, name,
                                  properties, occurred_at) VALUES (%s, %s, %s, %s, %s, %s, %s)""",
            rows,
        )


def found(environment: Environment, *args: Any, **options: Any) -> tuple[list[str], bool]:
    """The ids of the events, and whether there may be further ones."""
    entries, looked_to = search.search(environment.pk, *args, **options)
    return [entry.event.event_id for entry in entries], looked_to is not None


def span(since: float | None, until: float | None) -> TimeRange:
    at = [None if each is None else START + each * MINUTE for each in (since, until)]
    return TimeRange(*at)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (EVERYTHING, ["8", "7", "6", "5"]),
        (Filter("a"), ["8", "7", "6", "5"]),
        (Filter("b"), []),
        (Filter(None, PLAYER), ["8", "6"]),
        (Filter("a", PLAYER), ["8", "6"]),
        (Filter(where=LEVEL_8), ["8"]),
        (Filter("a", PLAYER, LEVEL_8), ["8"]),
    ],
)
def test_time_range__includes_its_start_and_excludes_its_end(
    wanted: Filter, expected: list[str], environment: Environment
) -> None:
    insert(environment, range(20))
    assert found(environment, wanted, span(5, 9), 10) == (expected, False)


@pytest.mark.parametrize("wanted", [EVERYTHING, Filter("a")])
def test_pages__show_every_event_once(wanted: Filter, environment: Environment) -> None:
    insert(environment, [*range(10), 9, 9])
    seen: list[str] = []
    before: Position | None = None
    while True:
        entries, looked_to = search.search(environment.pk, wanted, ALL_TIME, 4, before)
        seen += [entry.event.event_id for entry in entries]
        if looked_to is None:
            break
        before = position_of(looked_to.text)
        assert before == looked_to
    assert seen == ["9", "9", "9", *"876543210"]


def test_last_full_page__is_the_end(environment: Environment) -> None:
    insert(environment, range(4))
    assert found(environment, EVERYTHING, ALL_TIME, 4) == ([*"3210"], False)
    assert found(environment, EVERYTHING, ALL_TIME, 3) == ([*"321"], True)
    with_level = PropertyFilter("level", PropertyOperator.EXISTS)
    assert found(environment, Filter(where=with_level), ALL_TIME, 4) == ([*"3210"], False)


@pytest.mark.parametrize("wanted", [Filter(where=LEVEL_8), Filter("a", None, LEVEL_8)])
def test_rare_property__is_looked_for_with_a_limit(
    wanted: Filter, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FIRST_CHUNK", 2)
    monkeypatch.setattr(search, "LARGEST_CHUNK", 6)
    monkeypatch.setattr(search, "LOOKED_EVENTS", 6)
    monkeypatch.setattr(search, "LOOKED_SECONDS", 60)
    insert(environment, range(20))
    first = search.search(environment.pk, wanted, ALL_TIME, 5)
    assert first.entries == []
    assert first.looked_to
    assert first.looked_to.at == START + 12 * MINUTE  # looked at 2 and 6
    (entry,), position = search.search(environment.pk, wanted, ALL_TIME, 5, first.looked_to)
    assert entry.event.event_id == "8"
    assert position


def test_ids_out_of_order__are_found_within_the_margin(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that began earlier may draw later ids."""
    monkeypatch.setattr(search, "BISECTED", 2)
    seconds = [*range(300), 298, *range(300, 600)]
    insert(environment, [second / 60 for second in seconds])
    for second in (1, 150, 296, 297, 298, 299, 304, 599):
        ids, _ = found(environment, EVERYTHING, span(second / 60, (second + 3) / 60), 10)
        expected = sorted(each for each in seconds if second <= each < second + 3)
        assert sorted(round(float(id) * 60) for id in ids) == expected, second


def test_range_outside_of_the_log__is_empty(environment: Environment) -> None:
    assert found(environment, EVERYTHING, span(0, 9), 10) == ([], False)
    insert(environment, range(3))
    assert found(environment, EVERYTHING, span(-9, 0), 10) == ([], False)
    assert found(environment, EVERYTHING, span(99, None), 10) == ([], False)
    assert found(environment, EVERYTHING, span(None, 99), 10) == ([*"210"], False)


def test_waiting_events__are_counted_up_to_the_limit(environment: Environment) -> None:
    insert(environment, range(10))
    (first,), _ = search.search(environment.pk, EVERYTHING, span(0, 1), 1)
    count = search.count_after
    assert count(environment.pk, EVERYTHING, first.id, 100) == (9, False)
    assert count(environment.pk, EVERYTHING, first.id, 9) == (9, True)
    assert count(environment.pk, Filter(where=LEVEL_8), first.id, 100) == (1, False)
    assert count(environment.pk, Filter(None, PLAYER), first.id, 100) == (4, False)


@pytest.mark.parametrize(
    "text", ["", "1", "1-", "-1-1", "1-1-1", "x-1", "9" * 19 + "-1", "1-" + "9" * 18]
)
def test_other_text__is_no_position(text: str) -> None:
    assert position_of(text) is None

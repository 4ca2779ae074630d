"""Pages of players in the order of an index."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ilara_admin.models import Environment
from players.models import Player
from segments import player_search
from segments.language.parser import parse
from segments.player_search import ORDERS, Scope, Search, backwards, keys_of, search
from segments.sizes import rule_query
from tests.factories import make_player, unsaved_player

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
NAMES = ["b", "A", "a_1", "a%1", "a1", "ä", "B", "c"]
SORTS = ["id", "-id", "seen", "-seen", "first", "-first"]
EVEN = {"field": "even", "operator": "==", "value": True}


@pytest.fixture
def players(environment: Environment) -> list[Player]:
    """Three were last active on each day, so that pages begin within a day."""
    return [
        make_player(
            environment, name, last_seen_at=NOW - timedelta(days=number // 3),
            first_seen_at=NOW - timedelta(days=30 + number % 2),
            attributes={"even": number % 2 == 0, "name": f"n{number}"},
        )
        for number, name in enumerate(NAMES)
    ]  # fmt: skip


def of(environment: Environment, sort: str, *conditions: Any, scope: Scope | None = None) -> Search:
    rule = {"operator": "AND", "conditions": list(conditions)}
    query = rule_query(environment, parse(rule), NOW) if conditions else None
    return Search(environment.pk, query, keys_of(sort), scope or Scope())


def all_pages(wanted: Search, size: int) -> list[str]:
    names, after = [], None
    while True:
        found = search(wanted, after, size)
        assert len(found.places) <= size
        names += [place.external_id for place in found.places]
        after = found.end
        if after is None:
            return names


def in_order(players: list[Player], sort: str) -> list[str]:
    key: Any = {
        "id": lambda each: each.external_id.encode(),
        "seen": lambda each: (each.last_active_on, -each.pk.int),
        "first": lambda each: (each.first_seen_at, each.pk),
    }[sort.removeprefix("-")]
    return [
        each.external_id for each in sorted(players, key=key, reverse=sort.startswith("-"))
    ]  # fmt: skip


@pytest.mark.parametrize("sort", SORTS)
def test_pages__have_every_player_once_in_order(
    sort: str, players: list[Player], environment: Environment
) -> None:
    wanted = of(environment, sort)
    assert all_pages(wanted, 2) == in_order(players, sort)
    matches = {"field": "name", "operator": "matches", "value": "n[0-9]"}  # tested in Python
    for condition in (EVEN, matches):
        chosen = [each for each in players if condition is matches or each.attributes["even"]]
        assert all_pages(of(environment, sort, condition), 1) == in_order(chosen, sort)


@pytest.mark.parametrize("sort", SORTS)
def test_page_before__is_the_same_as_on_the_way_there(
    sort: str, players: list[Player], environment: Environment
) -> None:
    wanted = of(environment, sort)
    first = search(wanted, None, 3)
    second = search(wanted, first.end, 3)
    back = of(environment, sort)
    position = second.places[0].at(wanted.keys)
    found = search(Search(back.environment_id, None, backwards(back.keys)), position, 3)
    assert found.places[::-1] == first.places


def test_search_with_few_matches__ends_and_says_where_to_continue(
    players: list[Player], environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(player_search, "FIRST_CHUNK_SIZE", 2)
    monkeypatch.setattr(player_search, "PAGE_CHUNK_SIZE", 2)
    monkeypatch.setattr(player_search, "MOST", 4)
    wanted = of(environment, "id", {"field": "name", "operator": "==", "value": "n7"})
    first = search(wanted, None)
    assert (first.places, first.looked) == ([], 4)
    second = search(wanted, first.end)
    assert [place.external_id for place in second.places] == ["c"]
    rest = search(wanted, second.end) if second.end else second
    assert (rest.end, rest.looked) == (None, None)


def test_prefix__is_compared_byte_by_byte(players: list[Player], environment: Environment) -> None:
    assert all_pages(of(environment, "id", scope=Scope("a")), 2) == ["a%1", "a1", "a_1"]
    assert all_pages(of(environment, "id", scope=Scope("a_")), 2) == ["a_1"]
    assert all_pages(of(environment, "-seen", scope=Scope("a%")), 2) == ["a%1"]


def test_deleted_segment__has_no_players(players: list[Player], environment: Environment) -> None:
    gone = {"field": "segment", "operator": "in", "value": ["gone"]}
    assert all_pages(of(environment, "id", gone), 2) == []


# --- Plans ----------------------------------------------------------------------------------------


def plan(wanted: Search) -> str:
    """The plan of the first page."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE player")
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        with CaptureQueriesContext(connection) as queries:
            search(wanted, None, 10)
        cursor.execute(f"EXPLAIN {queries[0]['sql']}")
        return "\n".join(row[0] for row in cursor.fetchall())


@pytest.fixture
def crowd(environment: Environment) -> list[Player]:
    """Of 300 players, 90 are not churned; one is new and one has returned lately."""
    found = []
    for number in range(300):
        seen = NOW - timedelta(days=number % 90)
        columns = {"first_seen_at": NOW - timedelta(days=100 + number)}
        if number == 1:
            columns = {"first_seen_at": seen}
        elif number == 2:
            columns["returned_at"] = seen
        found.append(unsaved_player(environment, f"p{number}", last_seen_at=seen, **columns))
    return Player.objects.bulk_create(found)


@pytest.mark.parametrize(
    ("sort", "scope", "index"),
    [
        *[(sort, Scope(), index) for sort, index in (
            ("-seen", "player_recent"), ("seen", "player_recent"), ("id", "player_search"),
            ("-id", "player_search"), ("first", "player_first_seen"),
            ("-first", "player_first_seen"),
        )],
        ("-seen", Scope(until=NOW.date() - timedelta(days=30)), "player_recent"),
        ("-seen", Scope(first_after=NOW - timedelta(days=7)), "player_first_seen"),
        ("-seen", Scope(returned_after=NOW - timedelta(days=7)), "player_returned"),
        ("id", Scope("p1"), "player_search"),
    ],
)  # fmt: skip
def test_every_order_and_scope__has_an_index(
    sort: str, scope: Scope, index: str, crowd: list[Player], environment: Environment
) -> None:
    found = plan(Search(environment.pk, None, keys_of(sort), scope))
    assert index in found
    if scope.until or scope == Scope():  # rare players are sorted instead
        assert not re.search(r"^\W*Sort\b(?! Key)", found, re.MULTILINE)
    if scope.until:
        assert "last_active_on" in found.partition("Index Cond:")[2].partition("\n")[0]


def test_every_order__is_that_of_an_index() -> None:
    assert set(ORDERS) == {"id", "-seen", "-first"}


@pytest.mark.parametrize("sort", ["seen", "-seen"])
def test_search_within_a_day__counts_whom_it_looked_at(
    sort: str, players: list[Player], environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three were last active on a day, or two, so that a chunk of two ends within a day."""
    monkeypatch.setattr(player_search, "FIRST_CHUNK_SIZE", 2)
    monkeypatch.setattr(player_search, "PAGE_CHUNK_SIZE", 2)
    monkeypatch.setattr(player_search, "MOST", 1)
    wanted = of(environment, sort, {"field": "name", "operator": "==", "value": "nobody"})
    looked, after = [], None
    while True:
        found = search(wanted, after)
        after = found.end
        if after is None:
            break
        looked.append(found.looked)
    assert sum(filter(None, looked)) == len(players)

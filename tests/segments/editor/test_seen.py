"""What a sample of players and the catalogue of events suggest to the rule editor."""

from typing import Any

import pytest

from segments.editor.draft import parse_typed
from segments.editor.seen import (
    MAX_PATHS,
    MAX_VALUES,
    Catalogue,
    attributes_seen,
    closest,
    event_hint,
    events_seen,
    field_hint,
    property_hint,
    values_of,
)

LIMIT = 100


def seen(*players: dict[str, Any]) -> Catalogue:
    return attributes_seen(players, LIMIT)


def catalogue() -> Catalogue:
    sample = attributes_seen(
        [
            {"level": 3, "stats": {"wins": 1, "best": {"a": {"b": 1}}}},
            {"level": 3, "country": "BR"},
        ],
        LIMIT,
    )
    events = events_seen(
        {"win": 10, "quit": 0},
        [
            ("win", "stars", "number", 8),
            ("win", "stars", "string", 1),
            ("win", "item.id", "array", 9),
        ],
    )
    return Catalogue(2, True, sample.attributes, sample.paths, events)


@pytest.mark.parametrize(
    ("values", "types"),
    [
        ([1, 2.5, True], ("number", "true or false")),
        (["a", "b"], ("text",)),
        (["2026-05-31", "2026-06-01T12:00:00Z"], ("time",)),
        (["1.4.2", "v1.5"], ("version",)),
        (["7", "8"], ("text",)),
        (["1.4.2", "new"], ("text",)),
        ([["a"], ["b"], None], ("list", "null")),
        ([{}], ("object",)),
    ],
)
def test_types__are_those_of_the_values(values: list[Any], types: tuple[str, ...]) -> None:
    found = seen(*({"x": value} for value in values))
    assert found.attributes["x"].types == types


def test_attributes__have_shares_and_frequent_values_and_the_commonest_comes_first() -> None:
    found = seen({"a": 1, "b": "x"}, {"b": "x"}, {"b": "y"}, {"a": True, "b": "y"}, {"b": "x"})
    assert list(found.attributes) == ["b", "a"]
    assert found.attributes["b"].values == ("x", "y")
    assert found.attributes["a"].share == pytest.approx(0.4)
    assert found.attributes["a"].values == (), "1 and true differ"
    assert (found.players, found.is_complete) == (5, True)


def test_values_of_one_player__are_not_shown() -> None:
    assert (
        seen({"mail": "ana@example.com"}, {"mail": "bo@example.com"}).attributes["mail"].values
        == ()
    )


@pytest.mark.parametrize("value", ["a, b", "40", " a", 'say "x"', 40, 1.5, True])
def test_suggested_values__are_typed_as_they_are_parsed(value: Any) -> None:
    (text,) = seen({"x": value}, {"x": value}).attributes["x"].values
    (parsed,) = parse_typed("in", text)
    assert (parsed, type(parsed)) == (value, type(value))


def test_suggestions__are_bounded() -> None:
    players = [{"x": number // 2, "long": "a" * 100} for number in range(50)]
    found = seen(*players)
    assert len(found.attributes["x"].values) == MAX_VALUES
    assert found.attributes["long"].values == ()
    wide = {f"k{number}": number for number in range(200)}
    many = attributes_seen([wide] * 1_000, 1_000)
    assert many.players == MAX_PATHS // 200 + 1
    assert not many.is_complete


def test_items_of_lists__are_values() -> None:
    assert seen({"tags": ["a", "b"]}, {"tags": ["b"]}).attributes["tags"].values == ("b",)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("", ""),
        ("level", "number, 100 % of players; often 3"),
        ("is_payer", "built in, true or false"),
        ("attributes.level", "number, 100 % of players; often 3"),
        ("stats", ""),
        ("stats.best.a.b", ""),
        ("stats.best.a.c", ""),
        ("levl", "No player has levl; did you mean level?"),
        ("Country", "No player has Country; did you mean country?"),
        ("stats.win", "No player has stats.win; did you mean stats.wins?"),
        ("session_cont", "No player has session_cont; did you mean session_count?"),
        ("qqq", "No player has qqq."),
    ],
)
def test_field__has_a_hint(name: str, hint: str) -> None:
    assert field_hint(name, catalogue()) == hint


def test_hint__claims_no_more_than_the_sample_shows() -> None:
    sample = attributes_seen([{"level": 1}] * LIMIT, LIMIT)
    assert field_hint("levl", sample) == "None of 100 players has levl; did you mean level?"
    assert field_hint("levl", Catalogue()) == ""


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("", ""),
        ("win", "10 received"),
        ("winn", "No event winn was received; did you mean win?"),
    ],
)
def test_event__has_a_hint(name: str, hint: str) -> None:
    assert event_hint(name, catalogue()) == hint


@pytest.mark.parametrize(
    ("name", "event", "hint"),
    [
        ("stars", "win", "number or text, 90 % of win events"),
        ("strs", "win", "win has no property strs; did you mean stars?"),
        (r"item\.id", "win", "list, 90 % of win events"),
        ("stars.inside", "win", "number or text, 90 % of win events"),
        ("stars", "unknown", ""),
        ("stars", "quit", "quit has no property stars."),
    ],
)
def test_property__has_a_hint(name: str, event: str, hint: str) -> None:
    assert property_hint(name, event, catalogue()) == hint


def test_values__of_built_in_fields() -> None:
    assert "churned" in values_of("lifecycle_stage", Catalogue())
    assert values_of("is_payer", Catalogue()) == ("true", "false")
    assert values_of("level", catalogue()) == ("3",)
    assert values_of("unknown", catalogue()) == ()


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("levl", ["level", "lives"], "level"),
        ("LEVEL", ["level"], "level"),
        ("a", ["level"], ""),
        ("level", [], ""),
    ],
)
def test_closest_name(name: str, known: list[str], expected: str) -> None:
    assert closest(name, known) == expected

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from segments.rules import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    OPERATORS,
    RuleError,
    Subject,
    compile_rule,
    describe,
    duration,
    parse,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
FACTS = {
    "external_id": "hero",
    "device_id": None,
    "lifecycle_stage": "active",
    "is_payer": False,
    "session_count": 3,
    "total_revenue": 4.99,
    "last_seen_at": NOW - timedelta(days=1),
}
ATTRIBUTES = {
    "level": 45,
    "ratio": 0.5,
    "country": "US",
    "vip": True,
    "one": 1,
    "empty": "",
    "tags": ["beta", "whale", 7],
    "stats": {"wins": 12, "best": {"time": 3}},
    "joined": "2026-05-31T12:00:00Z",
    "plain": "2026-05-31T12:00:00",
    "nothing": None,
    "is_payer": "an attribute",
    "level.two": 2,
}


def holds(field: str, operator: str, value: Any = None) -> bool:
    rule = {"operator": "AND", "conditions": [condition(field, operator, value)]}
    return compile_rule(parse(rule))(Subject(ATTRIBUTES, FACTS, NOW))


def condition(field: str, operator: str, value: Any = None) -> dict[str, Any]:
    found = {"field": field, "operator": operator, "value": value}
    return {key: item for key, item in found.items() if item is not None}


CASES: dict[str, tuple[list[tuple[str, Any]], list[tuple[str, Any]]]] = {
    "==": (
        [("level", 45), ("level", 45.0), ("country", "US"), ("vip", True), ("empty", "")],
        [("level", 44), ("level", "45"), ("country", "us"), ("vip", 1), ("one", True)],
    ),
    "!=": (
        [("level", 44), ("level", "45"), ("vip", 1), ("one", True), ("country", "us")],
        [("level", 45), ("country", "US"), ("vip", True)],
    ),
    ">": ([("level", 44), ("ratio", 0.4)], [("level", 45), ("country", 1), ("vip", 0)]),
    ">=": ([("level", 45)], [("level", 46), ("vip", 1), ("tags", 0)]),
    "<": ([("level", 46)], [("level", 45), ("country", 100), ("empty", 1)]),
    "<=": ([("level", 45), ("ratio", 0.5)], [("level", 44), ("vip", 1)]),
    "contains": (
        [("country", "U"), ("tags", "beta")],
        [("country", "u"), ("tags", "bet"), ("tags", "7"), ("level", "4"), ("stats", "wins")],
    ),
    "not_contains": (
        [("country", "u"), ("tags", "bet"), ("level", "4")],
        [("country", "U"), ("tags", "beta")],
    ),
    "starts_with": ([("country", "U")], [("country", "S"), ("level", "4"), ("tags", "b")]),
    "ends_with": ([("country", "S")], [("country", "U"), ("level", "5")]),
    "in": (
        [("level", [1, 45]), ("country", ["US", "CA"]), ("vip", [True])],
        [("level", ["45"]), ("vip", [1]), ("one", [True]), ("tags", ["beta"])],
    ),
    "not_in": ([("level", ["45"]), ("one", [True])], [("level", [45]), ("country", ["US"])]),
    "contains_any": (
        [("tags", ["x", "beta"]), ("tags", [7])],
        [("tags", ["x", "7"]), ("country", ["US"])],
    ),
    "contains_all": (
        [("tags", ["beta", 7])],
        [("tags", ["beta", "x"]), ("country", ["US"])],
    ),
    "within_last": (
        [("joined", "1d"), ("joined", "24h"), ("plain", "1440m"), ("last_seen_at", "1w")],
        [("joined", "23h"), ("country", "1d"), ("level", "1d")],
    ),
    "is_set": ([("level", None), ("empty", None), ("external_id", None)], []),
    "is_not_set": ([("nothing", None), ("device_id", None)], [("level", None), ("empty", None)]),
}


def test_cases__cover_every_operator() -> None:
    assert CASES.keys() == OPERATORS.keys()


@pytest.mark.parametrize("operator", CASES)
def test_operator__holds_where_it_should(operator: str) -> None:
    for field, value in CASES[operator][0]:
        assert holds(field, operator, value), (field, value)


@pytest.mark.parametrize("operator", CASES)
def test_operator__fails_where_it_should(operator: str) -> None:
    for field, value in CASES[operator][1]:
        assert not holds(field, operator, value), (field, value)


VALUES = {"number": 1, "string": "x", "list": ["x"], "duration": "1d", "scalar": "x"}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("field", ["unknown", "nothing", "device_id", "stats.unknown", "level.x"])
def test_missing_value__holds_for_negative_operators_only(field: str, operator: str) -> None:
    negative = operator in ("!=", "not_contains", "not_in", "is_not_set")
    assert holds(field, operator, VALUES.get(OPERATORS[operator].takes)) is negative


def test_time_to_come__is_not_within_the_last() -> None:
    subject = Subject({"at": "2026-06-01T12:00:01Z"}, {}, NOW)
    rule = {"operator": "AND", "conditions": [condition("at", "within_last", "1d")]}
    assert not compile_rule(parse(rule))(subject)


# --- Fields ---------------------------------------------------------------------------------------


def test_nested_attribute__is_reached_by_its_path() -> None:
    assert holds("stats.wins", "==", 12)
    assert holds("attributes.stats.best.time", "==", 3)
    assert holds("stats.wins.deeper", "is_not_set")


def test_name_of_a_built_in_field__means_the_field_and_the_path_the_attribute() -> None:
    assert holds("is_payer", "==", False)
    assert holds("attributes.is_payer", "==", "an attribute")
    assert holds("attributes.level", "==", 45)


@pytest.mark.parametrize(
    ("field", "value"),
    [("external_id", "hero"), ("lifecycle_stage", "active"), ("session_count", 3)],
)
def test_built_in_field__is_read(field: str, value: Any) -> None:
    assert holds(field, "==", value)


def test_revenue__compares_as_a_number() -> None:
    assert holds("total_revenue", ">=", 4.99)


# --- Groups ---------------------------------------------------------------------------------------

YES, NO = condition("level", "==", 45), condition("level", "==", 0)


@pytest.mark.parametrize(
    ("operator", "conditions", "expected"),
    [
        ("AND", [YES, YES], True),
        ("AND", [YES, NO], False),
        ("OR", [NO, YES], True),
        ("OR", [NO, NO], False),
        ("NOT", [NO, NO], True),
        ("NOT", [NO, YES], False),
        ("NOT", [YES], False),
    ],
)
def test_group__combines_its_conditions(operator: str, conditions: Any, expected: bool) -> None:
    rule = {"operator": operator, "conditions": conditions}
    subject = Subject(ATTRIBUTES, FACTS, NOW)
    assert compile_rule(parse(rule))(subject) is expected
    inverted = {"operator": "NOT", "conditions": [rule]}
    assert compile_rule(parse(inverted))(subject) is not expected
    nested = {"operator": "AND", "conditions": [YES, {"operator": "OR", "conditions": [NO, rule]}]}
    assert compile_rule(parse(nested))(subject) is expected


# --- Errors ---------------------------------------------------------------------------------------


def and_(*conditions: Any) -> dict[str, Any]:
    return {"operator": "AND", "conditions": list(conditions)}


def or_(*conditions: Any) -> dict[str, Any]:
    return {"operator": "OR", "conditions": list(conditions)}


def deep(levels: int) -> dict[str, Any]:
    return and_(YES) if levels == 1 else and_(deep(levels - 1))


@pytest.mark.parametrize(
    ("rule", "path", "words"),
    [
        ([], "", "an object"),
        (None, "", "an object"),
        ({}, "operator", "AND, OR or NOT"),
        ({"operator": "and", "conditions": [YES]}, "operator", "AND, OR or NOT"),
        (and_(), "conditions", "at least one"),
        ({"operator": "AND", "conditions": {}}, "conditions", "at least one"),
        ({**and_(YES), "comment": "x"}, "comment", "Unknown"),
        (and_(YES, 5), "conditions[1]", "an object"),
        (and_({"operator": "=="}), "conditions[0].field", "Name a field"),
        (and_(condition("", "==", 1)), "conditions[0].field", "Name a field"),
        (and_(condition("a\0b", "==", 1)), "conditions[0].field", "Name a field"),
        (and_(condition("a..b", "==", 1)), "conditions[0].field", "Name a field"),
        (and_(condition("x" * 129, "==", 1)), "conditions[0].field", "Name a field"),
        (and_(condition("a", "=", 1)), "conditions[0].operator", "Unknown operator"),
        (and_({"field": "a", "operator": ["=="]}), "conditions[0].operator", "Unknown operator"),
        (and_({**YES, "values": 1}), "conditions[0].values", "Unknown"),
        (and_(YES, and_(YES, {"operator": "OR", "conditions": []})),
         "conditions[1].conditions[1].conditions", "at least one"),
        (and_(condition("a", "==")), "conditions[0].value", "text, a number"),
        (and_(condition("a", "==", [1])), "conditions[0].value", "text, a number"),
        (and_(condition("a", ">", "1")), "conditions[0].value", "a number"),
        (and_(condition("a", ">", True)), "conditions[0].value", "a number"),
        (and_(condition("a", "contains", "")), "conditions[0].value", "some text"),
        (and_(condition("a", "in", "x")), "conditions[0].value", "a list"),
        (and_(condition("a", "in", [])), "conditions[0].value", "a list"),
        (and_(condition("a", "in", [None])), "conditions[0].value", "may hold text"),
        (and_(condition("a", "in", ["x"] * 1_001)), "conditions[0].value", "1 to 1000"),
        (and_(condition("a", "is_set", 1)), "conditions[0].value", "no value"),
        (and_(condition("a", "within_last", "1y")), "conditions[0].value", "time span"),
        (and_(condition("a", "within_last", 7)), "conditions[0].value", "time span"),
        (and_(condition("a", "==", "x" * 1_001)), "conditions[0].value", "1000 characters"),
        (and_(condition("a", "==", "\0")), "conditions[0].value", "NUL"),
        (and_(condition("a", "in", ["\ud800"])), "conditions[0].value", "surrogate"),
        (and_(condition("a\udfff", "is_set")), "conditions[0].field", "Name a field"),
        (and_(*[YES] * (MAX_CONDITIONS + 1)), "conditions[100]", "100 conditions"),
        (deep(MAX_DEPTH + 1), ".".join(["conditions[0]"] * MAX_DEPTH), "8 deep"),
    ],
)  # fmt: skip
def test_faulty_rule__is_told_with_its_place(rule: Any, path: str, words: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(rule)
    assert caught.value.path == path
    assert words in caught.value.message


@pytest.mark.parametrize("value", ["x" * 1_001, "\0"])
def test_texts_of_a_list__obey_the_limits_of_a_text(value: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(and_(condition("a", "in", ["x", value])))
    assert caught.value.path == "conditions[0].value"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_number_outside_json__is_refused(value: float) -> None:
    for operator in ("==", ">"):
        with pytest.raises(RuleError):
            parse(and_(condition("a", operator, value)))


def test_rule_at_the_limits__is_read() -> None:
    parse(deep(MAX_DEPTH))
    parse(and_(*[YES] * MAX_CONDITIONS))


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("30d", timedelta(days=30)),
        ("12h", timedelta(hours=12)),
        ("90m", timedelta(minutes=90)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_duration__is_read(text: str, span: timedelta) -> None:
    assert duration(text) == span


@pytest.mark.parametrize("text", ["", "d", "1", "1s", "-1d", "1.5d", "1 d", "100000d", "٣d"])
def test_anything_else__is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        duration(text)


# --- Words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (and_(condition("level", ">=", 40)), "level is at least 40"),
        (
            or_(condition("level", ">=", 40), condition("vip", "==", True)),
            "level is at least 40 or vip is true",
        ),
        (
            and_(condition("country", "in", ["US", "CA"]), or_(YES, NO)),
            "country is one of “US”, “CA” and (level is 45 or level is 0)",
        ),
        ({"operator": "NOT", "conditions": [YES, NO]}, "not (level is 45 or level is 0)"),
        (and_(condition("seen", "within_last", "1d")), "seen is within the last 1 day"),
        (and_(condition("seen", "within_last", "12h")), "seen is within the last 12 hours"),
        (and_(condition("email", "is_not_set")), "email is not set"),
        (and_(and_(YES)), "level is 45"),
    ],
)  # fmt: skip
def test_rule__reads_as_a_sentence(rule: Any, words: str) -> None:
    assert describe(parse(rule)) == words

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from segments.language.compiler import Subject, compile_rule
from segments.language.operators import OPERATORS
from segments.language.parser import MAX_CONDITIONS, MAX_DEPTH, RuleError, parse
from segments.language.sentences import describe, lacking
from segments.language.values import duration, moment, version
from tests.inputs import inputs

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
BUILTIN_FIELDS = {
    "external_id": "hero",
    "device_id": None,
    "lifecycle_stage": "active",
    "is_payer": False,
    "session_count": 3,
    "total_revenue": Decimal("4.99"),
    "email_domain": "example.com",
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
    "version": "1.10.0-rc.2",
    "build": "v2.4",
    "stamped": "V1.4.1759276800.0.2",
    "seconds": 1767225600,
    "milliseconds": 1767225600123.9,
    "nanoseconds": 1767225600000000000,
    "a\\b": {"c d.": 3},
    "attributes.x": 4,
    "attributes": {"x": 5},
}


def holds(field: str, operator: str, value: Any = None) -> bool:
    rule = {"operator": "AND", "conditions": [condition(field, operator, value)]}
    return compile_rule(parse(rule))(Subject(ATTRIBUTES, BUILTIN_FIELDS, NOW))


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
    "matches": (
        [("country", "^[A-Z]{2}$"), ("country", "S"), ("country", "(?i)us")],
        [("country", "^S"), ("level", "45"), ("tags", "beta")],
    ),
    "not_matches": (
        [("country", "^S"), ("level", "45"), ("tags", "beta")],
        [("country", "^[A-Z]{2}$")],
    ),
    "not_within_last": (
        [("joined", "23h"), ("country", "1d"), ("level", "1d")],
        [("joined", "1d"), ("last_seen_at", "1w")],
    ),
    "before": (
        [
            ("joined", "2026-05-31T12:00:01Z"),
            ("joined", "2026-06-01"),
            ("joined", "-23h"),
            ("joined", "+1d"),
            ("plain", "2026-05-31 14:00:01+02:00"),
            ("last_seen_at", "-1h"),
        ],
        [
            ("joined", "2026-05-31T12:00:00Z"),
            ("joined", "-1d"),
            ("country", "2030-01-01"),
            ("last_seen_at", "-2d"),
        ],
    ),
    "after": (
        [
            ("joined", "2026-05-31"),
            ("joined", "-25h"),
            ("last_seen_at", "2026-01-01"),
            ("level", "1970-01-01T00:00:44Z"),
            ("seconds", "2025-12-31"),
            ("milliseconds", "2026-01-01T00:00:00.122999Z"),
        ],
        [
            ("joined", "2026-05-31T12:00:00Z"),
            ("joined", "-1d"),
            ("level", "1970-01-01T00:00:45Z"),
            ("seconds", "2026-01-01"),
            ("milliseconds", "2026-01-01T00:00:00.123Z"),
            ("nanoseconds", "2026-01-01"),
            ("vip", "1970-01-01"),
            ("joined", "+1d"),
        ],
    ),
    "semver_eq": (
        [("build", "2.4.0"), ("build", "2.4.0.0+7"), ("version", "v1.10.0-rc.2+9")],
        [("build", "2.4.1"), ("version", "1.10.0"), ("country", "1"), ("level", "45")],
    ),
    "semver_gt": (
        [("version", "1.9.9"), ("version", "1.10.0-rc.1"), ("version", "1.10.0-beta.11")],
        [("version", "1.10.0-rc.2"), ("version", "1.10.0-rc.10"), ("version", "1.10")],
    ),
    "semver_gte": (
        [("version", "1.10.0-rc.2"), ("build", "2"), ("stamped", "1.4.1759276800.0.2")],
        [("version", "1.10.0"), ("stamped", "1.4.1759276800.0.3")],
    ),
    "semver_lt": (
        [("version", "1.10.0"), ("version", "1.10.0-rc.2.1"), ("version", "1.10.0-rc.a")],
        [("version", "1.10.0-rc.2"), ("version", "1.9"), ("country", "9")],
    ),
    "semver_lte": ([("version", "1.10.0-rc.2"), ("build", "2.4")], [("build", "2.3.9")]),
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
def test_operator__holds_where_expected(operator: str) -> None:
    for field, value in CASES[operator][0]:
        assert holds(field, operator, value), (field, value)


@pytest.mark.parametrize("operator", CASES)
def test_operator__fails_where_expected(operator: str) -> None:
    for field, value in CASES[operator][1]:
        assert not holds(field, operator, value), (field, value)


EXAMPLES: dict[str, Any] = {
    "scalar": "x",
    "number": 1,
    "text": "x",
    "list": ["x", 1, True],
    "duration": "1d",
    "moment": "2026-01-01",
    "version": "1.2.3",
    "pattern": "x",
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("field", ["unknown", "nothing", "stats.unknown", "level.x"])
def test_missing_value__holds_for_negative_operators_only(field: str, operator: str) -> None:
    negative = operator == "!=" or "not_" in operator
    assert holds(field, operator, EXAMPLES.get(OPERATORS[operator].takes)) is negative


def test_missing_built_in_field__is_like_a_missing_attribute() -> None:
    assert not holds("device_id", "==", "x")
    assert holds("device_id", "!=", "x")
    assert holds("device_id", "not_matches", "x")


def test_future_time__is_not_within_the_last() -> None:
    subject = Subject({"at": "2026-06-01T12:00:01Z"}, {}, NOW)
    rule = {"operator": "AND", "conditions": [condition("at", "within_last", "1d")]}
    assert not compile_rule(parse(rule))(subject)


# --- Fields ---------------------------------------------------------------------------------------


def test_nested_attribute__is_reached_by_its_path() -> None:
    assert holds("stats.wins", "==", 12)
    assert holds("attributes.stats.best.time", "==", 3)
    assert holds("stats.wins.deeper", "is_not_set")


def test_backslash__makes_a_dot_part_of_a_name() -> None:
    assert holds(r"level\.two", "==", 2)
    assert holds("level.two", "is_not_set")
    assert holds(r"a\\b.c d\.", "==", 3)
    assert holds(r"a\b.c d\.", "==", 3)  # other backslashes stand for themselves
    assert holds(r"attributes\.x", "==", 4)
    assert holds("attributes.attributes.x", "==", 5)


def test_attribute_named_like_a_built_in_field__needs_the_prefix() -> None:
    assert holds("is_payer", "==", False)
    assert holds("attributes.is_payer", "==", "an attribute")
    assert holds("attributes.level", "==", 45)


@pytest.mark.parametrize(
    ("field", "value"),
    [("external_id", "hero"), ("lifecycle_stage", "active"), ("session_count", 3)],
)
def test_built_in_field__is_read(field: str, value: Any) -> None:
    assert holds(field, "==", value)


def test_revenue__is_compared_as_a_number() -> None:
    assert holds("total_revenue", ">=", 4.99)
    assert holds("total_revenue", "==", 4.99)
    assert not holds("total_revenue", ">", 4.99)


def test_integer_beyond_double_precision__is_compared_exactly() -> None:
    subject = Subject({"big": 2**53 + 1, "huge": 10**23}, {}, NOW)

    def evaluate(field: str, operator: str, value: Any) -> bool:
        return compile_rule(parse(and_(condition(field, operator, value))))(subject)

    assert evaluate("big", ">", float(2**53))
    assert not evaluate("big", "==", float(2**53))
    assert evaluate("huge", "==", 1e23)


def test_catastrophic_pattern__takes_linear_time() -> None:
    rule = compile_rule(parse(and_(condition("text", "matches", "^(a+)+$"))))
    # A backtracking engine would take exponential time.
    assert not rule(Subject({"text": "a" * 60_000 + "b"}, {}, NOW))


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
    subject = Subject(ATTRIBUTES, BUILTIN_FIELDS, NOW)
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


def events(event: str, operator: str, times: Any, **more: Any) -> dict[str, Any]:
    return {"event": event, "operator": operator, "value": times, "within": "7d", **more}


def deep(levels: int) -> dict[str, Any]:
    return and_(YES) if levels == 1 else and_(deep(levels - 1))


@pytest.mark.parametrize(
    ("rule", "path", "text"),
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
        (and_(condition("attributes.", "==", 1)), "conditions[0].field", "Name a field"),
        (and_(condition(".".join("x" * 17), "==", 1)), "conditions[0].field", "Name a field"),
        (and_(condition(r"a\\.", "==", 1)), "conditions[0].field", "Name a field"),
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
        (and_(condition("a", "in", [None])), "conditions[0].value", "may contain text"),
        (and_(condition("a", "in", ["x"] * 1_001)), "conditions[0].value", "1 to 1000"),
        (and_(condition("a", "is_set", 1)), "conditions[0].value", "no value"),
        (and_(condition("a", "within_last", "1y")), "conditions[0].value", "time span"),
        (and_(condition("a", "within_last", 7)), "conditions[0].value", "time span"),
        (and_(condition("a", "before", "2026-02-30")), "conditions[0].value", "a date"),
        (and_(condition("a", "after", "yesterday")), "conditions[0].value", "a date"),
        (and_(condition("a", "after", 7)), "conditions[0].value", "a date"),
        (and_(condition("a", "after", 1767225600)), "conditions[0].value", "a date"),
        (and_(condition("a", "semver_gt", "1.9007199254740992")), "conditions[0].value", "version"),
        (and_(condition("a", "semver_gt", "one")), "conditions[0].value", "a version"),
        (and_(condition("a", "semver_gt", 1.2)), "conditions[0].value", "a version"),
        (and_(condition("a", "matches", "(")), "conditions[0].value", "missing )"),
        (and_(condition("a", "matches", "(?<=a)b")), "conditions[0].value", "regular expression"),
        (and_(condition("a", "matches", "((a{99}){99}){99}")), "conditions[0].value", "repetition"),
        (and_(condition("a", "matches", r"\pL{900}")), "conditions[0].value", "too large"),
        (and_(condition("a", "matches", "")), "conditions[0].value", "regular expression"),
        (and_(condition("session_count", "contains", "1")), "conditions[0].operator", "of type"),
        (and_(condition("email", ">", 1)), "conditions[0].operator", "type text"),
        (and_(condition("first_seen_at", "==", 1)), "conditions[0].operator", "type time"),
        (and_(condition("is_payer", "==", "yes")), "conditions[0].value", "true or false"),
        (and_(condition("session_count", "==", "3")), "conditions[0].value", "a number"),
        (and_(condition("email", "in", ["a", 1])), "conditions[0].value", "Give text"),
        (and_(condition("lifecycle_stage", "==", "lost")), "conditions[0].value", "at_risk"),
        (and_(condition("segment", "==", "a")), "conditions[0].operator", "in, not_in"),
        (and_(condition("segment", "in", [1])), "conditions[0].value", "Give text"),
        (and_(events("", ">=", 1)), "conditions[0].event", "event name"),
        (and_(events("a", "==", 1)), "conditions[0].operator", ">= for at least"),
        (and_(events("a", ">=", 0)), "conditions[0].value", "from 1 to"),
        (and_(events("a", "<=", -1)), "conditions[0].value", "from 0 to"),
        (and_(events("a", ">=", True)), "conditions[0].value", "from 1 to"),
        (and_(events("a", ">=", 1, within="7")), "conditions[0].within", "time span"),
        (and_(events("a", ">=", 1, within="0d")), "conditions[0].within", "time span"),
        (and_(events("a", ">=", 1, within="367d")), "conditions[0].within", "at most 366d"),
        (and_(events("a", ">=", 1, within=None)), "conditions[0].within", "time span"),
        (and_(events("a", ">=", 1, where=[])), "conditions[0].where", "an object"),
        (and_(events("a", ">=", 1, where=and_(condition("x", "=", 1)))),
         "conditions[0].where.conditions[0].operator", "Unknown operator"),
        (and_(events("a", ">=", 1, where=and_(condition("x", "matches", "a")))),
         "conditions[0].where.conditions[0].operator", "patterns"),
        (and_(events("a", ">=", 1, where=and_(events("b", ">=", 1)))),
         "conditions[0].where.conditions[0]", "cannot count"),
        (and_({**events("a", ">=", 1), "field": "x"}), "conditions[0].field", "Unknown"),
        (and_(condition("a", "==", "x" * 1_001)), "conditions[0].value", "1000 characters"),
        (and_(condition("a", "==", "\0")), "conditions[0].value", "NUL"),
        (and_(condition("a", "in", ["\ud800"])), "conditions[0].value", "surrogate"),
        (and_(condition("a\udfff", "is_set")), "conditions[0].field", "Name a field"),
        (and_(*[YES] * (MAX_CONDITIONS + 1)), "conditions[100]", "100 conditions"),
        (deep(MAX_DEPTH + 1), ".".join(["conditions[0]"] * MAX_DEPTH), "32 levels deep"),
    ],
)  # fmt: skip
def test_invalid_rule__is_refused_with_its_path(rule: Any, path: str, text: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(rule)
    assert caught.value.path == path
    assert text in caught.value.message


@pytest.mark.parametrize("value", ["x" * 1_001, "\0"])
def test_list_items__have_the_limits_of_text(value: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(and_(condition("a", "in", ["x", value])))
    assert caught.value.path == "conditions[0].value"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_number_outside_json__is_refused(value: float) -> None:
    for operator in ("==", ">"):
        with pytest.raises(RuleError):
            parse(and_(condition("a", operator, value)))


def test_rule_at_the_limits__is_parsed() -> None:
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
def test_duration__is_parsed(text: str, span: timedelta) -> None:
    assert duration(text) == span


@pytest.mark.parametrize("text", ["", "d", "1", "1s", "-1d", "1.5d", "1 d", "100000d", "٣d"])
def test_invalid_duration__is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        duration(text)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "1970-01-01T00:00:00+00:00"),
        (1767225600, "2026-01-01T00:00:00+00:00"),
        (1767225600.9999, "2026-01-01T00:00:00.999000+00:00"),
        (1.001, "1970-01-01T00:00:01.001000+00:00"),
        (-0.0001, "1969-12-31T23:59:59.999000+00:00"),
        (10**11 - 1, "5138-11-16T09:46:39+00:00"),
        (10**11, "1973-03-03T09:46:40+00:00"),
        (1767225600123, "2026-01-01T00:00:00.123000+00:00"),
        (1767225600123.9, "2026-01-01T00:00:00.123000+00:00"),
        (-(10**11), "1966-10-31T14:13:20+00:00"),
        (-62_135_596_800, "0001-01-01T00:00:00+00:00"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999000+00:00"),
        (253_402_300_799_999.9, "9999-12-31T23:59:59.999000+00:00"),
    ],
)
def test_number__is_read_as_seconds_or_milliseconds(number: float, text: str) -> None:
    found = moment(number)
    assert found is not None
    assert found.isoformat() == text


@pytest.mark.parametrize(
    "value",
    [True, None, [], -62_135_596_801, 253_402_300_800_000, 1767225600000000, 1e300, "1767225600"],
)
def test_other_value__is_no_time(value: object) -> None:
    assert moment(value) is None


VERSIONS = inputs("versions")


@pytest.mark.parametrize("example", VERSIONS, ids=lambda example: example["text"])
def test_version__is_read_as_its_writer_meant_it(example: dict[str, Any]) -> None:
    equals = example["equals"]
    assert version(example["text"]) == (None if equals is None else version(equals))
    assert (version(example["text"]) is None) is (equals is None)


# --- Sentences ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "text"),
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
        (and_(condition("segment", "in", ["vips"])), "is in the segment “vips”"),
        (and_(condition("segment", "not_in", ["a", "b"])),
         "is not in any of the segments “a”, “b”"),
        (and_(condition("joined", "before", "-30d")), "joined is before 30 days ago"),
        (and_(condition("ends", "after", "+1h")), "ends is after 1 hour from now"),
        (and_(condition("version", "semver_gte", "1.4.0")), "version is at least version 1.4.0"),
        (and_(condition("total_revenue", ">=", 4.5)), "total_revenue is at least 4.5"),
        (and_(events("level_complete", ">=", 3)),
         "did “level_complete” at least 3 times within the last 7 days"),
        (and_(events("level_complete", "<=", 0)),
         "did “level_complete” never within the last 7 days"),
        (and_(events("buy", "<=", 1, within="12h", where=or_(condition("price", ">", 5)))),
         "did “buy” (price is more than 5) at most once within the last 12 hours"),
    ],
)  # fmt: skip
def test_rule__reads_as_a_sentence(rule: Any, text: str) -> None:
    assert describe(parse(rule)) == text


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([condition("country", "==", "BR"), condition("country", "!=", "BR")], ["country"]),
        ([condition("level", "not_in", [1]), condition("level", "!=", 2)], ["level"]),
        ([{"field": "email", "operator": "is_not_set"}], []),  # tests presence explicitly
        ([condition("total_revenue", "!=", 0), condition("email", "!=", "x")], ["email"]),
        ([{"operator": "NOT", "conditions": [condition("a", "==", 1)]}], ["a"]),
        ([{"operator": "NOT", "conditions": [condition("a", "!=", 1)]}], []),
        ([condition("segment", "not_in", ["x"])], []),
    ],
)
def test_lacking__names_fields_that_match_when_missing(
    conditions: list[Any], expected: list[str]
) -> None:
    assert lacking(parse({"operator": "AND", "conditions": conditions})) == expected

"""Rules evaluated with reasons."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segments.language.compiler import Matcher, Subject, compile_rule
from segments.language.parser import EventCondition, parse
from segments.language.trace import TracedGroup, TracedLeaf, miss, nearest, trace

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ATTRIBUTES = {"level": 9, "country": "US", "tags": ["a"], "joined": "2026-05-31T12:00:00Z"}
BUILTIN_FIELDS = {"email": None, "first_seen_at": NOW - timedelta(days=2), "is_payer": False}
SEGMENTS: Mapping[str, Matcher] = {"vips": lambda _: False, "beta": lambda _: True}


def is_(field: str, operator: str, value: Any = None) -> dict[str, Any]:
    found = {"field": field, "operator": operator, "value": value}
    return {name: each for name, each in found.items() if each is not None}


def group(operator: str, *conditions: Any) -> dict[str, Any]:
    return {"operator": operator, "conditions": list(conditions)}


BOUGHT = {"event": "buy", "operator": ">=", "value": 3, "within": "7d"}


def leaf_of(condition: dict[str, Any], count: int = 0) -> TracedLeaf:
    rule = parse(group("AND", condition))
    counts = {
        part.event_count: count for part in rule.conditions if isinstance(part, EventCondition)
    }
    traced = trace(rule, Subject(ATTRIBUTES, BUILTIN_FIELDS, NOW, counts=counts), SEGMENTS)
    assert isinstance(traced, TracedGroup)
    (leaf,) = traced.parts
    assert isinstance(leaf, TracedLeaf)
    return leaf


@pytest.mark.parametrize(
    ("condition", "count", "passed", "actual", "words"),
    [
        (is_("level", ">=", 10), 0, False, "9", "level must be at least 10 (actual: 9)"),
        (is_("level", ">=", 9), 0, True, "9", "level must not be at least 9 (actual: 9)"),
        (is_("country", "in", ["DE", "FR"]), 0, False, "“US”",
         "country must be one of “DE”, “FR” (actual: “US”)"),
        (is_("country", "starts_with", "D"), 0, False, "“US”",
         "country must start with “D” (actual: “US”)"),
        (is_("country", "not_contains", "U"), 0, False, "“US”",
         "country must not contain “U” (actual: “US”)"),
        (is_("country", "not_in", ["DE"]), 0, True, "“US”",
         "country must be one of “DE” (actual: “US”)"),
        (is_("country", "not_contains", "D"), 0, True, "“US”",
         "country must contain “D” (actual: “US”)"),
        (is_("vip", "==", True), 0, False, "missing", "vip must be true (actual: missing)"),
        (is_("vip", "is_set"), 0, False, "missing", "vip must be set (actual: missing)"),
        (is_("email", "matches", "@"), 0, False, "missing",
         "email must match the pattern “@” (actual: missing)"),
        (is_("first_seen_at", "before", "-7d"), 0, False, "2026-05-30T12:00:00Z",
         "first_seen_at must be before 7 days ago (actual: 2026-05-30T12:00:00Z)"),
        (is_("tags", "contains_any", ["b"]), 0, False, "['a']",
         "tags must contain any of “b” (actual: ['a'])"),
        (is_("segment", "in", ["vips"]), 0, False, "not in it",
         "the player must be in the segment “vips” (actual: not in it)"),
        (is_("segment", "not_in", ["beta", "vips"]), 0, False, "in “beta”",
         "the player must not be in any of the segments “beta”, “vips” (actual: in “beta”)"),
        (BOUGHT, 2, False, "2",
         "the player must have done “buy” at least 3 times within the last 7 days (actual: 2)"),
        (BOUGHT, 0, False, "never",
         "the player must have done “buy” at least 3 times within the last 7 days (actual: never)"),
        (BOUGHT, 3, True, "3 or more",
         "the player must not have done “buy” at least 3 times within the last 7 days "
         "(actual: 3 or more)"),
    ],
)  # fmt: skip
def test_condition__reports_what_it_found(
    condition: dict[str, Any], count: int, passed: bool, actual: str, words: str
) -> None:
    leaf = leaf_of(condition, count)
    assert (leaf.passed, leaf.actual, miss(leaf)) == (passed, actual, words)


VALUES: dict[str, Any] = {
    "text": "45", "number": 45, "vip": True, "list": ["45"], "object": {"a": 1}, "bad": "soon",
    "seconds": 1767225600, "milliseconds": 1767225600123, "far": 10**18, "version": 1.4,
    "stats.wins": 3, "stats": {"kills": 1, "a.b": 2}, "none": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "operator", "value", "actual"),
    [
        ("text", ">=", 40, "“45”, which is text, not a number"),
        ("vip", "<", 40, "true, which is true or false, not a number"),
        ("number", ">=", 50, "45"),
        ("text", "==", 45, "“45”, which is text, not a number"),
        ("text", "!=", 45, "“45”, which is text, not a number"),
        ("number", "==", "45", "45, which is a number, not text"),
        ("number", "==", True, "45, which is a number, not true or false"),
        ("number", "==", 44, "45"),
        ("number", "in", ["44", "45"], "45, which is a number, not text"),
        ("vip", "not_in", ["a", 1], "true, which is true or false, not text or a number"),
        ("number", "in", ["44", 1], "45"),
        ("number", "contains", "4", "45, which is a number, not text or a list"),
        ("list", "contains", "4", "['45']"),
        ("object", "not_contains", "a", "{'a': 1}, which is an object, not text or a list"),
        ("list", "starts_with", "4", "['45'], which is a list, not text"),
        ("number", "ends_with", "5", "45, which is a number, not text"),
        ("number", "matches", "5", "45, which is a number, not text"),
        ("text", "contains_any", ["45"], "“45”, which is text, not a list"),
        ("number", "contains_all", ["45"], "45, which is a number, not a list"),
        ("bad", "after", "2026-01-01", "“soon”, which is not a time"),
        ("bad", "not_within_last", "7d", "“soon”, which is not a time"),
        ("far", "before", "-7d", "1000000000000000000, which is a number, not a time"),
        ("vip", "before", "-7d", "true, which is true or false, not a time"),
        ("seconds", "before", "-7d", "1767225600, read as seconds: 2026-01-01T00:00:00Z"),
        ("milliseconds", "within_last", "7d",
         "1767225600123, read as milliseconds: 2026-01-01T00:00:00.123Z"),
        ("bad", "semver_gte", "1.4", "“soon”, which is not a version"),
        ("version", "semver_gte", "1.4", "1.4, which is a number, not a version"),
        ("text", "semver_gte", "46", "“45”"),
        ("vip", "is_not_set", None, "true"),
        ("stats.wins", "==", 3, r"missing; did you mean stats\.wins?"),
        (r"stats\.kills", "==", 1, "missing; did you mean stats.kills?"),
        ("stats.a.b", "==", 2, r"missing; did you mean stats.a\.b?"),
        ("stats.deaths", "==", 1, "missing"),
        ("none", "==", 1, "missing"),
    ],
)  # fmt: skip
def test_value_of_another_type__says_why_the_condition_cannot_hold(
    field: str, operator: str, value: Any, actual: str
) -> None:
    rule = parse(group("AND", is_(field, operator, value)))
    traced = trace(rule, Subject(VALUES, {}, NOW), SEGMENTS)
    assert isinstance(traced, TracedGroup)
    (leaf,) = traced.parts
    assert isinstance(leaf, TracedLeaf)
    assert leaf.actual == actual


def test_miss__names_the_type() -> None:
    rule = parse(group("AND", is_("level", ">=", 40)))
    (leaf,) = nearest(trace(rule, Subject({"level": "45"}, {}, NOW), {}))
    assert miss(leaf) == ("level must be at least 40 (actual: “45”, which is text, not a number)")


def test_long_value__is_truncated() -> None:
    subject = Subject({"text": "x" * 500}, {}, NOW)
    traced = trace(parse(group("AND", is_("text", "==", "y"))), subject, {})
    assert isinstance(traced, TracedGroup)
    assert isinstance(traced.parts[0], TracedLeaf)
    assert len(traced.parts[0].actual) == 80


# Attributes a to f are booleans, so each can be flipped.
NAMES = "abcdef"
trees = st.recursive(
    st.sampled_from(NAMES).map(lambda name: is_(name, "==", True)),
    lambda inner: st.builds(
        lambda operator, parts: group(operator, *parts),
        st.sampled_from(["AND", "OR", "NOT"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=8,
)


@given(trees, st.fixed_dictionaries({name: st.booleans() for name in NAMES}))
def test_trace__has_the_result_of_the_rule(tree: dict[str, Any], values: dict[str, bool]) -> None:
    rule, subject = parse(group("AND", tree)), Subject(values, {}, NOW)
    assert trace(rule, subject, {}).passed is compile_rule(rule)(subject)


def one_of_each(tree: dict[str, Any], taken: list[str]) -> dict[str, Any]:
    """The tree with a distinct name in each condition."""
    if "conditions" in tree:
        return group(tree["operator"], *(one_of_each(part, taken) for part in tree["conditions"]))
    taken.append(f"n{len(taken)}")
    return is_(taken[-1], "==", True)


@given(trees, st.lists(st.booleans(), min_size=32, max_size=32))
def test_nearest_miss__flips_the_rule_and_is_minimal(
    tree: dict[str, Any], drawn: list[bool]
) -> None:
    taken: list[str] = []
    rule = parse(group("AND", one_of_each(tree, taken)))
    values = dict(zip(taken, drawn, strict=False))
    before = compile_rule(rule)(Subject(values, {}, NOW))
    found = nearest(trace(rule, Subject(values, {}, NOW), {}))

    def after(flipped: set[str]) -> bool:
        changed = {name: value is not (name in flipped) for name, value in values.items()}
        return compile_rule(rule)(Subject(changed, {}, NOW))

    names = {leaf.leaf.field for leaf in found if hasattr(leaf.leaf, "field")}
    assert after(names) is not before
    if len(names) > 1:
        assert all(after({name}) is before for name in taken)


@pytest.mark.parametrize(
    ("condition", "actual"),
    [
        (is_("email", "ends_with", ".org"), "“p***”"),
        (is_("country", "==", "DE"), "“U***”"),
        (is_("attributes.country", "==", 1), "“U***”"),
        (is_("home.city", "==", "Oslo"), "“B***”"),
        (is_("home", "==", "Oslo"), "“***”"),
        (is_("level", ">=", 10), "9"),
        (is_("missing", "==", "DE"), "missing"),
    ],
)
def test_hidden_value__counts_as_it_is_and_shows_masked(
    condition: dict[str, Any], actual: str
) -> None:
    attributes = {**ATTRIBUTES, "home": {"city": "Bergen"}}
    fields = {**BUILTIN_FIELDS, "email": "pia@example.com"}
    rule = parse(group("AND", condition))
    subject = Subject(attributes, fields, NOW, hidden={"email", "country", "home", "missing"})
    traced = trace(rule, subject, SEGMENTS)
    assert isinstance(traced, TracedGroup)
    (leaf,) = traced.parts
    assert isinstance(leaf, TracedLeaf)
    assert leaf.actual == actual
    assert leaf.passed is compile_rule(rule, SEGMENTS)(Subject(attributes, fields, NOW))

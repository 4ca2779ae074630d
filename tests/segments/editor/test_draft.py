"""Rules as drafts: conversion to text and back, and the editor's buttons."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ilara_admin.core.json_equality import identical
from segments.editor.draft import (
    LEVELS,
    Draft,
    act,
    as_typed,
    document_of,
    draft_of,
    json_draft,
    new_rule,
    parse_typed,
    read_draft,
)
from segments.editor.part_forms import OFFERED
from segments.language.operators import OPERATORS, ValueKind
from tests.segments.language.test_agreement import rules


def group(*conditions: Any, operator: str = "AND") -> dict[str, Any]:
    return {"operator": operator, "conditions": list(conditions)}


def condition(field: str = "x", operator: str = "==", value: Any = 1) -> dict[str, Any]:
    return {"field": field, "operator": operator, "value": value}


def event(**more: Any) -> dict[str, Any]:
    return {"event": "win", "operator": ">=", "value": 3, "within": "7d", **more}


def kinds(draft: Draft) -> Any:
    return [draft.kind, *map(kinds, draft.parts)] if draft.parts else draft.kind


def test_every_operator__is_offered() -> None:
    assert sorted(key for keys in OFFERED.values() for key in keys) == sorted(OPERATORS)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (group(condition()), ["group", "field"]),
        (group(condition("email", "is_set", None) | {}), ["group", "json"]),
        (group({"field": "email", "operator": "is_set"}), ["group", "field"]),
        (group(condition("segment", "in", ["a", "b"])), ["group", "segment"]),
        (group(condition("segment", "in", ["a", "a"])), ["group", "json"]),
        (group(event()), ["group", "event"]),
        (group(event(operator="<=", value=0)), ["group", "event"]),
        (group(event(within="07d")), ["group", "json"]),
        (
            group(event(where=group(condition("a"), condition("b")))),
            ["group", ["event", "property", "property"]],
        ),
        (group(event(where=group(condition("a"), operator="OR"))), ["group", "json"]),
        (group(event(where=group(group(condition("a"))))), ["group", "json"]),
        (group(event(where=None)), ["group", "json"]),
        (
            group(group(group(condition(), group(condition())))),
            ["group", ["group", ["group", "field", "json"]]],
        ),
        (group(condition("x", "contains", "a ")), ["group", "json"]),
        (group(condition("x", "starts_with", "a\nb")), ["group", "json"]),
        (group(condition(" x")), ["group", "json"]),
    ],
)
def test_part_without_controls__is_json_and_the_rest_is_not(document: Any, expected: Any) -> None:
    assert kinds(draft_of(document)) == expected


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("40", ValueKind.ANY, 40),
        ("40", ValueKind.TEXT, "40"),
        ('"40"', ValueKind.ANY, "40"),
        ('"40"', ValueKind.TEXT, "40"),
        ("true", ValueKind.ANY, True),
        ("true", ValueKind.TEXT, "true"),
        ("null", ValueKind.ANY, "null"),
        ("[1]", ValueKind.ANY, "[1]"),
        ("a, b", ValueKind.ANY, "a, b"),
        ("1e2", ValueKind.NUMBER, 100.0),
    ],
)
def test_value__is_parsed_by_the_field_s_kind(text: str, kind: ValueKind, value: Any) -> None:
    found = parse_typed("==", text, kind)
    assert (found, type(found)) == (value, type(value))


def test_list__is_parsed_item_by_item() -> None:
    text = '1, "x, y", true, a b, "2"'
    assert parse_typed("in", text) == [1, "x, y", True, "a b", "2"]
    assert parse_typed("in", "1001, 1002", ValueKind.TEXT) == ["1001", "1002"]


SCALARS = st.one_of(
    st.text(),
    st.text('a1, "\\'),
    st.integers(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
)


@pytest.mark.slow
@example(['"', '"'], ValueKind.ANY)
@given(st.lists(SCALARS, min_size=1), st.sampled_from([ValueKind.ANY, ValueKind.TEXT]))
def test_value__round_trips_through_text(values: list[Any], kind: ValueKind) -> None:
    if kind is ValueKind.TEXT:
        values = [value for value in values if isinstance(value, str)] or ["a"]
    text = as_typed(values, kind)
    assert text == text.strip()
    assert repr(parse_typed("in", text, kind)) == repr(values)
    assert repr(parse_typed("==", as_typed(values[0], kind), kind)) == repr(values[0])


def rule() -> Draft:
    inner = Draft("group", {"operator": "OR"}, [Draft("field", {"field": "b"})])
    return Draft("group", {"operator": "AND"}, [Draft("field", {"field": "a"}), inner])


@pytest.mark.parametrize(
    ("action", "focus", "expected"),
    [
        ("field r", "r-2-field", ["group", "field", ["group", "field"], "field"]),
        ("segment r-1", "r-1-1-operator", ["group", "field", ["group", "field", "segment"]]),
        ("event r-1", "r-1-1-event", ["group", "field", ["group", "field", "event"]]),
        ("group r-1", "r-1-1-operator", [
            "group", "field", ["group", "field", ["group", "field"]]]),
        ("remove r-0", "r-0-remove", ["group", ["group", "field"]]),
        ("remove r-1", "r-0-remove", ["group", "field"]),
        ("remove r-1-0", "r-1-add", ["group", "field", "group"]),
        ("remove r", "", ["group", "field", ["group", "field"]]),
        ("remove r-7", "", ["group", "field", ["group", "field"]]),
        ("remove r-1-0-0", "", ["group", "field", ["group", "field"]]),
        ("remove s-1", "", ["group", "field", ["group", "field"]]),
        ("remove r-x", "", ["group", "field", ["group", "field"]]),
        ("property r", "", ["group", "field", ["group", "field"]]),
        ("field r-0", "", ["group", "field", ["group", "field"]]),
        ("nonsense r", "", ["group", "field", ["group", "field"]]),
    ],
)  # fmt: skip
def test_button__adds_or_removes_a_part_and_returns_the_focus(
    action: str, focus: str, expected: Any
) -> None:
    draft = rule()
    assert (act(draft, "r", action), kinds(draft)) == (focus, expected)


def test_groups__nest_up_to_the_level_limit() -> None:
    draft, place = new_rule(), "r"
    for _ in range(LEVELS - 1):
        place = act(draft, "r", f"group {place}").removesuffix("-operator")
    assert act(draft, "r", f"group {place}") == ""


def test_posted_controls__are_read_by_name() -> None:
    draft = read_draft(
        {
            "r-operator": ["OR"], "r-0-kind": ["segment"], "r-0-segments": ["a", "b"],
            "r-1-kind": ["event"], "r-1-0-kind": ["property"], "r-1-0-field": ["stars"],
            "r-3-kind": ["field"], "other-0-kind": ["field"], "r-2": ["x"],
        },
        "r",
    )  # fmt: skip
    assert kinds(draft) == ["group", "segment", ["event", "property"]]
    assert draft.parts[0].typed == {"segments": ["a", "b"]}
    assert draft.parts[1].parts[0].typed == {"field": "stars"}


def test_excessive_posted_nesting__is_cut_off() -> None:
    names = ["r" + "-0" * depth for depth in range(400)]
    draft = read_draft({f"{name}-kind": ["group"] for name in names}, "r")
    assert str(kinds(draft)).count("group") < 10


def posted(draft: Draft, name: str) -> dict[str, list[str]]:
    """The controls of a draft as a browser posts them."""
    found: dict[str, list[str]] = {f"{name}-kind": [draft.kind]}
    for control, value in draft.typed.items():
        found[f"{name}-{control}"] = value if isinstance(value, list) else [value]
    for index, part in enumerate(draft.parts):
        found |= posted(part, f"{name}-{index}")
    return found


def typed(draft: Draft) -> Any:
    """The document of what was typed, as the forms read it."""
    if draft.kind == "json":
        return json.loads(draft.typed["json"])
    return document_of(draft.kind, draft.typed, [typed(part) for part in draft.parts])


@pytest.mark.slow
@settings(max_examples=50)
@given(rules)
def test_random_rule__survives_the_controls_and_json(document: Any) -> None:
    """Builder → JSON → builder, with all that a browser posts in between."""
    in_json = read_draft(posted(json_draft(document), "r"), "r")
    as_conditions = read_draft(posted(draft_of(typed(in_json)), "r"), "r")
    assert identical(typed(as_conditions), document)
    assert kinds(draft_of(typed(as_conditions))) == kinds(draft_of(document))


@pytest.mark.slow
@given(rules)
def test_random_rule__opens_with_controls(document: Any) -> None:
    assert draft_of(document).kind == "group"

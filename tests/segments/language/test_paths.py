"""Rules name every attribute that the API stores, whatever its name."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from segments.language.compiler import Subject, compile_rule
from segments.language.parser import (
    FIELDS,
    Condition,
    EventCondition,
    attribute_name,
    attribute_path,
    parse,
)
from segments.language.paths import join_path, other_path, split_path, values_in
from segments.language.sql import NOW as SQL_NOW
from segments.language.sql import condition_sql
from tests.segments.language.test_parser import NOW, and_, condition, events

AWKWARD = [".", "\\", "\\.", "\\\\", "..", "attributes", "attributes.", "attributes.x", "email",
           "segment", "stats.wins", "a.b.c", " ", "'", '"', "%s", "$1", "%", "{0}", "->", "0",
           "é", "\u202e", "\n", *FIELDS]  # fmt: skip
characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
keys = st.one_of(
    st.sampled_from(AWKWARD),
    st.text(st.sampled_from(".\\ab"), min_size=1, max_size=6),
    st.text(characters, min_size=1, max_size=128),
)
paths = st.lists(keys, min_size=1, max_size=5)


def object_with(path: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("level", ["level"]),
        ("stats.wins", ["stats", "wins"]),
        (r"stats\.wins", ["stats.wins"]),
        (r"a\.b.c\\.d", ["a.b", "c\\", "d"]),
        (r"\\\.", [r"\."]),
        ("a..b", ["a", "", "b"]),
        (r"a\.", ["a."]),
        ("a\\", ["a\\"]),
        (r"a\b", [r"a\b"]),
        ("", [""]),
    ],
)
def test_path__is_split_at_plain_dots(text: str, path: list[str]) -> None:
    assert split_path(text) == path


@given(paths)
def test_split__is_the_inverse_of_join(path: list[str]) -> None:
    assert split_path(join_path(path)) == path
    assert attribute_path(attribute_name(path)) == path


@given(paths)
def test_rule__finds_every_attribute(path: list[str]) -> None:
    named = and_(condition(attribute_name(path), "==", 7))
    found = parse(and_(events("x", ">=", 1, where=named))).conditions[0]
    assert isinstance(found, EventCondition)
    for rule in (parse(named), found.event_count.where):
        assert rule
        assert compile_rule(rule)(Subject(object_with(path, 7), {}, NOW))


def test_longest_path__is_parsed() -> None:
    parse(and_(condition(attribute_name(["." * 128] * 14), "is_set")))


def test_sql__finds_every_attribute(db: None) -> None:
    drawn: list[list[str]] = []

    @given(paths)
    def draw(path: list[str]) -> None:
        drawn.append(path)

    draw()
    params: dict[str, Any] = {"now": NOW}

    def bind(value: Any) -> str:
        params[name := f"p{len(params)}"] = value
        return f"%({name})s"

    def query(path: list[str]) -> str:
        (leaf,) = parse(and_(condition(attribute_name(path), "==", 7))).conditions
        assert isinstance(leaf, Condition)
        where = condition_sql(leaf, bind, SQL_NOW, {}, True)
        attributes = bind(json.dumps(object_with(path, 7)))
        return f"SELECT {where} FROM (SELECT {attributes}::jsonb AS attributes) p"

    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(map(query, drawn)), params)
        found = [row[0] for row in cursor.fetchall()]
    assert len(found) == len(drawn) > 50
    assert [path for path, each in zip(drawn, found, strict=True) if not each] == []


# --- Other paths --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "path", "other"),
    [
        ({"stats.wins": 1}, ["stats", "wins"], ["stats.wins"]),
        ({"stats": {"wins": 1}}, ["stats.wins"], ["stats", "wins"]),
        ({"a": {"b": 1}, "a.b": {"c": 1}}, ["a", "b", "c"], ["a.b", "c"]),
        ({"stats": 1}, ["stats", "wins"], None),
        ({}, ["a", "b"], None),
    ],
)
def test_other_path__differs_in_the_dots(
    value: Mapping[str, Any], path: list[str], other: list[str] | None
) -> None:
    assert other_path(value, path) == other


def test_paths__lead_to_the_values() -> None:
    value = {"a": 1, "b": {"c": {"d": {"e": 1}}, "f": []}, "g": {}}
    assert list(values_in(value, 3)) == [
        (("a",), 1),
        (("b", "c", "d"), {"e": 1}),
        (("b", "f"), []),
        (("g",), {}),
    ]

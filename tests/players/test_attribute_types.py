"""The types of attributes: which a value has, and how a typed text is read."""

from typing import Any

import pytest

from players.attribute_types import AttributeType, keeps, parse, patch_of, type_of, typed

TEXT, NUMBER, YES_NO = AttributeType.TEXT, AttributeType.NUMBER, AttributeType.YES_NO
TIME, LIST, OBJECT = AttributeType.TIME, AttributeType.LIST, AttributeType.OBJECT

VALUES = [
    ("", TEXT), ("7", TEXT), ("007", TEXT), ("1e3", TEXT), ("true", TEXT), (" a ", TEXT),
    ("20260504", TEXT), ("a\nb", TEXT), ("{}", TEXT), ("2026-05-04", TIME),
    ("2026-05-04T12:00:00+02:00", TIME), (7, NUMBER), (0, NUMBER), (1.0, NUMBER), (-0.5, NUMBER),
    (9007199254740993, NUMBER), (-(2**63), NUMBER), (1e300, NUMBER), (5e-324, NUMBER),
    (True, YES_NO), (False, YES_NO), ([], LIST), ([1, "1", [None]], LIST), ({}, OBJECT),
    ({"a": {"b": 1.0}, "é": "\u2028"}, OBJECT),
]  # fmt: skip


@pytest.mark.parametrize(("value", "kind"), VALUES)
def test_value__keeps_its_type_and_spelling(value: Any, kind: AttributeType) -> None:
    assert type_of(value) is kind
    text = typed(value)
    found = parse(text, kind)
    assert (found, type(found)) == (value, type(value))
    assert keeps(text, kind, value)
    assert keeps(text.replace("\n", "\r\n"), kind, value)
    assert patch_of({"a": value}, {"a": found}) == {}


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("7", TEXT, "7"),
        (" 7 ", NUMBER, 7),
        ("7.0", NUMBER, 7.0),
        ("1e2", NUMBER, 100.0),
        ("1.10", NUMBER, 1.1),
        ("100000000000000000000", NUMBER, 10**20),
        ("Yes", YES_NO, True),
        ("no", YES_NO, False),
        ("a\r\nb", TEXT, "a\nb"),
        ("[1.50]", LIST, [1.5]),
    ],
)
def test_typed_text__is_read_as_its_type(text: str, kind: AttributeType, value: Any) -> None:
    found = parse(text, kind)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "kind", "problem"),
    [
        ("seven", NUMBER, "must be a number, like 42"),
        ("", NUMBER, "must be a number"),
        ("007", NUMBER, "must be a number"),
        ("1,5", NUMBER, "must be a number"),
        ("٣", NUMBER, "must be a number"),
        ("NaN", NUMBER, "must be a number"),
        ("1e400", NUMBER, "out of range"),
        ("9" * 5_000, NUMBER, "out of range"),
        ("1." + "1" * 5_000, NUMBER, "more digits than a number keeps"),
        ("0.12345678901234567890", NUMBER, "0.12345678901234568; shorten it"),
        ("18446744073709551617", NUMBER, "more digits than a number keeps"),
        ("[0.12345678901234567890]", LIST, "more digits than a number keeps"),
        ("maybe", YES_NO, "must be yes or no"),
        ("tomorrow", TIME, "must be a date and time, like 2026-"),
        ("{}", LIST, "must be a list in JSON"),
        ("[]", OBJECT, "must be an object in JSON"),
        ('{"a": 1,\n oops}', OBJECT, "is not valid JSON. Line 2"),
        ("[NaN]", LIST, "no NaN"),
        ("[" * 100_000, LIST, "nested too deeply"),
    ],
)
def test_typed_text_of_another_type__is_refused(
    text: str, kind: AttributeType, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        parse(text, kind)


def test_patch__has_what_differs_in_value_or_spelling() -> None:
    old = {"same": 1, "spelling": 1, "type": "1", "gone": True}
    new = {"same": 1, "spelling": 1.0, "type": 1, "new": None}
    assert patch_of(old, new) == {"spelling": 1.0, "type": 1, "new": None, "gone": None}

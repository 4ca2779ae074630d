"""The operators of the rule language: operand, field kinds and test of each. Imports no Django.

Types are strict: numbers equal only numbers, text only text, and true is not 1. An operator does
not hold if the player has no value or one of another type. A negative operator is the exact
negation of its positive one, so it holds in those cases.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from operator import eq, ge, gt, le, lt
from typing import Any, Literal

from ilara_admin.core.json_equality import json_equal
from segments.language.values import (
    boundary,
    duration,
    is_number,
    moment,
    pattern,
    version,
)


class ValueKind(StrEnum):
    """The type of a field's values. Attributes are ANY, because the game chooses their types."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "true or false"
    TIME = "time"
    SEGMENT = "segment"
    ANY = "attribute"


type OperandKind = Literal[
    "scalar", "number", "text", "list", "duration", "moment", "version", "pattern", "nothing"
]
# Whether a player's value satisfies the condition now. Called only if the player has a value.
type Predicate = Callable[[Any, datetime], bool]


@dataclass(frozen=True, slots=True)
class Operator:
    """`test` builds the predicate for a condition's value. A negative operator has `opposite`
    instead, the name of the positive one."""

    takes: OperandKind
    words: str
    kinds: frozenset[ValueKind]
    test: Callable[[Any], Predicate] | None = None
    opposite: str = ""


def _each(*kinds: ValueKind) -> frozenset[ValueKind]:
    return frozenset({ValueKind.ANY, *kinds})


_SCALARS = _each(ValueKind.TEXT, ValueKind.NUMBER, ValueKind.BOOLEAN)
_LISTED = _each(ValueKind.TEXT, ValueKind.NUMBER, ValueKind.SEGMENT)
_TEXT = _each(ValueKind.TEXT)
_NUMBER = _each(ValueKind.NUMBER)
_TIME = _each(ValueKind.TIME)
_ATTRIBUTE = _each()
_STORED = _each(ValueKind.TEXT, ValueKind.NUMBER, ValueKind.BOOLEAN, ValueKind.TIME)


def _any_equal(actual: object, values: Iterable[Any]) -> bool:
    return any(json_equal(actual, value) for value in values)


def _same(value: Any) -> Predicate:
    return lambda actual, _: json_equal(actual, value)


def _more(value: Any) -> Predicate:
    return lambda actual, _: is_number(actual) and actual > value


def _at_least(value: Any) -> Predicate:
    return lambda actual, _: is_number(actual) and actual >= value


def _less(value: Any) -> Predicate:
    return lambda actual, _: is_number(actual) and actual < value


def _at_most(value: Any) -> Predicate:
    return lambda actual, _: is_number(actual) and actual <= value


def _contains(value: Any) -> Predicate:
    """A substring of a text, or an item of a list."""
    return lambda actual, _: isinstance(actual, str | list) and value in actual


def _starts_with(value: Any) -> Predicate:
    return lambda actual, _: isinstance(actual, str) and actual.startswith(value)


def _ends_with(value: Any) -> Predicate:
    return lambda actual, _: isinstance(actual, str) and actual.endswith(value)


def _matches(value: Any) -> Predicate:
    search = pattern(value).search
    return lambda actual, _: isinstance(actual, str) and search(actual) is not None


def _one_of(value: Any) -> Predicate:
    texts = frozenset(item for item in value if isinstance(item, str))
    others = [item for item in value if not isinstance(item, str)]
    return lambda actual, _: (
        actual in texts if isinstance(actual, str) else _any_equal(actual, others)
    )


def _contains_any(value: Any) -> Predicate:
    return lambda actual, _: (
        isinstance(actual, list) and any(_any_equal(item, value) for item in actual)
    )


def _contains_all(value: Any) -> Predicate:
    return lambda actual, _: (
        isinstance(actual, list) and all(_any_equal(item, actual) for item in value)
    )


def _within_last(value: Any) -> Predicate:
    span = duration(value)

    def test(actual: Any, now: datetime) -> bool:
        at = moment(actual)
        return at is not None and now - span <= at <= now

    return test


def _before(value: Any) -> Predicate:
    limit = boundary(value)

    def test(actual: Any, now: datetime) -> bool:
        at = moment(actual)
        return at is not None and at < (now + limit if isinstance(limit, timedelta) else limit)

    return test


def _after(value: Any) -> Predicate:
    limit = boundary(value)

    def test(actual: Any, now: datetime) -> bool:
        at = moment(actual)
        return at is not None and at > (now + limit if isinstance(limit, timedelta) else limit)

    return test


def _version(compare: Callable[[Any, Any], bool]) -> Callable[[Any], Predicate]:
    def make(value: Any) -> Predicate:
        expected = version(value)

        def test(actual: Any, now: datetime) -> bool:
            found = version(actual)
            return found is not None and compare(found, expected)

        return test

    return make


def _is_set(value: Any) -> Predicate:
    return lambda actual, _: True


OPERATORS: Mapping[str, Operator] = {
    "==": Operator("scalar", "is", _SCALARS, _same),
    "!=": Operator("scalar", "is not", _SCALARS, opposite="=="),
    ">": Operator("number", "is more than", _NUMBER, _more),
    ">=": Operator("number", "is at least", _NUMBER, _at_least),
    "<": Operator("number", "is less than", _NUMBER, _less),
    "<=": Operator("number", "is at most", _NUMBER, _at_most),
    "in": Operator("list", "is one of", _LISTED, _one_of),
    "not_in": Operator("list", "is none of", _LISTED, opposite="in"),
    "contains": Operator("text", "contains", _TEXT, _contains),
    "not_contains": Operator("text", "does not contain", _TEXT, opposite="contains"),
    "starts_with": Operator("text", "starts with", _TEXT, _starts_with),
    "ends_with": Operator("text", "ends with", _TEXT, _ends_with),
    "matches": Operator("pattern", "matches the pattern", _TEXT, _matches),
    "not_matches": Operator("pattern", "does not match the pattern", _TEXT, opposite="matches"),
    "contains_any": Operator("list", "contains any of", _ATTRIBUTE, _contains_any),
    "contains_all": Operator("list", "contains all of", _ATTRIBUTE, _contains_all),
    "within_last": Operator("duration", "is within the last", _TIME, _within_last),
    "not_within_last": Operator(
        "duration", "is not within the last", _TIME, opposite="within_last"
    ),
    "before": Operator("moment", "is before", _TIME, _before),
    "after": Operator("moment", "is after", _TIME, _after),
    "semver_eq": Operator("version", "is version", _ATTRIBUTE, _version(eq)),
    "semver_gt": Operator("version", "is a version above", _ATTRIBUTE, _version(gt)),
    "semver_gte": Operator("version", "is at least version", _ATTRIBUTE, _version(ge)),
    "semver_lt": Operator("version", "is a version below", _ATTRIBUTE, _version(lt)),
    "semver_lte": Operator("version", "is at most version", _ATTRIBUTE, _version(le)),
    "is_set": Operator("nothing", "is set", _STORED, _is_set),
    "is_not_set": Operator("nothing", "is not set", _STORED, opposite="is_set"),
}


def test_of(name: str, value: Any) -> tuple[Predicate, bool]:
    """The predicate of an operator for a condition's value, and whether its result is negated."""
    operator = OPERATORS[name]
    positive = OPERATORS[operator.opposite] if operator.opposite else operator
    assert positive.test, "a positive operator has a test"
    return positive.test(value), bool(operator.opposite)

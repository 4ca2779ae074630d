"""The operators of the rule language as SQL, for JSON values and for columns. Imports no Django.

Each writes when the positive operator holds for a value that is there; NULL counts as false. Only
CASE settles the order in which PostgreSQL looks, and a cast of the wrong text would be an error.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from segments.language.values import (
    IDENTIFIER_LENGTH,
    NAIVE_MOMENT,
    RELEASE,
    VERSION,
    VERSION_PARTS,
    ZONED_MOMENT,
    duration,
    version,
)


@dataclass(frozen=True, slots=True)
class SqlOptions:
    """How to give a value to the statement, the SQL of now, whether an upper bound is wanted where
    SQL cannot tell, and what `before` and `after` compare with."""

    bind: Callable[[Any], str]
    now: str
    may: bool
    boundary: datetime | timedelta | None

    def json(self, value: Any) -> str:
        return f"{self.bind(json.dumps(value, ensure_ascii=False))}::jsonb"

    def json_list(self, values: Sequence[Any]) -> str:
        texts = [json.dumps(value, ensure_ascii=False) for value in values]
        return f"{self.bind(texts)}::text[]::jsonb[]"

    @property
    def limit(self) -> str:
        if isinstance(self.boundary, timedelta):
            return f"({self.now} + interval '{int(self.boundary.total_seconds())} seconds')"
        return f"{self.bind(self.boundary)}::timestamptz"

    def last(self, at: str, value: str) -> str:
        seconds = int(duration(value).total_seconds())
        return f"{at} BETWEEN {self.now} - interval '{seconds} seconds' AND {self.now}"


type SqlWriter = Callable[[str, Any, SqlOptions], str]


def _text(value: str) -> str:
    """A JSON value as text; of a JSON string, its content."""
    return f"({value} #>> '{{}}')"


def _if_text(value: str, then: str) -> str:
    return f"CASE WHEN jsonb_typeof({value}) = 'string' THEN {then} END"


def _compare(sign: str) -> SqlWriter:
    # Among numbers, JSONB sorts by their value.
    return lambda value, expected, reach: (
        f"jsonb_typeof({value}) = 'number' AND {value} {sign} {reach.json(expected)}"
    )


def _contains(value: str, expected: str, reach: SqlOptions) -> str:
    text = f"{reach.bind(expected)}::text"
    return f"""CASE jsonb_typeof({value}) WHEN 'string' THEN strpos({_text(value)}, {text}) > 0
        WHEN 'array' THEN jsonb_exists({value}, {text}) END"""


def _ends_with(text: str, expected: str, reach: SqlOptions) -> str:
    return f"right({text}, {len(expected)}) = {reach.bind(expected)}::text"


def _contains_any(value: str, expected: Sequence[Any], reach: SqlOptions) -> str:
    # Containment finds scalars of the outermost list. A sub-select over the items would keep
    # PostgreSQL from counting in parallel.
    found = f"{value} @> ANY ({reach.json_list([[item] for item in expected])})"
    return f"CASE WHEN jsonb_typeof({value}) = 'array' THEN {found} END"


def _contains_all(value: str, expected: Sequence[Any], reach: SqlOptions) -> str:
    found = f"{value} @> {reach.json(list(expected))}"
    return f"CASE WHEN jsonb_typeof({value}) = 'array' THEN {found} END"


def _moment(value: str) -> str:
    text = _text(value)
    read = f"""CASE WHEN {text} ~ '{ZONED_MOMENT}' THEN {text}::timestamptz
        WHEN {text} ~ '{NAIVE_MOMENT}' THEN {text}::timestamp AT TIME ZONE 'UTC' END"""
    return f"({_if_text(value, read)})"


def _version(sign: str) -> SqlWriter:
    """values.version, as a row that compares like its tuple."""

    def write(value: str, expected: str, reach: SqlOptions) -> str:
        text = _text(value)
        numbers = f"string_to_array(substring({text} FROM '^v?([0-9.]+)'), '.')::int[]"
        numbers = f"({numbers} || array_fill(0, ARRAY[{VERSION_PARTS}]))[1:{VERSION_PARTS}]"
        pre_release = f"substring(split_part({text}, '+', 1) FROM '-(.*)$')"
        found = version(expected)
        assert found, "a rule that was read names a version"
        return _if_text(
            value,
            f"""CASE WHEN {text} ~ '{VERSION}' THEN ({numbers}, CASE WHEN {pre_release} IS NULL
                THEN '{RELEASE}' ELSE {_identifiers(pre_release)} END COLLATE "C") {sign}
                ({reach.bind(list(found[0]))}::int[], {reach.bind(found[1])}::text) END""",
        )

    return write


def _identifiers(pre_release: str) -> str:
    """A pre-release written so that plain text comparison orders it. By patterns alone, for the
    sake of counting in parallel."""
    words = f"regexp_replace('.' || {pre_release}, '\\.(?=[0-9]*[A-Za-z-])', '.1', 'g')"
    zeros = "0" * IDENTIFIER_LENGTH
    filled = f"regexp_replace({words}, '\\.(?=[0-9]+(\\.|$))', '.0{zeros}', 'g')"
    last = f"'\\.0[0-9]*([0-9]{{{IDENTIFIER_LENGTH}}})(?=\\.|$)'"
    return f"translate(substr(regexp_replace({filled}, {last}, '.0\\1', 'g'), 2), '.', ' ')"


JSON: Mapping[str, SqlWriter] = {
    "==": lambda value, expected, reach: f"{value} = {reach.json(expected)}",
    ">": _compare(">"),
    ">=": _compare(">="),
    "<": _compare("<"),
    "<=": _compare("<="),
    "in": lambda value, expected, reach: f"{value} = ANY ({reach.json_list(expected)})",
    "contains": _contains,
    "starts_with": lambda value, expected, reach: _if_text(
        value, f"starts_with({_text(value)}, {reach.bind(expected)}::text)"
    ),
    "ends_with": lambda value, expected, reach: _if_text(
        value, _ends_with(_text(value), expected, reach)
    ),
    "matches": lambda value, expected, reach: (
        f"jsonb_typeof({value}) = 'string'" if reach.may else "false"
    ),
    "contains_any": _contains_any,
    "contains_all": _contains_all,
    "within_last": lambda value, expected, reach: reach.last(_moment(value), expected),
    "before": lambda value, expected, reach: f"{_moment(value)} < {reach.limit}",
    "after": lambda value, expected, reach: f"{_moment(value)} > {reach.limit}",
    "semver_eq": _version("="),
    "semver_gt": _version(">"),
    "semver_gte": _version(">="),
    "semver_lt": _version("<"),
    "semver_lte": _version("<="),
    "is_set": lambda value, expected, reach: f"jsonb_typeof({value}) <> 'null'",
}


def _sign(sign: str) -> SqlWriter:
    return lambda column, expected, reach: f"{column} {sign} {reach.bind(expected)}"


# Numbers come as numbers and times as times: a column has one type.
COLUMN: Mapping[str, SqlWriter] = {
    "==": _sign("="),
    ">": _sign(">"),
    ">=": _sign(">="),
    "<": _sign("<"),
    "<=": _sign("<="),
    "in": lambda column, expected, reach: f"{column} = ANY ({reach.bind(list(expected))})",
    "contains": lambda column, expected, reach: f"strpos({column}, {reach.bind(expected)}) > 0",
    "starts_with": lambda column, expected, reach: (
        f"starts_with({column}, {reach.bind(expected)}::text)"
    ),
    "ends_with": _ends_with,
    "matches": lambda column, expected, reach: f"{column} IS NOT NULL" if reach.may else "false",
    "within_last": lambda column, expected, reach: reach.last(column, expected),
    "before": lambda column, expected, reach: f"{column} < {reach.limit}",
    "after": lambda column, expected, reach: f"{column} > {reach.limit}",
    "is_set": lambda column, expected, reach: f"{column} IS NOT NULL",
}

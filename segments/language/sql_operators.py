"""The operators of the rule language as SQL, for JSON values and for columns. Imports no Django.

Each writer covers a positive operator on a value that exists; NULL counts as false. Only CASE
guarantees evaluation order in PostgreSQL, and casting text of the wrong form is an error.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ilara_admin.core.times import sql_time
from segments.language.values import (
    EARLIEST_SECOND,
    FIRST_MILLISECONDS,
    IDENTIFIER_LENGTH,
    LATEST_SECOND,
    MAX_VERSION_PART,
    RELEASE,
    VERSION,
    VERSION_PART_DIGITS,
    VERSION_PARTS,
    duration,
    version,
)


@dataclass(frozen=True, slots=True)
class SqlOptions:
    """`bind` adds a parameter, `now` is SQL, `may` selects the upper bound for operators without
    SQL, and `boundary` is the operand of `before` and `after`."""

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
    """A JSON value as text; for a JSON string, its content."""
    return f"({value} #>> '{{}}')"


def _if_text(value: str, then: str) -> str:
    return f"CASE WHEN jsonb_typeof({value}) = 'string' THEN {then} END"


def _compare(sign: str) -> SqlWriter:
    # JSONB compares two numbers by value.
    return lambda value, expected, options: (
        f"jsonb_typeof({value}) = 'number' AND {value} {sign} {options.json(expected)}"
    )


def _contains(value: str, expected: str, options: SqlOptions) -> str:
    text = f"{options.bind(expected)}::text"
    return f"""CASE jsonb_typeof({value}) WHEN 'string' THEN strpos({_text(value)}, {text}) > 0
        WHEN 'array' THEN jsonb_exists({value}, {text}) END"""


def _ends_with(text: str, expected: str, options: SqlOptions) -> str:
    return f"right({text}, {len(expected)}) = {options.bind(expected)}::text"


def _contains_any(value: str, expected: Sequence[Any], options: SqlOptions) -> str:
    # @> matches scalars in the outermost array. A subquery over the items would prevent a parallel
    # count.
    found = f"{value} @> ANY ({options.json_list([[item] for item in expected])})"
    return f"CASE WHEN jsonb_typeof({value}) = 'array' THEN {found} END"


def _contains_all(value: str, expected: Sequence[Any], options: SqlOptions) -> str:
    found = f"{value} @> {options.json(list(expected))}"
    return f"CASE WHEN jsonb_typeof({value}) = 'array' THEN {found} END"


def moment_sql(value: str) -> str:
    """values.moment as SQL over a JSON value: a timestamptz, or NULL."""
    number = f"({value})::numeric"
    milliseconds = f"floor(CASE WHEN abs({number}) < {FIRST_MILLISECONDS} THEN {number} * 1000"
    milliseconds = f"{milliseconds} ELSE {number} END)"
    # to_timestamp takes a float, which is exact for whole seconds only.
    seconds = f"floor({milliseconds} / 1000)"
    rest = f"mod(mod({milliseconds}, 1000) + 1000, 1000) * interval '1 millisecond'"
    return f"""(CASE jsonb_typeof({value}) WHEN 'string' THEN {sql_time(_text(value))}
        WHEN 'number' THEN CASE WHEN {seconds} BETWEEN {EARLIEST_SECOND} AND {LATEST_SECOND}
            THEN to_timestamp({seconds}::float8) + {rest} END END)"""


_TOO_MANY_DIGITS = "0" * (VERSION_PART_DIGITS + 1)


def _version(sign: str) -> SqlWriter:
    """values.version as a row that sorts like its tuple. Most versions are plain numbers, which
    need no slow regular expression."""

    def write(value: str, expected: str, options: SqlOptions) -> str:
        text = _text(value)
        digits = f"split_part(split_part(ltrim({text}, 'vV'), '+', 1), '-', 1)"
        parts = f"string_to_array({digits}, '.')::bigint[]"
        numbers = f"({parts} || array_fill(0::bigint, ARRAY[{VERSION_PARTS}]))[1:{VERSION_PARTS}]"
        in_range = (
            f"{MAX_VERSION_PART} >= ALL ({parts}) AND cardinality({parts}) <= {VERSION_PARTS}"
        )
        pre_release = f"substring(split_part({text}, '+', 1) FROM '-(.*)$')"
        order = (
            f"CASE WHEN {pre_release} IS NULL THEN '{RELEASE}' ELSE {_identifiers(pre_release)} END"
        )
        found = version(expected)
        assert found, "the parser accepts only valid versions"
        other = f"({options.bind(list(found[0]))}::bigint[], {options.bind(found[1])}::text)"
        too_long = f"strpos(translate({text}, '123456789', '000000000'), '{_TOO_MANY_DIGITS}') > 0"
        return _if_text(
            value,
            f"""CASE WHEN {text} ~ '^[vV]?[0-9]+(?:[.][0-9]+)*$' THEN CASE WHEN {too_long} THEN NULL
                    WHEN {in_range} THEN ({numbers}, '{RELEASE}' COLLATE "C") {sign} {other} END
                WHEN {text} ~ '{VERSION}' THEN CASE WHEN {in_range}
                    THEN ({numbers}, {order} COLLATE "C") {sign} {other} END END""",
        )

    return write


def _identifiers(pre_release: str) -> str:
    """A pre-release in a form that text comparison orders. Uses only regular expressions, which
    allow a parallel count."""
    alphanumeric = f"regexp_replace('.' || {pre_release}, '\\.(?=[0-9]*[A-Za-z-])', '.1', 'g')"
    zeros = "0" * IDENTIFIER_LENGTH
    filled = f"regexp_replace({alphanumeric}, '\\.(?=[0-9]+(\\.|$))', '.0{zeros}', 'g')"
    last = f"'\\.0[0-9]*([0-9]{{{IDENTIFIER_LENGTH}}})(?=\\.|$)'"
    return f"translate(substr(regexp_replace({filled}, {last}, '.0\\1', 'g'), 2), '.', ' ')"


JSON: Mapping[str, SqlWriter] = {
    "==": lambda value, expected, options: f"{value} = {options.json(expected)}",
    ">": _compare(">"),
    ">=": _compare(">="),
    "<": _compare("<"),
    "<=": _compare("<="),
    "in": lambda value, expected, options: f"{value} = ANY ({options.json_list(expected)})",
    "contains": _contains,
    "starts_with": lambda value, expected, options: _if_text(
        value, f"starts_with({_text(value)}, {options.bind(expected)}::text)"
    ),
    "ends_with": lambda value, expected, options: _if_text(
        value, _ends_with(_text(value), expected, options)
    ),
    "matches": lambda value, expected, options: (
        f"jsonb_typeof({value}) = 'string'" if options.may else "false"
    ),
    "contains_any": _contains_any,
    "contains_all": _contains_all,
    "within_last": lambda value, expected, options: options.last(moment_sql(value), expected),
    "before": lambda value, expected, options: f"{moment_sql(value)} < {options.limit}",
    "after": lambda value, expected, options: f"{moment_sql(value)} > {options.limit}",
    "semver_eq": _version("="),
    "semver_gt": _version(">"),
    "semver_gte": _version(">="),
    "semver_lt": _version("<"),
    "semver_lte": _version("<="),
    "is_set": lambda value, expected, options: f"jsonb_typeof({value}) <> 'null'",
}


def _sign(sign: str) -> SqlWriter:
    return lambda column, expected, options: f"{column} {sign} {options.bind(expected)}"


# Columns have one type, so values need no type check.
COLUMN: Mapping[str, SqlWriter] = {
    "==": _sign("="),
    ">": _sign(">"),
    ">=": _sign(">="),
    "<": _sign("<"),
    "<=": _sign("<="),
    "in": lambda column, expected, options: f"{column} = ANY ({options.bind(list(expected))})",
    "contains": lambda column, expected, options: f"strpos({column}, {options.bind(expected)}) > 0",
    "starts_with": lambda column, expected, options: (
        f"starts_with({column}, {options.bind(expected)}::text)"
    ),
    "ends_with": _ends_with,
    "matches": lambda column, expected, options: (
        f"{column} IS NOT NULL" if options.may else "false"
    ),
    "within_last": lambda column, expected, options: options.last(column, expected),
    "before": lambda column, expected, options: f"{column} < {options.limit}",
    "after": lambda column, expected, options: f"{column} > {options.limit}",
    "is_set": lambda column, expected, options: f"{column} IS NOT NULL",
}

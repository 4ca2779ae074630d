"""The rule language of segments: parse, compile for one player, describe in words.

A rule is a group {"operator": "AND" | "OR" | "NOT", "conditions": [...]} of conditions
{"field", "operator", "value"} and further groups; NOT holds when none of its conditions does.

A field is one of FIELDS, or else a path into the player's attributes ("level", "stats.wins");
"attributes.level" always means the attribute. Types are strict: a number equals a number, a
string a string, and true is not 1. Where the player has no such value, or one of another type,
positive operators are false and negative ones true. Imports no Django.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, Literal

import msgspec

MAX_DEPTH = 8
MAX_CONDITIONS = 100
MAX_LIST_VALUES = 1_000
MAX_STRING = 1_000

FIELDS: Mapping[str, type] = {
    "external_id": str,
    "device_id": str,
    "email": str,
    "lifecycle_stage": str,
    "is_payer": bool,
    "session_count": int,
    "purchase_count": int,
    "total_revenue": float,
    "first_seen_at": datetime,
    "last_seen_at": datetime,
    "days_since_last_seen": int,
}

# PostgreSQL keeps neither NUL nor a lone surrogate.
NOT_IN_TEXT = re.compile("[\0\ud800-\udfff]")
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

type Matcher = Callable[[Subject], bool]


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a rule is asked about: attributes, the built-in fields of FIELDS, and the time."""

    attributes: Mapping[str, Any]
    facts: Mapping[str, Any]
    now: datetime


@dataclass(frozen=True, slots=True)
class Condition:
    field: str
    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class Group:
    operator: Literal["AND", "OR", "NOT"]
    conditions: tuple["Group | Condition", ...] = field(default=())


class RuleError(ValueError):
    """A rule that cannot be read. `path` is like `conditions[1].value`."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


# --- Operators ----------------------------------------------------------------------------------


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(actual: object, expected: object) -> bool:
    """Equality without Python's True == 1."""
    if isinstance(actual, bool) or isinstance(expected, bool):
        return actual is expected
    if _is_number(actual) and _is_number(expected):
        return actual == expected
    return type(actual) is type(expected) and actual == expected


def duration(text: str) -> timedelta:
    """`30d`, `12h`, `90m` or `2w`; raises ValueError for anything else."""
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS or not (number.isascii() and number.isdigit()) or len(number) > 5:
        raise ValueError(text)
    return timedelta(**{UNITS[unit]: int(number)})


def _moment(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        return None
    try:
        moment = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _within_last(actual: object, value: str, now: datetime) -> bool:
    moment = _moment(actual)
    return moment is not None and now - duration(value) <= moment <= now


def _any_equal(actual: object, values: list[Any]) -> bool:
    return any(equal(actual, value) for value in values)


@dataclass(frozen=True, slots=True)
class Operator:
    """`holds(actual, value, now)` is asked only for a value that the player has."""

    takes: Literal["scalar", "number", "string", "list", "duration", "nothing"]
    words: str
    holds: Callable[[Any, Any, datetime], bool]
    when_missing: bool = False


OPERATORS: Mapping[str, Operator] = {
    "==": Operator("scalar", "is", lambda a, v, _: equal(a, v)),
    "!=": Operator("scalar", "is not", lambda a, v, _: not equal(a, v), when_missing=True),
    ">": Operator("number", "is more than", lambda a, v, _: _is_number(a) and a > v),
    ">=": Operator("number", "is at least", lambda a, v, _: _is_number(a) and a >= v),
    "<": Operator("number", "is less than", lambda a, v, _: _is_number(a) and a < v),
    "<=": Operator("number", "is at most", lambda a, v, _: _is_number(a) and a <= v),
    "contains": Operator(
        "string", "contains", lambda a, v, _: isinstance(a, str | list) and v in a
    ),
    "not_contains": Operator(
        "string",
        "does not contain",
        lambda a, v, _: not (isinstance(a, str | list) and v in a),
        when_missing=True,
    ),
    "starts_with": Operator(
        "string", "starts with", lambda a, v, _: isinstance(a, str) and a.startswith(v)
    ),
    "ends_with": Operator(
        "string", "ends with", lambda a, v, _: isinstance(a, str) and a.endswith(v)
    ),
    "in": Operator("list", "is one of", lambda a, v, _: _any_equal(a, v)),
    "not_in": Operator(
        "list", "is none of", lambda a, v, _: not _any_equal(a, v), when_missing=True
    ),
    "contains_any": Operator(
        "list",
        "contains any of",
        lambda a, v, _: isinstance(a, list) and any(_any_equal(item, v) for item in a),
    ),
    "contains_all": Operator(
        "list",
        "contains all of",
        lambda a, v, _: isinstance(a, list) and all(_any_equal(item, a) for item in v),
    ),
    "within_last": Operator("duration", "is within the last", _within_last),
    "is_set": Operator("nothing", "is set", lambda a, v, _: True),
    "is_not_set": Operator("nothing", "is not set", lambda a, v, _: False, when_missing=True),
}


# --- Parse --------------------------------------------------------------------------------------


def parse(data: Any) -> Group:
    """Read a rule document. Raises RuleError naming the place and the fix."""
    budget = [MAX_CONDITIONS]
    return _parse_group(data, "", 1, budget)


def _parse_group(data: Any, path: str, depth: int, budget: list[int]) -> Group:
    if not isinstance(data, dict):
        raise RuleError(path, "A rule is an object with operator and conditions.")
    _known_keys(data, {"operator", "conditions"}, path)
    operator, conditions = data.get("operator"), data.get("conditions")
    if operator not in ("AND", "OR", "NOT"):
        raise RuleError(_join(path, "operator"), "Use AND, OR or NOT.")
    if not isinstance(conditions, list) or not conditions:
        raise RuleError(_join(path, "conditions"), "Add at least one condition.")
    if depth > MAX_DEPTH:
        raise RuleError(path, f"Groups may nest {MAX_DEPTH} deep at most.")
    parsed: list[Group | Condition] = []
    for index, item in enumerate(conditions):
        place = _join(path, f"conditions[{index}]")
        if isinstance(item, dict) and "conditions" in item:
            parsed.append(_parse_group(item, place, depth + 1, budget))
        else:
            budget[0] -= 1
            if budget[0] < 0:
                raise RuleError(place, f"A rule may hold {MAX_CONDITIONS} conditions at most.")
            parsed.append(_parse_condition(item, place))
    return Group(operator, tuple(parsed))


def _parse_condition(data: Any, path: str) -> Condition:
    if not isinstance(data, dict):
        raise RuleError(path, "A condition is an object with field, operator and value.")
    _known_keys(data, {"field", "operator", "value"}, path)
    name, operator = data.get("field"), data.get("operator")
    named = isinstance(name, str) and 1 <= len(name) <= 128 and not NOT_IN_TEXT.search(name)
    if not isinstance(name, str) or not named or not all(name.split(".")):
        raise RuleError(_join(path, "field"), "Name a field: 1 to 128 characters, no empty part.")
    if not isinstance(operator, str) or operator not in OPERATORS:
        known = ", ".join(OPERATORS)
        raise RuleError(_join(path, "operator"), f"Unknown operator. Use one of: {known}.")
    value = data.get("value")
    problem = _value_problem(OPERATORS[operator].takes, value)
    if problem:
        raise RuleError(_join(path, "value"), problem)
    return Condition(name, operator, value)


def _value_problem(takes: str, value: Any) -> str | None:
    parts = value if isinstance(value, list) else [value]
    texts = [part for part in parts if isinstance(part, str)]
    if any(len(text) > MAX_STRING or NOT_IN_TEXT.search(text) for text in texts):
        return f"Text may have {MAX_STRING} characters at most, no NUL and no lone surrogate."
    if any(_is_number(part) and not abs(part) < inf for part in parts):
        return "Give a number other than NaN and Infinity."
    scalar = isinstance(value, str | bool) or _is_number(value)
    match takes:
        case "scalar" if not scalar:
            return "Give text, a number, true or false."
        case "number" if not _is_number(value):
            return "Give a number."
        case "string" if not isinstance(value, str) or not value:
            return "Give some text."
        case "list":
            if not isinstance(value, list) or not 1 <= len(value) <= MAX_LIST_VALUES:
                return f"Give a list of 1 to {MAX_LIST_VALUES} values."
            if not all(isinstance(item, str | bool) or _is_number(item) for item in value):
                return "The list may hold text, numbers, true and false."
        case "duration":
            try:
                duration(value if isinstance(value, str) else "")
            except ValueError:
                return "Give a time span such as 30d, 12h or 90m."
        case "nothing" if value is not None:
            return "This operator takes no value."
    return None


def _known_keys(data: dict[str, Any], known: set[str], path: str) -> None:
    for key in data:
        if key not in known:
            raise RuleError(_join(path, str(key)), f"Unknown. Use {', '.join(sorted(known))}.")


def _join(path: str, part: str) -> str:
    return f"{path}.{part}" if path else part


# --- Evaluate -----------------------------------------------------------------------------------

MISSING = object()


def compile_rule(rule: Group | Condition) -> Matcher:
    """A function that says whether a subject matches."""
    if isinstance(rule, Condition):
        return _compile_condition(rule)
    parts = [compile_rule(part) for part in rule.conditions]
    if rule.operator == "AND":
        return lambda subject: all(part(subject) for part in parts)
    if rule.operator == "OR":
        return lambda subject: any(part(subject) for part in parts)
    return lambda subject: not any(part(subject) for part in parts)


def nobody(subject: Subject) -> bool:
    """The rule that no player matches."""
    return False


def _compile_condition(condition: Condition) -> Matcher:
    operator, value, read = OPERATORS[condition.operator], condition.value, reader(condition.field)
    holds, when_missing = operator.holds, operator.when_missing

    def matches(subject: Subject) -> bool:
        actual = read(subject)
        if actual is MISSING or actual is None:
            return when_missing
        return holds(actual, value, subject.now)

    return matches


def reader(name: str) -> Callable[[Subject], Any]:
    """A function that reads the field from a subject, or MISSING."""
    if name in FIELDS:
        return lambda subject: subject.facts.get(name, MISSING)
    path = name.removeprefix("attributes.").split(".")
    if len(path) == 1:
        return lambda subject: subject.attributes.get(path[0], MISSING)

    def read(subject: Subject) -> Any:
        value: Any = subject.attributes
        for part in path:
            if not isinstance(value, Mapping) or part not in value:
                return MISSING
            value = value[part]
        return value

    return read


# --- Describe -----------------------------------------------------------------------------------


def describe(rule: Group | Condition) -> str:
    """The rule in plain English: `level is at least 40 or is_vip is true`."""
    if isinstance(rule, Condition):
        return " ".join(
            part
            for part in (rule.field, OPERATORS[rule.operator].words, _describe_value(rule))
            if part
        )
    words = {"AND": " and ", "OR": " or ", "NOT": " or "}[rule.operator]
    text = words.join(
        f"({describe(part)})"
        if isinstance(part, Group) and len(part.conditions) > 1
        else describe(part)
        for part in rule.conditions
    )
    return f"not ({text})" if rule.operator == "NOT" else text


def _describe_value(condition: Condition) -> str:
    value = condition.value
    match OPERATORS[condition.operator].takes:
        case "nothing":
            return ""
        case "duration":
            unit = UNITS[value[-1]]
            return f"1 {unit[:-1]}" if value[:-1] == "1" else f"{value[:-1]} {unit}"
        case "list":
            return ", ".join(_describe_scalar(item) for item in value)
    return _describe_scalar(value)


def _describe_scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"“{value}”" if isinstance(value, str) else str(value)

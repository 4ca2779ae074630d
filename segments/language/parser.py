"""The rule language of segments: the tree of a rule, and the parser of rule documents.

A rule is a group {"operator": "AND" | "OR" | "NOT", "conditions": [...]} of conditions and nested
groups; NOT holds when none of its conditions holds. A condition is one of

    {"field": "level", "operator": ">=", "value": 40}
    {"field": "segment", "operator": "in", "value": ["beta-testers"]}
    {"event": "level_complete", "operator": ">=", "value": 3, "within": "7d",
     "where": {"operator": "AND", "conditions": [{"field": "stars", "operator": "==", "value": 3}]}}

A field is one of FIELDS, else a path into the player's attributes ("level", "stats.wins") as
paths.py reads it; "attributes.level" always means the attribute. `segment` tests whether the player
is in one of the named segments. The third form counts the player's events of that name that the
server received within the time span: `>=` means at least that many, `<=` at most, so `<=` 0 means
never. Its `where` is a rule over the properties of the event. Imports no Django.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from math import inf
from typing import Any, Literal

from ilara_admin.core.path_error import PathError
from segments.language.operators import OPERATORS, ValueKind
from segments.language.paths import join_path, split_path
from segments.language.values import boundary, duration, exact, is_number, pattern, version

MAX_DEPTH = 32
MAX_CONDITIONS = 100
MAX_LIST_VALUES = 1_000
MAX_STRING = 1_000
MAX_EVENTS = 10_000
MAX_WITHIN = timedelta(days=366)

# The stages of players/lifecycle.py, which checks that they match.
STAGES = ("new", "active", "at_risk", "churned", "reactivated")

FIELDS: Mapping[str, ValueKind] = {
    "external_id": ValueKind.TEXT,
    "device_id": ValueKind.TEXT,
    "email": ValueKind.TEXT,
    "email_domain": ValueKind.TEXT,
    "lifecycle_stage": ValueKind.TEXT,
    "is_payer": ValueKind.BOOLEAN,
    "session_count": ValueKind.NUMBER,
    "active_days": ValueKind.NUMBER,
    "purchase_count": ValueKind.NUMBER,
    "total_revenue": ValueKind.NUMBER,
    "risk_score": ValueKind.NUMBER,
    "days_since_last_seen": ValueKind.NUMBER,
    "first_seen_at": ValueKind.TIME,
    "last_seen_at": ValueKind.TIME,
    "segment": ValueKind.SEGMENT,
}

ATTRIBUTES = "attributes."  # a prefix of fields
MAX_LEVELS = 16  # of the bodies of the API
FIELD_FORM = (
    "Name a field with 1 to 128 characters and no empty part. "
    "A dot inside a name is written \\. and a backslash \\\\."
)

# PostgreSQL stores neither NUL nor a lone surrogate.
NOT_IN_TEXT = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Condition:
    field: str
    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class InSegment:
    """The player is in any of these segments, or with `negative` in none of them."""

    segments: tuple[str, ...]
    negative: bool


@dataclass(frozen=True, slots=True)
class EventCount:
    """Which events of a player are counted. Counting stops at `limit`, the highest count that
    makes a difference."""

    event: str
    within: str
    where: "Group | None"
    limit: int

    @property
    def span(self) -> timedelta:
        return duration(self.within)


@dataclass(frozen=True, slots=True)
class EventCondition:
    """At least `times` events were counted, or with `at_most` at most `times`."""

    event_count: EventCount
    at_most: bool
    times: int


@dataclass(frozen=True, slots=True)
class Group:
    operator: Literal["AND", "OR", "NOT"]
    conditions: tuple["Node", ...] = field(default=())


type Leaf = Condition | InSegment | EventCondition
type Node = Group | Leaf


class RuleError(PathError):
    """A rule that cannot be parsed. `path` is like `conditions[1].value`."""


# --- Parse --------------------------------------------------------------------------------------


def parse(data: Any) -> Group:
    """Parse a rule document. Raises RuleError with the path and the fix."""
    return _Reader(MAX_CONDITIONS).group(data, "", 1)


def parse_where(data: Any) -> Group:
    """Parse a rule over the properties of an event. Raises as `parse` does."""
    return _Reader(MAX_CONDITIONS, in_where=True).group(data, "", 1)


class _Reader:
    """Parses one document. `left` is the number of conditions still allowed; `in_where` is true
    while fields are properties of an event."""

    def __init__(self, left: int, *, in_where: bool = False) -> None:
        self.left = left
        self.in_where = in_where

    def group(self, data: Any, path: str, depth: int) -> Group:
        if not isinstance(data, dict):
            raise RuleError(path, "A rule is an object with operator and conditions.")
        _check_keys(data, {"operator", "conditions"}, path)
        operator, conditions = data.get("operator"), data.get("conditions")
        if operator not in ("AND", "OR", "NOT"):
            raise RuleError(_join(path, "operator"), "Use AND, OR or NOT.")
        if not isinstance(conditions, list) or not conditions:
            raise RuleError(_join(path, "conditions"), "Add at least one condition.")
        if depth > MAX_DEPTH:
            raise RuleError(path, f"Nest groups at most {MAX_DEPTH} levels deep.")
        found = [
            self.node(item, _join(path, f"conditions[{index}]"), depth)
            for index, item in enumerate(conditions)
        ]
        return Group(operator, tuple(found))

    def node(self, data: Any, path: str, depth: int) -> Node:
        if isinstance(data, dict) and "conditions" in data:
            return self.group(data, path, depth + 1)
        self.left -= 1
        if self.left < 0:
            raise RuleError(path, f"A rule may have at most {MAX_CONDITIONS} conditions.")
        if not isinstance(data, dict):
            raise RuleError(path, "A condition is an object with field, operator and value.")
        return self.events(data, path, depth) if "event" in data else self.condition(data, path)

    def condition(self, data: dict[str, Any], path: str) -> Condition | InSegment:
        _check_keys(data, {"field", "operator", "value"}, path)
        name, operator = data.get("field"), data.get("operator")
        if not isinstance(name, str) or not _is_field(name):
            raise RuleError(_join(path, "field"), FIELD_FORM)
        if not isinstance(operator, str) or operator not in OPERATORS:
            known = ", ".join(OPERATORS)
            raise RuleError(_join(path, "operator"), f"Unknown operator. Use one of: {known}.")
        kind = ValueKind.ANY if self.in_where else FIELDS.get(name, ValueKind.ANY)
        if kind not in OPERATORS[operator].kinds:
            fitting = ", ".join(key for key, item in OPERATORS.items() if kind in item.kinds)
            message = f"{name} is of type {kind}. Use one of: {fitting}."
            raise RuleError(_join(path, "operator"), message)
        if self.in_where and operator in ("matches", "not_matches"):
            raise RuleError(_join(path, "operator"), "Event properties do not support patterns.")
        value: Any = data.get("value")
        problem = _value_problem(operator, value) or _kind_problem(name, kind, operator, value)
        if problem:
            raise RuleError(_join(path, "value"), problem)
        if kind is ValueKind.SEGMENT:
            return InSegment(tuple(dict.fromkeys(value)), operator == "not_in")
        if self.in_where and name in FIELDS:
            name = ATTRIBUTES + name  # an event property with the name of a built-in field
        return Condition(name, operator, _plain(value, as_decimal=kind is ValueKind.NUMBER))

    def events(self, data: dict[str, Any], path: str, depth: int) -> EventCondition:
        if self.in_where:
            raise RuleError(path, "A condition on event properties cannot count events.")
        _check_keys(data, {"event", "operator", "value", "within", "where"}, path)
        name, operator, times = data["event"], data.get("operator"), data.get("value")
        if not isinstance(name, str) or not _is_name(name):
            raise RuleError(_join(path, "event"), "Give an event name of 1 to 128 characters.")
        if operator not in (">=", "<="):
            raise RuleError(_join(path, "operator"), "Use >= for at least or <= for at most.")
        least = 1 if operator == ">=" else 0
        if not isinstance(times, int) or isinstance(times, bool) or not (
            least <= times <= MAX_EVENTS
        ):  # fmt: skip
            raise RuleError(_join(path, "value"), f"Give a number from {least} to {MAX_EVENTS}.")
        try:
            within = duration(data["within"])
        except (KeyError, TypeError, ValueError):
            within = timedelta()
        if not timedelta() < within <= MAX_WITHIN:
            raise RuleError(
                _join(path, "within"),
                f"Give a time span such as 30d or 12h, at most {MAX_WITHIN.days}d.",
            )
        where = None
        if data.get("where") is not None:
            self.in_where = True
            where = self.group(data["where"], _join(path, "where"), depth + 1)
            self.in_where = False
        at_most = operator == "<="
        return EventCondition(
            EventCount(name, data["within"], where, times + at_most), at_most, times
        )


def _is_name(text: str) -> bool:
    return 1 <= len(text) <= 128 and not NOT_IN_TEXT.search(text)


def _is_field(text: str) -> bool:
    keys = attribute_path(text)
    return len(keys) <= MAX_LEVELS and all(map(_is_name, keys))


def _value_problem(operator: str, value: Any) -> str | None:
    parts = value if isinstance(value, list) else [value]
    texts = [part for part in parts if isinstance(part, str)]
    if any(len(text) > MAX_STRING or NOT_IN_TEXT.search(text) for text in texts):
        return f"Use at most {MAX_STRING} characters, without NUL or lone surrogates."
    if any(is_number(part) and not abs(part) < inf for part in parts):
        return "Give a finite number."
    match OPERATORS[operator].takes:
        case "scalar" if not _is_scalar(value):
            return "Give text, a number, true or false."
        case "number" if not is_number(value):
            return "Give a number."
        case "text" if not isinstance(value, str) or not value:
            return "Give some text."
        case "list":
            if not isinstance(value, list) or not 1 <= len(value) <= MAX_LIST_VALUES:
                return f"Give a list of 1 to {MAX_LIST_VALUES} values."
            if not all(_is_scalar(item) for item in value):
                return "A list may contain text, numbers, true and false."
        case "duration" if not _reads(duration, value):
            return "Give a time span such as 30d, 12h or 90m."
        case "moment" if not _reads(boundary, value):
            return "Give a date, a time such as 2026-05-31T12:00:00Z, or -7d for 7 days ago."
        case "version" if version(value) is None:
            return "Give a version such as 1.4.2."
        case "pattern":
            if not isinstance(value, str) or not value:
                return "Give a regular expression."
            try:
                pattern(value)
            except ValueError as error:
                return f"This regular expression is not valid: {error}."
        case "nothing" if value is not None:
            return "This operator takes no value."
    return None


def _kind_problem(name: str, kind: ValueKind, operator: str, value: Any) -> str | None:
    """The error for a value that fits the operator but not the built-in field, or None."""
    if OPERATORS[operator].takes not in ("scalar", "list"):
        return None
    parts = value if isinstance(value, list) else [value]
    match kind:
        case ValueKind.TEXT | ValueKind.SEGMENT if not all(isinstance(part, str) for part in parts):
            return f"{name} is text. Give text in quotes."
        case ValueKind.NUMBER if not all(is_number(part) for part in parts):
            return f"{name} is a number. Give a number."
        case ValueKind.BOOLEAN if not isinstance(value, bool):
            return f"{name} is true or false."
    if name == "lifecycle_stage" and not set(parts) <= set(STAGES):
        return f"Use one of: {', '.join(STAGES)}."
    return None


def _plain(value: Any, *, as_decimal: bool) -> Any:
    """The value in the type that players' values have. Decimal fields are compared with exact
    Decimals."""
    if isinstance(value, list):
        return tuple(_plain(item, as_decimal=as_decimal) for item in value)
    if not is_number(value):
        return value
    return Decimal(repr(exact(value))) if as_decimal else exact(value)


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | bool) or is_number(value)


def _reads(read: Callable[[str], object], value: object) -> bool:
    try:
        read(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return True


def _check_keys(data: dict[str, Any], known: set[str], path: str) -> None:
    for key in data:
        if key not in known:
            raise RuleError(_join(path, str(key)), f"Unknown. Use {', '.join(sorted(known))}.")


def _join(path: str, part: str) -> str:
    return f"{path}.{part}" if path else part


# --- Dependencies of a rule ---------------------------------------------------------------------


def attribute_path(name: str) -> list[str]:
    """The keys that lead to an attribute."""
    path = name.removeprefix(ATTRIBUTES)
    return split_path(path) if "\\" in path else path.split(".")


def attribute_name(keys: Iterable[str]) -> str:
    """The field of a rule for an attribute: the inverse of attribute_path."""
    name = join_path(keys)
    return ATTRIBUTES + name if name in FIELDS or name.startswith(ATTRIBUTES) else name


def leaves(rule: Node) -> Iterator[Leaf]:
    """The conditions of a rule, without those on event properties."""
    if isinstance(rule, Group):
        for part in rule.conditions:
            yield from leaves(part)
    else:
        yield rule


def segments_in(rule: Node) -> set[str]:
    """The keys of the segments that a rule refers to directly."""
    return {key for leaf in leaves(rule) if isinstance(leaf, InSegment) for key in leaf.segments}


def segments_named(document: Any) -> set[str]:
    """segments_in for a stored document; empty if it cannot be parsed."""
    rule = _stored(document)
    return segments_in(rule) if rule else set()


def events_named(document: Any) -> set[str]:
    """The events that the rule of a stored document counts, without those of segments that it
    refers to; empty if it cannot be parsed."""
    rule = _stored(document)
    return {each.event for each in event_counts_of([rule], {})} if rule else set()


def _stored(document: Any) -> Group | None:
    try:
        return None if document is None else parse(document)
    except RuleError:
        return None


def event_counts_of(rules: Iterable[Node], segments: Mapping[str, Node]) -> frozenset[EventCount]:
    """The event counts that rules need, directly or through segments they refer to."""
    found: set[EventCount] = set()
    seen: set[str] = set()
    waiting = list(rules)
    while waiting:
        rule = waiting.pop()
        found |= {leaf.event_count for leaf in leaves(rule) if isinstance(leaf, EventCondition)}
        new = segments_in(rule) - seen
        seen |= new
        waiting += [segments[key] for key in new if key in segments]
    return frozenset(found)

"""The rule language of segments: the tree of a rule, and how it is read from a document.

A rule is a group {"operator": "AND" | "OR" | "NOT", "conditions": [...]} of conditions and further
groups; NOT holds when none of its conditions does. A condition is one of

    {"field": "level", "operator": ">=", "value": 40}
    {"field": "segment", "operator": "in", "value": ["beta-testers"]}
    {"event": "level_complete", "operator": ">=", "value": 3, "within": "7d",
     "where": {"operator": "AND", "conditions": [{"field": "stars", "operator": "==", "value": 3}]}}

A field is one of FIELDS, or else a path into the player's attributes ("level", "stats.wins");
"attributes.level" always means the attribute. `segment` asks whether the player is in one of the
segments named. The third form counts the player's events of that name that the server received
within the time span: `>=` at least so many, `<=` at most so many, so that `<=` 0 says never. Its
`where` is a rule about the properties of the event. Imports no Django.
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
from segments.language.values import boundary, duration, exact, is_number, pattern, version

MAX_DEPTH = 32
MAX_CONDITIONS = 100
MAX_LIST_VALUES = 1_000
MAX_STRING = 1_000
MAX_EVENTS = 10_000
MAX_WITHIN = timedelta(days=366)

# The names of players/lifecycle.py, checked there.
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

# PostgreSQL keeps neither NUL nor a lone surrogate.
NOT_IN_TEXT = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Condition:
    field: str
    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class Membership:
    """Whether the player is in any of these segments, or with `negative` in none."""

    segments: tuple[str, ...]
    negative: bool


@dataclass(frozen=True, slots=True)
class EventCount:
    """Which events of a player are counted, up to `limit`: more need not be told apart."""

    event: str
    within: str
    where: "Group | None"
    limit: int

    @property
    def span(self) -> timedelta:
        return duration(self.within)


@dataclass(frozen=True, slots=True)
class EventCondition:
    """Whether that many events were counted. `at_most` turns at least into at most."""

    event_count: EventCount
    at_most: bool
    times: int


@dataclass(frozen=True, slots=True)
class Group:
    operator: Literal["AND", "OR", "NOT"]
    conditions: tuple["Node", ...] = field(default=())


type Leaf = Condition | Membership | EventCondition
type Node = Group | Leaf


class RuleError(PathError):
    """A rule that cannot be read. `path` is like `conditions[1].value`."""


# --- Read ---------------------------------------------------------------------------------------


def parse(data: Any) -> Group:
    """Read a rule document. Raises RuleError naming the place and the fix."""
    return _Reader(MAX_CONDITIONS).group(data, "", 1)


class _Reader:
    """One reading of a document: `left` conditions may still come; inside `where` the fields are
    the properties of an event."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.in_where = False

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
            raise RuleError(path, f"Groups may nest {MAX_DEPTH} deep at most.")
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
            raise RuleError(path, f"A rule may hold {MAX_CONDITIONS} conditions at most.")
        if not isinstance(data, dict):
            raise RuleError(path, "A condition is an object with field, operator and value.")
        return self.happened(data, path, depth) if "event" in data else self.condition(data, path)

    def condition(self, data: dict[str, Any], path: str) -> Condition | Membership:
        _check_keys(data, {"field", "operator", "value"}, path)
        name, operator = data.get("field"), data.get("operator")
        if not isinstance(name, str) or not _is_name(name) or not all(name.split(".")):
            raise RuleError(
                _join(path, "field"), "Name a field: 1 to 128 characters, no empty part."
            )
        if not isinstance(operator, str) or operator not in OPERATORS:
            known = ", ".join(OPERATORS)
            raise RuleError(_join(path, "operator"), f"Unknown operator. Use one of: {known}.")
        kind = ValueKind.ANY if self.in_where else FIELDS.get(name, ValueKind.ANY)
        if kind not in OPERATORS[operator].kinds:
            fitting = ", ".join(key for key, item in OPERATORS.items() if kind in item.kinds)
            message = f"{name} is a {kind}. Use one of: {fitting}."
            raise RuleError(_join(path, "operator"), message)
        if self.in_where and operator in ("matches", "not_matches"):
            raise RuleError(_join(path, "operator"), "Patterns are not for events' properties.")
        value: Any = data.get("value")
        problem = _value_problem(operator, value) or _kind_problem(name, kind, operator, value)
        if problem:
            raise RuleError(_join(path, "value"), problem)
        if kind is ValueKind.SEGMENT:
            return Membership(tuple(dict.fromkeys(value)), operator == "not_in")
        if self.in_where and name in FIELDS:
            name = f"attributes.{name}"  # an event's property that happens to be called so
        return Condition(name, operator, _plain(value, as_decimal=kind is ValueKind.NUMBER))

    def happened(self, data: dict[str, Any], path: str, depth: int) -> EventCondition:
        if self.in_where:
            raise RuleError(path, "What an event's properties are asked may not count events.")
        _check_keys(data, {"event", "operator", "value", "within", "where"}, path)
        name, operator, times = data["event"], data.get("operator"), data.get("value")
        if not isinstance(name, str) or not _is_name(name):
            raise RuleError(_join(path, "event"), "Name an event: 1 to 128 characters.")
        if operator not in (">=", "<="):
            raise RuleError(
                _join(path, "operator"), "Use >= for at least so many times, <= for at most."
            )
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
                f"Give a time span such as 30d or 12h, {MAX_WITHIN.days}d at most.",
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


def _value_problem(operator: str, value: Any) -> str | None:
    parts = value if isinstance(value, list) else [value]
    texts = [part for part in parts if isinstance(part, str)]
    if any(len(text) > MAX_STRING or NOT_IN_TEXT.search(text) for text in texts):
        return f"Text may have {MAX_STRING} characters at most, no NUL and no lone surrogate."
    if any(is_number(part) and not abs(part) < inf for part in parts):
        return "Give a number other than NaN and Infinity."
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
                return "The list may hold text, numbers, true and false."
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
                return f"This regular expression cannot be used: {error}."
        case "nothing" if value is not None:
            return "This operator takes no value."
    return None


def _kind_problem(name: str, kind: ValueKind, operator: str, value: Any) -> str | None:
    """What is wrong with a value that the operator takes and a built-in field never has."""
    if OPERATORS[operator].takes not in ("scalar", "list"):
        return None
    parts = value if isinstance(value, list) else [value]
    match kind:
        case ValueKind.TEXT | ValueKind.SEGMENT if not all(isinstance(part, str) for part in parts):
            return f"{name} is a text. Give text in quotes."
        case ValueKind.NUMBER if not all(is_number(part) for part in parts):
            return f"{name} is a number. Give a number."
        case ValueKind.BOOLEAN if not isinstance(value, bool):
            return f"{name} is true or false."
    if name == "lifecycle_stage" and not set(parts) <= set(STAGES):
        return f"Use the stages {', '.join(STAGES)}."
    return None


def _plain(value: Any, *, as_decimal: bool) -> Any:
    """The value as players' values compare with it. Amounts are exact, so what they are compared
    with must be."""
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


# --- What a rule needs --------------------------------------------------------------------------


def attribute_path(name: str) -> list[str]:
    return name.removeprefix("attributes.").split(".")


def leaves(rule: Node) -> Iterator[Leaf]:
    """The conditions of a rule, without those about events' properties."""
    if isinstance(rule, Group):
        for part in rule.conditions:
            yield from leaves(part)
    else:
        yield rule


def segments_in(rule: Node) -> set[str]:
    """The keys of the segments that a rule asks for itself."""
    return {key for leaf in leaves(rule) if isinstance(leaf, Membership) for key in leaf.segments}


def segments_named(document: Any) -> set[str]:
    """The same for a document as it is stored; one that cannot be read names nobody."""
    try:
        return set() if document is None else segments_in(parse(document))
    except RuleError:
        return set()


def event_counts_of(rules: Iterable[Node], segments: Mapping[str, Node]) -> frozenset[EventCount]:
    """What these rules ask about events, themselves or by way of the segments that they ask for."""
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

"""Compiles rules to functions that evaluate one player. Imports no Django."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from segments.language.operators import test_of
from segments.language.parser import (
    FIELDS,
    Condition,
    EventCondition,
    EventCount,
    InSegment,
    Node,
    attribute_path,
)

type Matcher = Callable[[Subject], bool]


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule is evaluated against: attributes, the built-in fields of FIELDS, and the time.

    `lists` maps a segment's id to True if the player is on its exclude list, False if only on its
    include list; `counts` holds the event counts that rules need. `memo` caches membership by
    segment key, since several rules may refer to one segment. `hidden` are the built-in fields and
    attributes whose values texts mask; they count in rules as they are.
    """

    attributes: Mapping[str, Any]
    builtin_fields: Mapping[str, Any]
    now: datetime
    lists: Mapping[int, bool] = field(default_factory=dict)
    counts: Mapping[EventCount, int] = field(default_factory=dict)
    memo: dict[str, bool] = field(default_factory=dict, compare=False)
    hidden: Collection[str] = ()


MISSING = object()


def compile_rule(rule: Node, segments: Mapping[str, Matcher] | None = None) -> Matcher:
    """Compile a rule to a function of a subject. `segments` maps keys to matchers; it is read at
    evaluation time, and no player is in a segment that does not exist."""
    known = {} if segments is None else segments
    match rule:
        case Condition():
            return _compile_condition(rule)
        case InSegment((key,), negative):
            return lambda subject: negative is not _is_in(known, key, subject)
        case InSegment(keys, negative):
            return lambda subject: negative is not any(_is_in(known, key, subject) for key in keys)
        case EventCondition(event_count, at_most, times):
            return lambda subject: (
                at_most is not (subject.counts.get(event_count, 0) >= times + at_most)
            )
    parts = [compile_rule(part, known) for part in rule.conditions]
    if len(parts) == 1 and rule.operator != "NOT":
        return parts[0]
    if rule.operator == "AND":
        return lambda subject: all(part(subject) for part in parts)
    if rule.operator == "OR":
        return lambda subject: any(part(subject) for part in parts)
    return lambda subject: not any(part(subject) for part in parts)


def no_player(subject: Subject) -> bool:
    """A rule that no player matches."""
    return False


def with_lists(segment_id: int, by_rule: Matcher) -> Matcher:
    """A segment's include and exclude list before its rule; exclude wins."""

    def matches(subject: Subject) -> bool:
        excluded = subject.lists.get(segment_id)
        return by_rule(subject) if excluded is None else not excluded

    return matches


def _is_in(segments: Mapping[str, Matcher], key: str, subject: Subject) -> bool:
    known = subject.memo.get(key)
    if known is None:
        matches = segments.get(key)
        known = subject.memo[key] = matches is not None and matches(subject)
    return known


def _compile_condition(condition: Condition) -> Matcher:
    read = reader(condition.field)
    holds, negative = test_of(condition.operator, condition.value)

    def matches(subject: Subject) -> bool:
        actual = read(subject)
        if actual is MISSING or actual is None:
            return negative
        return holds(actual, subject.now) is not negative

    return matches


def _builtin_field(builtin_fields: Mapping[str, Any], name: str) -> Any:
    try:
        return builtin_fields[name]  # not `get`, which would skip fields computed on access
    except KeyError:
        return MISSING


def reader(name: str) -> Callable[[Subject], Any]:
    """A function that returns the field's value for a subject, or MISSING."""
    if name in FIELDS:
        return lambda subject: _builtin_field(subject.builtin_fields, name)
    path = attribute_path(name)
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

"""Evaluates a rule with reasons: what each condition expected, what it found, whether it passed.

Also the nearest miss: the fewest conditions that would have to change. Imports no Django.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from players.personal import mask_value
from segments.language.compiler import MISSING, Matcher, Subject, compile_rule, reader
from segments.language.operators import OPERATORS
from segments.language.parser import (
    FIELDS,
    Condition,
    EventCondition,
    Group,
    InSegment,
    Leaf,
    Node,
    attribute_name,
    attribute_path,
)
from segments.language.paths import other_path
from segments.language.sentences import describe, expected, field_name, value_words
from segments.language.values import is_in_seconds, is_number, moment, version

SHOWN = 80


@dataclass(frozen=True, slots=True)
class TracedLeaf:
    """`words` is the condition as a sentence, `actual` the value found, as text."""

    leaf: Leaf
    passed: bool
    words: str
    actual: str


@dataclass(frozen=True, slots=True)
class TracedGroup:
    operator: str
    passed: bool
    parts: tuple["Traced", ...]


type Traced = TracedGroup | TracedLeaf


def trace(rule: Node, subject: Subject, segments: Mapping[str, Matcher]) -> Traced:
    """Evaluate every condition of the rule, without short-circuiting."""
    if isinstance(rule, Group):
        parts = tuple(trace(part, subject, segments) for part in rule.conditions)
        held = [part.passed for part in parts]
        passed = {"AND": all(held), "OR": any(held), "NOT": not any(held)}[rule.operator]
        return TracedGroup(rule.operator, passed, parts)
    passed = compile_rule(rule, segments)(subject)
    return TracedLeaf(rule, passed, describe(rule), _actual(rule, subject, segments))


def _actual(leaf: Leaf, subject: Subject, segments: Mapping[str, Matcher]) -> str:
    match leaf:
        case InSegment(keys):
            inside = [key for key in keys if key in segments and segments[key](subject)]
            named = ", ".join(f"“{key}”" for key in inside)
            outside = "not in it" if len(keys) == 1 else "in none of them"
            return f"in {named}" if inside else outside
        case EventCondition(event_count):
            count = subject.counts.get(event_count, 0)
            more = " or more" if count >= event_count.limit else ""
            return f"{count}{more}" if count else "never"
    value = reader(leaf.field)(subject)
    if value is MISSING or value is None:
        return _missing(leaf.field, subject)
    if leaf.field in subject.hidden or attribute_path(leaf.field)[0] in subject.hidden:
        return _shown(mask_value(value))
    return f"{_shown(value)}{_reading(leaf, value)}"


def _missing(name: str, subject: Subject) -> str:
    if "." in name and name not in FIELDS:
        keys = attribute_path(name)
        other = other_path(subject.attributes, keys)
        if other is not None and other != keys:
            return f"missing; did you mean {attribute_name(other)}?"
    return "missing"


def _reading(condition: Condition, value: Any) -> str:
    """What a value's text does not show: how the operator reads it, or why it cannot."""
    kind, takes = _kind(value), OPERATORS[condition.operator].takes
    if takes in ("duration", "moment"):
        at = moment(value)
        if at is not None and is_number(value):
            unit = "seconds" if is_in_seconds(value) else "milliseconds"
            return f", read as {unit}: {_time(at)}"
        wanted = "" if at else "a time"
    elif takes == "version":
        wanted = "" if version(value) else "a version"
    else:
        kinds = _kinds_tested(condition)
        wanted = "" if kind in kinds else " or ".join(kinds)
    if not wanted:
        return ""
    # Of a text, it is plain that it is one; that it is no time is not.
    is_plain = kind == "text" and takes in ("duration", "moment", "version")
    return f", which is {'' if is_plain else f'{kind}, '}not {wanted}"


def _kinds_tested(condition: Condition) -> list[str]:
    """The kinds of values that the operator can find to be what is expected."""
    name = OPERATORS[condition.operator].opposite or condition.operator
    if name == "contains":
        return ["text", "a list"]
    if name in ("contains_any", "contains_all"):
        return ["a list"]
    match OPERATORS[name].takes:
        case "text" | "pattern":
            return ["text"]
        case "number":
            return ["a number"]
        case "scalar":
            return [_kind(condition.value)]
        case "list":
            return list(dict.fromkeys(map(_kind, condition.value)))
    return [kind for _, kind in KINDS]


# In this order, since true is an integer in Python.
KINDS = (
    (bool, "true or false"), (str, "text"), (int | float | Decimal, "a number"), (list, "a list"),
    (datetime, "a time"), (object, "an object"),
)  # fmt: skip


def _kind(value: Any) -> str:
    return next(kind for each, kind in KINDS if isinstance(value, each))


def _time(at: datetime) -> str:
    unit = "milliseconds" if at.microsecond else "seconds"
    return at.isoformat(timespec=unit).replace("+00:00", "Z")


def _shown(value: Any) -> str:
    """A player's value as one short line."""
    match value:
        case datetime():
            text = _time(value)
        case list() | dict():
            text = repr(value)
        case str() | bool() | int() | float() | Decimal():
            text = value_words(value)
        case _:
            text = str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


# --- The reason -----------------------------------------------------------------------------------


def deciding(traced: Traced) -> tuple[TracedLeaf, ...]:
    """Conditions that suffice for the rule's result: the first ones, where several do."""
    if isinstance(traced, TracedLeaf):
        return (traced,)
    inner = _inner(traced)
    candidates = [deciding(part) for part in traced.parts if part.passed is inner]
    # A passing AND needs all its parts, a failing AND any failing one. OR is the reverse.
    if inner is (traced.operator == "AND"):
        return tuple(leaf for found in candidates for leaf in found)
    return min(candidates or [()], key=len)


def reason(leaf: TracedLeaf) -> str:
    """The condition with what was found: `level is at least 10 (actual: 12)`."""
    text = leaf.words if leaf.passed else f"not true: {leaf.words}"
    return f"{text} (actual: {leaf.actual})"


def _inner(group: TracedGroup) -> bool:
    """The result of the parts: NOT is a negated OR."""
    return group.passed is not (group.operator == "NOT")


# --- The nearest miss -----------------------------------------------------------------------------


def nearest(traced: Traced) -> tuple[TracedLeaf, ...]:
    """The smallest set of conditions that would have to change to flip the rule's result; the first
    one on a tie."""
    if isinstance(traced, TracedLeaf):
        return (traced,)
    # A passing AND flips with any one part, a failing AND needs all its failing parts. OR is the
    # reverse.
    inner = _inner(traced)
    all_needed = inner is (traced.operator != "AND")
    candidates = [nearest(part) for part in traced.parts if part.passed is inner]
    if all_needed:
        return tuple(leaf for found in candidates for leaf in found)
    return min(candidates or [()], key=len)


def miss(leaf: TracedLeaf) -> str:
    """The required change: `level must be at least 10 (actual: 9)`."""
    match leaf.leaf:
        case EventCondition():
            negation = "not " if leaf.passed else ""
            text = f"the player must {negation}have done {leaf.words.removeprefix('did ')}"
        case InSegment():
            text = f"the player {_must(leaf.words, negated=leaf.passed)}"
        case Condition(name) as condition:
            words = f"{OPERATORS[condition.operator].words} {expected(condition)}".rstrip()
            text = f"{field_name(name)} {_must(words, negated=leaf.passed)}"
    return f"{text} (actual: {leaf.actual})"


def _must(words: str, *, negated: bool) -> str:
    """`is at least 10` becomes `must be at least 10` or, negated, `must not be at least 10`."""
    verb, _, rest = words.partition(" ")
    for negative, positive in (("not ", ""), ("none of ", "one of ")):
        if rest.startswith(negative):
            negated, rest = not negated, positive + rest.removeprefix(negative)
            break
    return f"must {'not ' if negated else ''}{INFINITIVES[verb]}{rest}"


INFINITIVES = {
    "is": "be ", "does": "", "contains": "contain ", "starts": "start ", "ends": "end ",
    "matches": "match ",
}  # fmt: skip


# --- Members of a segment -------------------------------------------------------------------------


class HasRule(Protocol):
    """A segment as segments/cache.py compiles it."""

    @property
    def id(self) -> int: ...
    @property
    def rule(self) -> Node | None: ...


def why(segment: HasRule, subject: Subject, segments: Mapping[str, Matcher]) -> str:
    """A sentence: `level is at least 10 (actual: 12).` for a member, `level must be at least 10
    (actual: 9).` for others."""
    excluded = subject.lists.get(segment.id)
    if excluded is not None:
        return f"On the {'exclude' if excluded else 'include'} list."
    if segment.rule is None:
        return "The rule cannot be read, so it matches no players."
    traced = trace(segment.rule, subject, segments)
    if traced.passed:
        return f"{' and '.join(map(reason, deciding(traced)))}."
    return f"{' and '.join(map(miss, nearest(traced)))}."

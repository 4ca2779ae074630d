"""Evaluates a rule with reasons: what each condition expected, what it found, whether it passed.

Also the nearest miss: the fewest conditions that would have to change. Imports no Django.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from segments.language.compiler import MISSING, Matcher, Subject, compile_rule, reader
from segments.language.operators import OPERATORS
from segments.language.parser import Condition, EventCondition, Group, Leaf, Membership, Node
from segments.language.sentences import describe, expected, field_name, value_words

SHOWN = 80


@dataclass(frozen=True, slots=True)
class TracedLeaf:
    """`words` is the condition as a sentence, `actual` the value found, as text. `missing` means
    that the player has no value."""

    leaf: Leaf
    passed: bool
    words: str
    actual: str
    missing: bool = False


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
    actual, missing = _actual(rule, subject, segments)
    return TracedLeaf(rule, passed, describe(rule), actual, missing)


def _actual(leaf: Leaf, subject: Subject, segments: Mapping[str, Matcher]) -> tuple[str, bool]:
    match leaf:
        case Membership(keys):
            inside = [key for key in keys if key in segments and segments[key](subject)]
            named = ", ".join(f"“{key}”" for key in inside)
            outside = "not in it" if len(keys) == 1 else "in none of them"
            return (f"in {named}" if inside else outside), False
        case EventCondition(event_count):
            count = subject.counts.get(event_count, 0)
            more = " or more" if count >= event_count.limit else ""
            return ("never" if not count else f"{count}{more}"), False
    value = reader(leaf.field)(subject)
    if value is MISSING or value is None:
        return "missing", True
    return _shown(value), False


def _shown(value: Any) -> str:
    """A player's value as one short line."""
    match value:
        case datetime():
            text = value.isoformat(timespec="seconds").replace("+00:00", "Z")
        case list() | dict():
            text = repr(value)
        case str() | bool() | int() | float() | Decimal():
            text = value_words(value)
        case _:
            text = str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


# --- The nearest miss -----------------------------------------------------------------------------


def nearest(traced: Traced) -> tuple[TracedLeaf, ...]:
    """The smallest set of conditions that would have to change to flip the rule's result; the first
    one on a tie."""
    if isinstance(traced, TracedLeaf):
        return (traced,)
    # A passing AND flips with any one part, a failing AND needs all its failing parts. OR is the
    # reverse, and NOT is a negated OR.
    inner = traced.passed is not (traced.operator == "NOT")
    all_needed = inner is (traced.operator != "AND")
    candidates = [nearest(part) for part in traced.parts if part.passed is inner]
    if all_needed:
        return tuple(leaf for found in candidates for leaf in found)
    return min(candidates or [()], key=len)


def miss(leaf: TracedLeaf) -> str:
    """The required change as a sentence: `level were at least 10; it is 9`."""
    if leaf.passed:
        found = f"; it is {leaf.actual}" if isinstance(leaf.leaf, Condition) else ""
        return f"it were not so that {leaf.words}{found}"
    match leaf.leaf:
        case Membership():
            return f"the player {_were(leaf.words)}; the player is {leaf.actual}"
        case EventCondition():
            return f"the player had done {leaf.words.removeprefix('did ')}; it was {leaf.actual}"
        case Condition(name) as condition:
            name = field_name(name)
            words = _were(f"{OPERATORS[condition.operator].words} {expected(condition)}".rstrip())
            found = "it is missing" if leaf.missing else f"it is {leaf.actual}"
            return f"{name} {words}; {found}"


def _were(words: str) -> str:
    """`is at least 10` becomes `were at least 10`."""
    for now, then in (("is ", "were "), ("does not ", "did not ")):
        if words.startswith(now):
            return then + words.removeprefix(now)
    verb, _, rest = words.partition(" ")
    return f"{PAST[verb]} {rest}"


PAST = {"contains": "contained", "starts": "started", "ends": "ended", "matches": "matched"}

"""Rules in plain English. Imports no Django."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from segments.language.operators import OPERATORS
from segments.language.parser import (
    FIELDS,
    Condition,
    EventCondition,
    EventCount,
    Group,
    InSegment,
    Node,
    RuleError,
    attribute_path,
    parse,
)
from segments.language.values import UNITS

# Built-in fields that every player has.
ALWAYS_THERE = frozenset(FIELDS) - {"device_id", "email", "email_domain"}
JOINED = {"AND": " and ", "OR": " or ", "NOT": " or "}


def describe(rule: Node) -> str:
    """The rule as a sentence: `level is at least 40 or is_vip is true`."""
    match rule:
        case Condition():
            words = OPERATORS[rule.operator].words
            return f"{field_name(rule.field)} {words} {expected(rule)}".rstrip()
        case InSegment(keys, negative):
            which = "the segment" if len(keys) == 1 else "any of the segments"
            names = ", ".join(f"“{key}”" for key in keys)
            return f"is {'not ' if negative else ''}in {which} {names}"
        case EventCondition():
            return _describe_events(rule)
    text = JOINED[rule.operator].join(_part(part) for part in rule.conditions)
    return f"not ({text})" if rule.operator == "NOT" else text


def part_text(path: tuple[str, ...], value: Any, _at: datetime) -> str | None:
    """The text of a stored rule for core/diff.py."""
    if path[-1:] not in (("rule",), ("conditions",)):
        return None
    try:
        return describe(parse(value))
    except RuleError:
        return None  # a part of another shape that happens to have this name


def _part(node: Node) -> str:
    text = describe(node)
    inner = isinstance(node, Group) and node.operator != "NOT" and len(node.conditions) > 1
    return f"({text})" if inner else text


def _describe_events(rule: EventCondition) -> str:
    times = "once" if rule.times == 1 else f"{rule.times} times"
    many = "never" if rule.times == 0 else f"at {'most' if rule.at_most else 'least'} {times}"
    within = span(rule.event_count.within)
    return f"did {event_words(rule.event_count)} {many} within the last {within}"


def lacking(rule: Node, negated: bool = False) -> list[str]:
    """Fields whose negative conditions match players without a value."""
    match rule:
        case Condition(name, operator, _):
            matches_missing = bool(OPERATORS[operator].opposite) is not negated
            tests_presence = operator in ("is_set", "is_not_set")
            listed = matches_missing and not tests_presence and name not in ALWAYS_THERE
            return [field_name(name)] if listed else []
        case Group(operator, parts):
            inside = negated is not (operator == "NOT")
            found = [name for part in parts for name in lacking(part, inside)]
            return list(dict.fromkeys(found))
    return []


def event_words(event_count: EventCount) -> str:
    """`“level_complete” (stars is 3)`."""
    where = f" ({describe(event_count.where)})" if event_count.where else ""
    return f"“{event_count.event}”{where}"


def field_name(name: str) -> str:
    return name.removeprefix("attributes.")


def place(name: str) -> str:
    """Where a field with a dot or a backslash is found: `“wins” inside “stats”`; else ""."""
    if name in FIELDS or not set(name) & set(".\\"):
        return ""
    return " inside ".join(f"“{key}”" for key in reversed(attribute_path(name)))


def expected(condition: Condition) -> str:
    """The operand of a condition as text, "" if the operator takes none."""
    value = condition.value
    match OPERATORS[condition.operator].takes:
        case "nothing":
            return ""
        case "duration":
            return span(value)
        case "moment" if value[:1] == "-":
            return f"{span(value[1:])} ago"
        case "moment" if value[:1] == "+":
            return f"{span(value[1:])} from now"
        case "moment" | "version":
            return str(value)
        case "list":
            return ", ".join(value_words(item) for item in value)
    return value_words(value)


def span(text: str) -> str:
    """`30d` is `30 days`."""
    unit = UNITS[text[-1]]
    return f"1 {unit[:-1]}" if text[:-1] == "1" else f"{text[:-1]} {unit}"


def value_words(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"“{value}”"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)

"""The segments' part of the environment cache: compiled rules and lists, by segment key."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ilara_admin.api.environment_cache import Parts, register_part
from segments.language.compiler import Matcher, compile_rule, no_player, with_lists
from segments.language.parser import (
    EventCount,
    Group,
    Node,
    RuleError,
    event_counts_of,
    parse,
    segments_in,
)
from segments.language.references import circle_in

logger = logging.getLogger("ilara.segments")

SQL = """
    SELECT jsonb_agg(jsonb_build_object('id', s.id, 'key', s.key, 'name', s.name, 'rule', s.rule)
                     ORDER BY s.key)
    FROM segment s WHERE s.environment_id = e.id"""


class SegmentRow(msgspec.Struct):
    id: int
    key: str
    name: str
    rule: Any


@dataclass(frozen=True, slots=True)
class CompiledSegment:
    """`matches` checks the lists before the rule. `event_counts` are all event counts that a match
    may need, also through other segments. `rule` is None if the stored rule cannot be parsed."""

    id: int
    key: str
    name: str
    rule: Group | None
    matches: Matcher
    event_counts: frozenset[EventCount]


def compile_segments(rows: list[SegmentRow], parts: Parts) -> dict[str, CompiledSegment]:
    """Compile the rows. A rule that cannot be parsed or is part of a cycle matches no players, and
    other segments keep working."""
    rules: dict[str, Group] = {}
    for row in rows:
        try:
            rules[row.key] = parse(row.rule)
        except RuleError as error:
            logger.error("cannot parse segment %s, it matches no players: %s", row.key, error)
    while cycle := circle_in({key: segments_in(rule) for key, rule in rules.items()}):
        path = " → ".join(cycle)
        logger.error("segments form a cycle and match no players: %s", path)
        for key in cycle[1:]:
            del rules[key]
    matchers: dict[str, Matcher] = {}
    compiled: dict[str, CompiledSegment] = {}
    for row in rows:
        key = row.key
        rule = rules.get(key)
        by_rule = compile_rule(rule, matchers) if rule else no_player
        matchers[key] = with_lists(row.id, by_rule)
        needed = event_counts_of([rule] if rule else [], rules)
        compiled[key] = CompiledSegment(row.id, key, row.name, rule, matchers[key], needed)
    return compiled


segments_part = register_part(SQL, SegmentRow, compile_segments)


def matchers_of(segments: Mapping[str, CompiledSegment]) -> dict[str, Matcher]:
    return {key: segment.matches for key, segment in segments.items()}


def rules_of(segments: Mapping[str, CompiledSegment]) -> dict[str, Node]:
    return {key: segment.rule for key, segment in segments.items() if segment.rule}

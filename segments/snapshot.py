"""The segments' part of an environment's snapshot."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ilara_admin.snapshot import Snapshot
from segments.rules import Matcher, RuleError, compile_rule, nobody, parse

logger = logging.getLogger("ilara.segments")

PART = "segments"
SQL = """
    SELECT jsonb_agg(jsonb_build_object('key', s.key, 'name', s.name, 'rule', s.rule)
                     ORDER BY s.key)
    FROM segment s WHERE s.environment_id = e.id"""


@dataclass(frozen=True, slots=True)
class CompiledSegment:
    key: str
    name: str
    matches: Matcher


def compile_segments(rows: Any, parts: Mapping[str, Any]) -> dict[str, CompiledSegment]:
    compiled: dict[str, CompiledSegment] = {}
    for row in rows:
        try:
            matches = compile_rule(parse(row["rule"]))
        except RuleError as error:
            # One rule that cannot be read must not take down everything else of its environment.
            logger.error("the segment %s cannot be read and matches nobody: %s", row["key"], error)
            matches = nobody
        compiled[row["key"]] = CompiledSegment(row["key"], row["name"], matches)
    return compiled


def segments_of(snapshot: Snapshot) -> Mapping[str, CompiledSegment]:
    segments: Mapping[str, CompiledSegment] = snapshot.parts[PART]
    return segments

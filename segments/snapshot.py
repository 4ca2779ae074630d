"""The segments' part of an environment's snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ilara_admin.snapshot import Snapshot
from segments.rules import Matcher, compile_rule, parse

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
    return {
        row["key"]: CompiledSegment(row["key"], row["name"], compile_rule(parse(row["rule"])))
        for row in rows
    }


def segments_of(snapshot: Snapshot) -> Mapping[str, CompiledSegment]:
    segments: Mapping[str, CompiledSegment] = snapshot.parts[PART]
    return segments

"""Why a player is in a segment, or not: the list, the conditions, the nearest miss. Imports no
Django."""

from collections.abc import Mapping
from typing import Protocol

from segments.language.compiler import Matcher, Subject
from segments.language.parser import Node
from segments.language.trace import deciding, miss, nearest, reason, trace


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

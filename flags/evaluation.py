"""What a flag gives a player, and why. Pure: no Django, no database, no clock of its own.

Order: off or archived -> the override for the player -> the rules in order, the first that matches
and whose rollout includes the player -> the default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from flags.bucketing import gate, split
from flags.document import EVERYBODY, FlagDocument, Rule, Variant
from segments.matching import Matcher, Subject, compile_rule, nobody
from segments.rules import Behaviour, Node, behaviours_of, parse


class Reason(StrEnum):
    """The published reasons. `prerequisite_failed` is a reserved name of the API."""

    DISABLED = "disabled"
    OVERRIDE = "override"
    PREREQUISITE_FAILED = "prerequisite_failed"
    SEGMENT_MATCH = "segment_match"
    RULE_MATCH = "rule_match"
    ROLLOUT = "rollout"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class CompiledRule:
    rule: Rule
    matches: tuple[Matcher, ...]
    reason: Reason


@dataclass(frozen=True, slots=True)
class CompiledFlag:
    key: str
    salt: str
    revision: int
    document: FlagDocument
    variants: Mapping[str, Variant]
    rules: tuple[CompiledRule, ...]
    archived: bool
    behaviours: frozenset[Behaviour] = frozenset()  # the counts of events its rules need
    id: int = 0  # of the row that overrides name; 0 for a flag that is not stored


@dataclass(frozen=True, slots=True)
class Decision:
    """`rule_index` counts from 0 and is None unless a rule decided."""

    variant: Variant
    reason: Reason
    segment_id: str | None = None
    rule_index: int | None = None


def compile_flag(
    *,
    key: str,
    salt: str,
    revision: int,
    document: FlagDocument,
    archived: bool,
    segments: Mapping[str, Matcher],
    segment_rules: Mapping[str, Node] | None = None,
    id: int = 0,
) -> CompiledFlag:
    """Prepare a flag for evaluation. A rule that names an unknown segment matches nobody."""
    rules: list[CompiledRule] = []
    known = segment_rules or {}
    asked: list[Node] = []
    for rule in document.rules:
        matches: list[Matcher] = []
        reason = Reason.ROLLOUT
        if rule.conditions is not None:
            reason = Reason.RULE_MATCH
            asked.append(parse(rule.conditions))
            matches.append(compile_rule(asked[-1], segments))
        if rule.segment is not None:
            reason = Reason.SEGMENT_MATCH
            matches.append(segments.get(rule.segment, nobody))
            if rule.segment in known:
                asked.append(known[rule.segment])
        rules.append(CompiledRule(rule, tuple(matches), reason))
    return CompiledFlag(
        key=key,
        salt=salt,
        revision=revision,
        document=document,
        variants={variant.key: variant for variant in document.variants},
        rules=tuple(rules),
        archived=archived,
        behaviours=behaviours_of(asked, known),
        id=id,
    )


def evaluate(
    flag: CompiledFlag, player_id: str, subject: Subject, override: str | None = None
) -> Decision:
    """Decide. `player_id` is the lower-case 36-character form. An override that names a variant
    which is no longer there counts for nothing."""
    if flag.archived or not flag.document.enabled:
        return Decision(flag.variants[flag.document.off], Reason.DISABLED)
    if override is not None and override in flag.variants:
        return Decision(flag.variants[override], Reason.OVERRIDE)
    for index, compiled in enumerate(flag.rules):
        rule = compiled.rule
        if not all(matches(subject) for matches in compiled.matches):
            continue
        if rule.rollout < EVERYBODY and gate(flag.salt, player_id) >= rule.rollout:
            continue
        key = rule.variant
        if rule.split is not None:
            key = split(flag.salt, player_id, rule.split)
        assert key is not None, "check_document lets no rule without a variant or a split pass"
        segment_id = rule.segment if compiled.reason is Reason.SEGMENT_MATCH else None
        return Decision(flag.variants[key], compiled.reason, segment_id, index)
    return Decision(flag.variants[flag.document.default], Reason.DEFAULT)

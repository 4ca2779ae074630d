"""The evaluation of a flag for a player. Imports no Django; the clock is an argument.

Evaluation order: off or archived -> prerequisites -> override -> first rule that matches and whose
percentage includes the player -> default.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from flags.engine.bucketing import gate, in_group, split
from flags.engine.document import (
    EVERYBODY,
    FlagDocument,
    Prerequisite,
    Rule,
    ValueType,
    Variant,
)
from flags.engine.schedule import ceiling, is_scheduled, rollout_at
from ilara_admin.api.enums import DocumentedEnum
from segments.language.compiler import Matcher, Subject, compile_rule
from segments.language.parser import (
    EventCount,
    Group,
    InSegment,
    Node,
    RuleError,
    event_counts_of,
    parse,
)


class Reason(DocumentedEnum):
    """Why a flag serves a variant."""

    DISABLED = "disabled", "The flag is off or archived."
    OVERRIDE = "override", "Staff set a variant for this player."
    PREREQUISITE_FAILED = (
        "prerequisite_failed",
        "A prerequisite serves the player another variant.",
    )
    SEGMENT_MATCH = (
        "segment_match",
        "A rule with a segment decided; see `segment_id`.",
    )
    RULE_MATCH = "rule_match", "A rule with conditions and no segment decided."
    ROLLOUT = "rollout", "A rule for all players decided, by its percentage."
    DEFAULT = "default", "No rule matched."


@dataclass(frozen=True, slots=True)
class Decision:
    """`rule_index` counts from 0 and is None unless a rule decided; `prerequisite` is the flag that
    failed."""

    variant: Variant
    reason: Reason
    segment_id: str | None = None
    rule_index: int | None = None
    prerequisite: str | None = None


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """`matches` is None if the rule has neither segment nor conditions. `decisions` holds the
    decision of the rule by variant key."""

    rule: Rule
    matches: Matcher | None
    scheduled: bool
    decisions: Mapping[str, Decision]

    def share_at(self, at: datetime) -> int:
        """The percentage in force, in thousandths."""
        return rollout_at(self.rule, at) if self.scheduled else self.rule.rollout


@dataclass(frozen=True, slots=True)
class CompiledFlag:
    """`constant` is the decision for all players, or None if it depends on the player or the
    clock; if the flag is on, overrides take precedence over it. `others` are all flags of the
    environment, for prerequisites."""

    key: str
    salt: str
    revision: int
    document: FlagDocument
    variants: Mapping[str, Variant]
    rules: tuple[CompiledRule, ...]
    archived: bool
    is_on: bool
    off: Decision
    default: Decision
    constant: Decision | None
    event_counts: frozenset[EventCount]  # of its own rules, without prerequisites
    others: Mapping[str, "CompiledFlag"] = field(repr=False, compare=False)
    id: int = 0  # of the database row; 0 if the flag is not stored


@dataclass(frozen=True, slots=True)
class EvaluationContext:
    """The player: the id in its lower-case 36-character form, the subject of rules, and the
    overrides as variant by flag id. Schedules are evaluated at `at`. A player who is not registered
    has the bucket of the one who will be."""

    player_id: str
    subject: Subject
    overrides: Mapping[int, str]
    at: datetime
    is_registered: bool = True


def compile_flag(
    *,
    key: str,
    salt: str,
    revision: int,
    document: FlagDocument,
    archived: bool,
    segments: Mapping[str, Matcher],
    segment_rules: Mapping[str, Node],
    others: Mapping[str, CompiledFlag],
    id: int = 0,
) -> CompiledFlag:
    """Prepare a flag for evaluation. A rule that names an unknown segment matches no players.
    Raises RuleError, with the path in the document, for conditions that cannot be read.

    `others` is stored without being read, so it may be filled afterwards.
    """
    variants = served_variants(document)
    off = Decision(variants[document.off], Reason.DISABLED)
    default = Decision(variants[document.default], Reason.DEFAULT)
    conditions = [_condition_at(index, rule) for index, rule in enumerate(document.rules)]
    rules = tuple(
        _compile_rule(index, rule, condition, variants, segments)
        for index, (rule, condition) in enumerate(zip(document.rules, conditions, strict=True))
    )
    is_on = document.enabled and not archived
    constant: Decision | None = off
    if is_on:
        constant = None if document.prerequisites else _constant(rules, default)
    return CompiledFlag(
        key=key,
        salt=salt,
        revision=revision,
        document=document,
        variants=variants,
        rules=rules,
        archived=archived,
        is_on=is_on,
        off=off,
        default=default,
        constant=constant,
        event_counts=frozenset()
        if constant
        else event_counts_of(filter(None, conditions), segment_rules),
        others=others,
        id=id,
    )


def served_variants(document: FlagDocument) -> dict[str, Variant]:
    """The variants by key, with the values that are served. If a number has a fraction, all are
    served as fractions (5 as 5.0): typed clients distinguish them, and the type must be the same
    for every player. No value stays no value."""
    variants = document.variants
    is_number = document.value_type is ValueType.NUMBER
    if is_number and any(isinstance(variant.value, float) for variant in variants):
        with suppress(OverflowError):
            variants = tuple(
                each if each.value is None else replace(each, value=float(each.value))
                for each in variants
            )
    return {variant.key: variant for variant in variants}


def _compile_rule(
    index: int,
    rule: Rule,
    condition: Group | None,
    variants: Mapping[str, Variant],
    segments: Mapping[str, Matcher],
) -> CompiledRule:
    reason = Reason.ROLLOUT
    if rule.segment is not None:
        reason = Reason.SEGMENT_MATCH
    elif rule.conditions is not None:
        reason = Reason.RULE_MATCH
    return CompiledRule(
        rule=rule,
        matches=compile_rule(condition, segments) if condition else None,
        scheduled=is_scheduled(rule),
        decisions={
            key: Decision(variant, reason, rule.segment, index) for key, variant in variants.items()
        },
    )


def _condition_at(index: int, rule: Rule) -> Group | None:
    try:
        return condition_of(rule)
    except RuleError as error:
        raise error.below(f"rules[{index}].conditions") from None


def condition_of(rule: Rule) -> Group | None:
    """What the rule requires of players; None if it applies to all."""
    conditions: list[Node] = []
    if rule.segment is not None:
        # A condition, so that a bulk evaluation evaluates each segment once.
        conditions.append(InSegment((rule.segment,), negative=False))
    if rule.conditions is not None:
        conditions.append(parse(rule.conditions))
    return Group("AND", tuple(conditions)) if conditions else None


def _constant(rules: tuple[CompiledRule, ...], default: Decision) -> Decision | None:
    """The decision for all players, or None if it depends on the player or the clock."""
    for compiled in rules:
        rule = compiled.rule
        if ceiling(rule) == 0:
            continue
        if (
            compiled.matches
            or compiled.scheduled
            or rule.group is not None
            or rule.rollout < EVERYBODY
            or rule.variant is None
        ):
            return None
        return compiled.decisions[rule.variant]
    return default


def event_counts_needed(flags: Iterable[CompiledFlag]) -> frozenset[EventCount]:
    """The event counts that these flags and their prerequisites need."""
    found: set[EventCount] = set()
    seen: set[str] = set()
    pending = list(flags)
    while pending:
        flag = pending.pop()
        if flag.key not in seen and flag.constant is None:
            seen.add(flag.key)
            found |= flag.event_counts
            prerequisites = (item.flag for item in flag.document.prerequisites)
            pending += [flag.others[key] for key in prerequisites if key in flag.others]
    return frozenset(found)


def decide(flag: CompiledFlag, context: EvaluationContext, memo: dict[str, Decision]) -> Decision:
    """`evaluate` for several flags: `memo` caches decisions by flag key, so that each prerequisite
    is evaluated once."""
    found = memo.get(flag.key)
    if found is None:
        found = memo[flag.key] = evaluate(flag, context, memo)
    return found


def for_everyone(
    flag: CompiledFlag, at: datetime, memo: dict[str, Decision | None]
) -> Decision | None:
    """The decision for every player without an override at this time, or None if it depends on the
    player. `memo` caches by flag key."""
    if flag.constant is not None:
        return flag.constant
    if flag.key not in memo:
        # Ends a cycle, as in `evaluate`.
        memo[flag.key] = Decision(flag.off.variant, Reason.PREREQUISITE_FAILED)
        memo[flag.key] = _for_everyone(flag, at, memo)
    return memo[flag.key]


def _for_everyone(
    flag: CompiledFlag, at: datetime, memo: dict[str, Decision | None]
) -> Decision | None:
    depends = False
    for item in flag.document.prerequisites:
        other = flag.others.get(item.flag)
        found = other and for_everyone(other, at, memo)
        if other is None or (found and found.variant.key not in item.variants):
            return Decision(flag.off.variant, Reason.PREREQUISITE_FAILED, prerequisite=item.flag)
        depends = depends or found is None
    if depends:
        return None
    for compiled in flag.rules:
        share, key = compiled.share_at(at), compiled.rule.variant
        if share == 0:
            continue
        if not takes_everyone(compiled) or share < EVERYBODY or key is None:
            return None
        return compiled.decisions[key]
    return flag.default


def takes_everyone(rule: CompiledRule) -> bool:
    """Whether the rule is for all players, regardless of percentage and time."""
    return rule.matches is None and rule.rule.group is None


def takes(rule: CompiledRule, context: EvaluationContext) -> bool:
    """Whether segment, conditions and group of the rule match, regardless of percentage and
    time."""
    if rule.matches is not None and not rule.matches(context.subject):
        return False
    return rule.rule.group is None or in_group(rule.rule.group, context.player_id)


def is_overridden(flag: CompiledFlag, context: EvaluationContext) -> bool:
    """Whether an override may replace the constant decision for this player."""
    return bool(context.overrides) and flag.is_on and flag.id in context.overrides


def evaluate(
    flag: CompiledFlag, context: EvaluationContext, memo: dict[str, Decision] | None = None
) -> Decision:
    """Evaluate a flag. An override with a variant that no longer exists is ignored."""
    if not flag.is_on:
        return flag.off
    if flag.document.prerequisites:
        memo = {} if memo is None else memo
        # Ends a cycle, should one ever be stored: a flag that requires itself is off.
        memo[flag.key] = Decision(flag.off.variant, Reason.PREREQUISITE_FAILED)
        for item in flag.document.prerequisites:
            if not _holds(item, flag.others, context, memo):
                return Decision(
                    flag.off.variant, Reason.PREREQUISITE_FAILED, prerequisite=item.flag
                )
    if context.overrides:
        override = context.overrides.get(flag.id)
        if override is not None and override in flag.variants:
            return Decision(flag.variants[override], Reason.OVERRIDE)
    for compiled in flag.rules:
        if compiled.matches is not None and not compiled.matches(context.subject):
            continue
        rule = compiled.rule
        if rule.group is not None and not in_group(rule.group, context.player_id):
            continue
        share = compiled.share_at(context.at)
        if share < EVERYBODY and gate(flag.salt, context.player_id) >= share:
            continue
        key = rule.variant
        if rule.split is not None:
            key = split(flag.salt, context.player_id, rule.split)
        assert key is not None, "check_document ensures a variant or a split"
        return compiled.decisions[key]
    return flag.default


def _holds(
    item: Prerequisite,
    others: Mapping[str, CompiledFlag],
    context: EvaluationContext,
    memo: dict[str, Decision],
) -> bool:
    """Whether the other flag exists and serves the player one of the variants."""
    other = others.get(item.flag)
    return other is not None and decide(other, context, memo).variant.key in item.variants

"""The receipt of a decision: the result of each rule and condition, buckets and percentages, and
the nearest miss. Imports no Django.

It evaluates every condition without short-circuiting, so it costs more than the decision.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

from msgspec import UNSET, Meta, Struct, UnsetType

from flags.engine.bucketing import GROUP_SEED, SPLIT_SEED, bucket, gate
from flags.engine.document import EVERYBODY, Rule, RuleGroup
from flags.engine.evaluation import CompiledFlag, Decision, EvaluationContext, Reason, decide, takes
from flags.engine.schedule import is_scheduled, next_change, rollout_at
from flags.engine.sentences import percentage, why
from ilara_admin.api.json_schema import Moment, ref
from ilara_admin.core.percentages import percent
from segments.language.compiler import Matcher, Subject
from segments.language.operators import OPERATORS
from segments.language.parser import Condition, Node, parse
from segments.language.sentences import expected, field_name
from segments.language.trace import Traced, TracedGroup, miss, nearest, trace


class SegmentLike(Protocol):
    """A segment as segments/cache.py compiles it."""

    @property
    def id(self) -> int: ...
    @property
    def rule(self) -> Node | None: ...
    @property
    def matches(self) -> Matcher: ...


class ConditionReceipt(Struct):
    """`condition` is the sentence, `expected` its part after the field."""

    condition: str
    field: str | None
    expected: str
    actual: str
    passed: bool


class GroupReceipt(Struct):
    operator: str
    passed: bool
    conditions: "list[Part]"


# An untagged union, which msgspec cannot describe.
PARTS = [ref(GroupReceipt), ref(ConditionReceipt)]
Part = Annotated[Any, Meta(extra_json_schema={"anyOf": PARTS})]
PartOrNone = Annotated[Any, Meta(extra_json_schema={"anyOf": [*PARTS, {"type": "null"}]})]


class SegmentReceipt(Struct):
    """`list` is `included` or `excluded` if the player is on that list of the segment."""

    key: str
    passed: bool
    list: str | None
    rule: PartOrNone


class RolloutReceipt(Struct):
    """Passed if `bucket` is smaller than `threshold`; both in thousandths of a percent."""

    bucket: int
    threshold: int
    passed: bool
    schedule: str | None
    next_change_at: Moment | None
    next_threshold: int | None


class RangeReceipt(Struct):
    """Passed if `bucket`, that of the experiment group `key`, is at least `start` and below `end`;
    all in thousandths of a percent. Other buckets are of the group's holdout or of its other
    experiments."""

    key: str
    bucket: int
    start: int
    end: int
    passed: bool


class RuleReceipt(Struct):
    """`matched`: segment, conditions and group match. `decides`: this rule selected the variant.
    Only a rule of an experiment in a group has `group`."""

    index: int
    id: str
    name: str
    segment: SegmentReceipt | None
    conditions: PartOrNone
    matched: bool
    rollout: RolloutReceipt
    split_bucket: int | None
    variant_key: str | None
    decides: bool
    nearest_miss: str | None
    group: RangeReceipt | UnsetType = UNSET


class PrerequisiteReceipt(Struct):
    flag_key: str
    wanted: tuple[str, ...]
    variant_key: str | None
    reason: Reason | None
    passed: bool


class Receipt(Struct):
    """Flags, schedules and prerequisites are as of `at`; the player's attributes, lists, events
    and override are as of `player_as_of`."""

    flag_revision: int
    at: Moment
    player_as_of: Moment
    summary: str
    nearest_miss: str | None
    override: str | None
    prerequisites: list[PrerequisiteReceipt]
    rules: list[RuleReceipt]


def receipt_of(
    flag: CompiledFlag,
    context: EvaluationContext,
    decision: Decision,
    segments: Mapping[str, SegmentLike],
) -> Receipt:
    rules = [_rule(flag, index, context, decision, segments) for index in range(len(flag.rules))]
    return Receipt(
        flag_revision=flag.revision,
        at=context.at,
        player_as_of=context.subject.now,
        summary=why(flag, decision, context),
        nearest_miss=nearest_miss(flag, context, decision, segments),
        override=context.overrides.get(flag.id),
        prerequisites=_prerequisites(flag, context),
        rules=rules,
    )


def nearest_miss(
    flag: CompiledFlag,
    context: EvaluationContext,
    decision: Decision,
    segments: Mapping[str, SegmentLike],
) -> str | None:
    """Of the rules evaluated before the decision, the first with the fewest failed requirements."""
    evaluated = len(flag.rules) if decision.rule_index is None else decision.rule_index
    if decision.reason in (Reason.DISABLED, Reason.PREREQUISITE_FAILED, Reason.OVERRIDE):
        return None
    found = [(index, _misses(flag, index, context, segments)) for index in range(evaluated)]
    if not found:
        return None
    index, misses = min(found, key=lambda item: len(item[1]))
    return _sentence(index, misses)


def _sentence(index: int, misses: list[str]) -> str:
    return f"Rule {index + 1} does not match: {' and '.join(misses)}."


# --- One rule -------------------------------------------------------------------------------------


def _rule(
    flag: CompiledFlag,
    index: int,
    context: EvaluationContext,
    decision: Decision,
    segments: Mapping[str, SegmentLike],
) -> RuleReceipt:
    compiled = flag.rules[index]
    rule, decides = compiled.rule, decision.rule_index == index
    conditions = _trace_conditions(rule, context.subject, segments)
    misses = _misses(flag, index, context, segments)
    split_bucket = bucket(flag.salt, context.player_id, SPLIT_SEED) if rule.split else None
    return RuleReceipt(
        index=index,
        id=rule.id,
        name=rule.name,
        segment=_segment(rule.segment, context.subject, segments),
        conditions=None if conditions is None else _part(conditions),
        group=_range(rule.group, context.player_id) or UNSET,
        matched=takes(compiled, context),
        rollout=_rollout(flag, rule, context),
        split_bucket=split_bucket,
        variant_key=decision.variant.key if decides else None,
        decides=decides,
        nearest_miss=_sentence(index, misses) if misses else None,
    )


def _rollout(flag: CompiledFlag, rule: Rule, context: EvaluationContext) -> RolloutReceipt:
    threshold, player_bucket = rollout_at(rule, context.at), gate(flag.salt, context.player_id)
    coming = next_change(rule, context.at)
    return RolloutReceipt(
        bucket=player_bucket,
        threshold=threshold,
        passed=player_bucket < threshold,
        schedule=percentage(rule) if is_scheduled(rule) else None,
        next_change_at=coming[0] if coming else None,
        next_threshold=coming[1] if coming else None,
    )


def _range(group: RuleGroup | None, player_id: str) -> RangeReceipt | None:
    if group is None:
        return None
    player_bucket = bucket(group.salt, player_id, GROUP_SEED)
    passed = group.start <= player_bucket < group.end
    return RangeReceipt(group.key, player_bucket, group.start, group.end, passed)


def _segment(
    key: str | None, subject: Subject, segments: Mapping[str, SegmentLike]
) -> SegmentReceipt | None:
    if key is None:
        return None
    segment = segments.get(key)
    if segment is None:
        return SegmentReceipt(key, False, None, None)
    excluded = subject.lists.get(segment.id)
    traced = _trace(segment.rule, subject, segments)
    return SegmentReceipt(
        key=key,
        passed=segment.matches(subject),
        list=None if excluded is None else "excluded" if excluded else "included",
        rule=None if traced is None else _part(traced),
    )


def _misses(
    flag: CompiledFlag, index: int, context: EvaluationContext, segments: Mapping[str, SegmentLike]
) -> list[str]:
    """The requirements of the rule that this player fails."""
    rule, subject = flag.rules[index].rule, context.subject
    found = [] if rule.segment is None else _segment_misses(rule.segment, subject, segments)
    conditions = _trace_conditions(rule, subject, segments)
    if conditions is not None and not conditions.passed:
        found += [miss(leaf) for leaf in nearest(conditions)]
    group = _range(rule.group, context.player_id)
    if group is not None and not group.passed:
        found.append(
            f"the player's bucket of the group “{group.key}” must be from {percent(group.start)} "
            f"to below {percent(group.end)} (actual: {percent(group.bucket)}, of the holdout or "
            "another experiment)"
        )
    share = flag.rules[index].share_at(context.at)
    if share < EVERYBODY and (player_bucket := gate(flag.salt, context.player_id)) >= share:
        found.append(
            f"its percentage must be above {percent(player_bucket)}, the player's bucket "
            f"(actual: {percent(share)})"
        )
    return found


def _segment_misses(key: str, subject: Subject, segments: Mapping[str, SegmentLike]) -> list[str]:
    """The requirements that keep the player out of the segment; empty for a member."""
    segment = segments.get(key)
    if segment is not None and segment.matches(subject):
        return []
    if segment is None or segment.rule is None:
        return [f"the segment “{key}” must exist and be readable"]
    if subject.lists.get(segment.id):
        return [f"the player must not be on the exclude list of “{key}”"]
    traced = _trace(segment.rule, subject, segments)
    return [] if traced is None else [miss(leaf) for leaf in nearest(traced)]


# --- Conditions -----------------------------------------------------------------------------------


def _trace_conditions(
    rule: Rule, subject: Subject, segments: Mapping[str, SegmentLike]
) -> Traced | None:
    return None if rule.conditions is None else _trace(parse(rule.conditions), subject, segments)


def _trace(
    rule: Node | None, subject: Subject, segments: Mapping[str, SegmentLike]
) -> Traced | None:
    matchers = {key: segment.matches for key, segment in segments.items()}
    return None if rule is None else trace(rule, subject, matchers)


def _part(traced: Traced) -> GroupReceipt | ConditionReceipt:
    if isinstance(traced, TracedGroup):
        return GroupReceipt(traced.operator, traced.passed, [_part(part) for part in traced.parts])
    field, wanted = None, traced.words
    if isinstance(traced.leaf, Condition):
        field = field_name(traced.leaf.field)
        wanted = f"{OPERATORS[traced.leaf.operator].words} {expected(traced.leaf)}".rstrip()
    return ConditionReceipt(traced.words, field, wanted, traced.actual, traced.passed)


def _prerequisites(flag: CompiledFlag, context: EvaluationContext) -> list[PrerequisiteReceipt]:
    found = []
    memo: dict[str, Decision] = {}
    for item in flag.document.prerequisites:
        other = flag.others.get(item.flag)
        decision = decide(other, context, memo) if other else None
        variant = decision.variant.key if decision else None
        found.append(
            PrerequisiteReceipt(
                flag_key=item.flag,
                wanted=item.variants,
                variant_key=variant,
                reason=decision.reason if decision else None,
                passed=variant in item.variants,
            )
        )
    return found

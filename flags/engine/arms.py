"""The arm of a player in a running experiment, and its phases. Imports no Django.

An experiment measures one rule of a flag. If the rule has a split, the arms are the variants that
it serves. If it serves one variant to a percentage, the arms are the players inside and outside the
percentage, among those who match the rule and no earlier one that is in force. Then arms are fixed
for a phase by the gate bucket, so that a player changes the arm only with the phase:

    inside    b < `inside`      the percentage at the start of the phase
    outside   b >= `outside`    the percentage at which the phase is over

A schedule moves the players in between during the phase; they are in no arm.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

import msgspec

from flags.engine.bucketing import gate, weights_of
from flags.engine.document import EVERYBODY, Rule
from flags.engine.evaluation import (
    CompiledFlag,
    CompiledRule,
    Decision,
    EvaluationContext,
    Reason,
    evaluate,
    takes,
)
from flags.engine.schedule import rollout_at

PHASES_OF_RAMP = 10


class RunningExperiment(msgspec.Struct, frozen=True):
    """A running experiment as stored. `rule` is the id of the rule that it measures."""

    id: int
    key: str
    rule: str
    control: str
    phase: int
    phase_at: datetime


@dataclass(frozen=True, slots=True)
class MeasuredRule:
    """A running experiment of a compiled flag. `index` is the position of its rule; `inside` and
    `outside` are in thousandths of a percent."""

    experiment_id: int
    key: str
    phase: int
    index: int
    control: str
    inside: int
    outside: int


class ServedArm(NamedTuple):
    """With `overridden` an override serves the variant to a player who is in an arm otherwise."""

    variant: str
    overridden: bool = False


def measured_of(
    flag: CompiledFlag, experiments: Iterable[RunningExperiment]
) -> tuple[MeasuredRule, ...]:
    """What the experiments measure of the flag, in the order of its rules. Nothing if the flag is
    the same for all players: there is no one to compare with."""
    if flag.constant is not None:
        return ()
    by_rule = {each.rule: each for each in experiments}
    return tuple(
        _measured(by_rule[compiled.rule.id], index, compiled.rule)
        for index, compiled in enumerate(flag.rules)
        if compiled.rule.id in by_rule
    )


def _measured(experiment: RunningExperiment, index: int, rule: Rule) -> MeasuredRule:
    inside, outside = _bounds(rule, experiment.phase_at)
    return MeasuredRule(
        experiment.id, experiment.key, experiment.phase, index, experiment.control, inside, outside
    )


def arm_of(
    flag: CompiledFlag, measured: MeasuredRule, decision: Decision, context: EvaluationContext
) -> ServedArm | None:
    """The arm of a player with this decision, or None if the experiment does not measure it."""
    if not context.is_registered:
        return None
    if decision.reason is Reason.OVERRIDE:
        others = {id: key for id, key in context.overrides.items() if id != flag.id}
        context = replace(context, overrides=others)
        arm = arm_of(flag, measured, evaluate(flag, context), context)
        return arm and ServedArm(decision.variant.key, overridden=True)
    decides = decision.rule_index == measured.index
    compiled = flag.rules[measured.index]
    if compiled.rule.split is not None:
        return ServedArm(decision.variant.key) if decides else None
    if not decides and not _reaches(flag, measured, decision, context):
        return None
    if any(_may_decide(rule, context) for rule in flag.rules[: measured.index]):
        return None
    bucket = gate(flag.salt, context.player_id)
    if decides:
        return ServedArm(decision.variant.key) if bucket < measured.inside else None
    compares = measured.inside > 0 and bucket >= measured.outside
    return ServedArm(measured.control) if compares else None


def _reaches(
    flag: CompiledFlag, measured: MeasuredRule, decision: Decision, context: EvaluationContext
) -> bool:
    """Whether the player reaches the rule and matches it, and it is in force, although it does not
    decide."""
    if decision.rule_index is None:
        if decision.reason is not Reason.DEFAULT:
            return False
    elif decision.rule_index < measured.index:
        return False
    compiled = flag.rules[measured.index]
    return _may_decide(compiled, context)


def _may_decide(rule: CompiledRule, context: EvaluationContext) -> bool:
    """Whether the rule decides for the player in some buckets. An earlier rule that does so takes
    the lowest buckets, which would be missing inside the percentage only."""
    return rule.share_at(context.at) > 0 and takes(rule, context)


# --- Phases ---------------------------------------------------------------------------------------


def arm_weights(rule: Rule, control: str, phase_at: datetime) -> Mapping[str, int]:
    """How many buckets each arm has in the phase that began at this time. Empty if there is nothing
    to compare, as while no players are inside the percentage."""
    if rule.split is not None:
        weights = weights_of(rule.split)
    else:
        assert rule.variant is not None, "check_document ensures a variant or a split"
        inside, outside = _bounds(rule, phase_at)
        weights = {rule.variant: inside, control: EVERYBODY - outside}
    found = {variant: weight for variant, weight in weights.items() if weight}
    return found if len(found) > 1 else {}


def phase_is_over(rule: Rule, phase_at: datetime, now: datetime) -> bool:
    """Whether the schedule ends the phase that began at `phase_at`: by a step, when the rule starts
    or ends, when a ramp ends, or when its percentage has moved by a tenth of its way. A split has
    the same arms whatever its percentage."""
    before, share = rollout_at(rule, phase_at), rollout_at(rule, now)
    if rule.split is not None or share == before:
        return False
    if rule.ramp is None:
        return True
    moments = (rule.start, rule.end, rule.ramp.end)
    if any(moment and phase_at < moment <= now for moment in moments):
        return True
    return abs(share - before) >= _step_of_ramp(rule)


def _step_of_ramp(rule: Rule) -> int:
    """By how much a ramp moves in a phase, in thousandths, rounded up."""
    assert rule.ramp is not None
    return -(-abs(rule.ramp.to - rule.ramp.from_) // PHASES_OF_RAMP)


def _bounds(rule: Rule, phase_at: datetime) -> tuple[int, int]:
    """The bounds `inside` and `outside` of the arms in the phase that began at this time."""
    share = rollout_at(rule, phase_at)
    if rule.ramp is None or phase_at >= rule.ramp.end:
        return share, share
    step, to = _step_of_ramp(rule), rule.ramp.to
    last = min(share + step, to) if to >= share else max(share - step, to)
    return min(share, last), max(share, last)

"""How the players of a measured rule should divide among variants. Imports no Django."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from flags.engine.bucketing import weights_of
from flags.engine.document import EVERYBODY, Rule
from flags.engine.schedule import rollout_at

RAMP_PARTS = 1_000


def expected_weights(rule: Rule, control: str, phase_at: datetime) -> dict[str, float]:
    """The expected weights by variant; empty if there is nothing to compare. The percentage is that
    at the start of the phase: a step of a schedule begins a new one."""
    if rule.split is not None:
        return {key: float(weight) for key, weight in weights_of(rule.split).items() if weight}
    inside = rollout_at(rule, phase_at)
    if rule.variant is None or not 0 < inside < EVERYBODY:
        return {}
    return {control: float(EVERYBODY - inside), rule.variant: float(inside)}


def ramp_stride(rule: Rule) -> timedelta | None:
    """The time in which the percentage of a ramp hardly changes; None without a ramp."""
    if rule.split is not None or rule.ramp is None:
        return None
    return max((rule.ramp.end - rule.ramp.start) / RAMP_PARTS, timedelta(seconds=1))


def ramp_weights(
    rule: Rule, control: str, phase_at: datetime, players: Iterable[tuple[datetime, int]]
) -> dict[str, float]:
    """The expected weights during a ramp. `players` are the times of exposures with their numbers.
    Inside are the players below the percentage at the start of the phase, outside those who were
    not below it at their exposure, fewer as it grows."""
    weights = expected_weights(rule, control, phase_at)
    if not weights or rule.variant is None:
        return {}
    inside, total, expected = rollout_at(rule, phase_at), 0, 0.0
    for at, count in players:
        outside = EVERYBODY - max(rollout_at(rule, at), inside)
        expected += count * inside / (inside + outside)
        total += count
    return {control: total - expected, rule.variant: expected} if total else weights

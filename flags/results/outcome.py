"""What stored sums say: comparisons of arms with a verdict. Imports no Django."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from flags.results.statistics import (
    ALPHA,
    MIN_PLAYERS,
    RATIO_ALARM,
    Arm,
    Lift,
    alpha_of_each,
    compare,
    effect_visible,
    players_needed,
)
from ilara_admin.api.enums import DocumentedEnum

PRIMARY, GUARD, SECONDARY = "primary", "guard", "secondary"
ROLES = (PRIMARY, GUARD, SECONDARY)  # in the order in which results show them
PLANNED_EFFECT = 0.05

type Arms = Mapping[str, Arm]


class ResultVerdict(DocumentedEnum):
    """What the interval says, in the direction that is good for the metric."""

    BETTER = "better", "The whole interval is on the good side of no change."
    WORSE = "worse", "The whole interval is on the bad side of no change."
    BREACHED = "breached", "Of a guard: the whole interval is worse than tolerable."
    NO_DIFFERENCE = "no_difference", "The interval includes no change."
    TOO_FEW = "too_few", "One of the variants has fewer than 100 players with a value."
    NOTHING_TO_COMPARE = (
        "nothing_to_compare",
        "The values are all the same, or nearly all are 0.",
    )
    UNTRUSTED = "untrusted", "The sample-ratio check failed."


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric of an experiment. `unit` is "%" for shares, else that of the values or "". `signed`:
    values may be below zero. `tolerance`, of a guard, is the worst relative change."""

    key: str
    name: str
    kind: str
    unit: str
    role: str
    higher_is_better: bool
    tolerance: float | None = None
    window_days: int | None = None
    signed: bool = False


@dataclass(frozen=True, slots=True)
class VariantOutcome:
    """A variant beside the control. Without a `lift` the verdict says why. The p-value of the lift
    is below ALPHA where its interval, of any level, excludes no change."""

    variant: str
    arm: Arm
    lift: Lift | None
    verdict: ResultVerdict


@dataclass(frozen=True, slots=True)
class MeasureOutcome:
    """The results of a metric: the control arm, and the other variants beside it. Their intervals
    are of the level 1 - `alpha`, see outcome_of."""

    measure: Measure
    control_variant: str
    control: Arm
    comparisons: Sequence[VariantOutcome]
    alpha: float

    @property
    def level(self) -> float:
        """Of each interval: 0.95, or more if a metric is compared more than once."""
        return 1 - self.alpha

    @property
    def effect_found(self) -> float:
        """The smallest relative change that would be found with the players so far, as of a plan;
        infinite if there is none."""
        fewest = min((each.arm.players for each in self.comparisons), default=0)
        players = min(fewest, self.control.players)
        return effect_visible(abs(self.control.mean), self._variance, players, self.alpha)

    def players_missing(self, effect: float = PLANNED_EFFECT) -> int | None:
        """How many more players it takes in all variants, until a change of `effect` is found. 0
        if there are enough, None if it is not known yet."""
        if self.control.players < MIN_PLAYERS or not self.control.mean or self._variance <= 0:
            return None
        arms = len(self.comparisons) + 1
        mean = abs(self.control.mean)
        needed = players_needed(mean, self._variance, effect, arms, self.alpha)
        fewest = min([self.control.players, *(each.arm.players for each in self.comparisons)])
        return max(needed - arms * fewest, 0)

    @property
    def _variance(self) -> float:
        """That of the control arm, after what the values before the exposure explain."""
        lifts = [each.lift for each in self.comparisons if each.lift]
        part = min((1 - lift.reduction for lift in lifts), default=1.0)
        return self.control.variance * part**2


def outcome_of(
    measure: Measure, arms: Arms, control: str, *, trusted: bool, variants: Iterable[str] = ()
) -> MeasureOutcome:
    """The comparisons of a metric. `variants` are all that the experiment compares: one without
    players in `arms` has an empty arm, and counts as a comparison.

    At most 5 % of experiments without a difference ever call one by the metric, however many
    variants they compare, see alpha_of_each. Guards are the exception, see breach.read_guard.
    """
    empty = Arm(0, 0.0, 0.0)
    arms = {**dict.fromkeys((control, *variants), empty), **arms}
    others = [variant for variant in ordered(arms, control) if variant != control]
    alpha = ALPHA if measure.role == GUARD else alpha_of_each(max(len(others), 1))
    found = [
        _comparison(measure, each, arms[control], arms[each], alpha, trusted) for each in others
    ]
    return MeasureOutcome(measure, control, arms[control], found, alpha)


def ordered(variants: Iterable[str], control: str) -> list[str]:
    """The control, then the others by key."""
    return sorted(variants, key=lambda each: (each != control, each))


def _comparison(
    measure: Measure, variant: str, control: Arm, other: Arm, alpha: float, trusted: bool
) -> VariantOutcome:
    lift = compare(control, other, alpha)
    if lift is not None:
        lift = replace(lift, p=min(lift.p * (ALPHA / alpha), 1.0))
    if not trusted:
        verdict = ResultVerdict.UNTRUSTED
    elif min(control.players, other.players) < MIN_PLAYERS:
        verdict = ResultVerdict.TOO_FEW
    else:
        verdict = _verdict(measure, lift)
    return VariantOutcome(variant, other, lift, verdict)


def _verdict(measure: Measure, lift: Lift | None) -> ResultVerdict:
    if lift is None:
        return ResultVerdict.NOTHING_TO_COMPARE
    # The ends of the gain: above 0 is good.
    low, high = (lift.low, lift.high) if measure.higher_is_better else (-lift.high, -lift.low)
    if measure.tolerance is not None and high < -measure.tolerance:
        return ResultVerdict.BREACHED
    if low > 0:
        return ResultVerdict.BETTER
    return ResultVerdict.WORSE if high < 0 else ResultVerdict.NO_DIFFERENCE


def is_trusted(ratio_p: float | None) -> bool:
    """Whether the players of the variants are as many as they should be; True if unknown."""
    return ratio_p is None or ratio_p >= RATIO_ALARM

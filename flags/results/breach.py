"""Whether a guard is breached, what happens then, and when a rollout ends.

A guard compares the players who get a new variant with those who do not, by the relative change of
a metric. It is breached if the always-valid interval of the change lies beyond what is tolerable:
such an interval may be looked at each minute without raising more false alarms than its level.
Imports no Django.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from flags.engine.arms import PHASES_OF_RAMP
from flags.engine.document import EVERYBODY, FlagDocument, Rule
from flags.engine.schedule import figure_at, next_change, rollout_at
from flags.results.measured import rule_of
from flags.results.statistics import MIN_PLAYERS, UNBOUNDED, Arm, Lift, compare

NO_PLAYERS = Arm(0, 0.0, 0.0)
MINUS = "\N{MINUS SIGN}"
WATCHED = timedelta(hours=24)  # a rollout that is complete is watched for so long


class GuardVerdict(StrEnum):
    EARLY = "early"  # too few players, or nothing to compare with
    TOLERABLE = "tolerable"
    BREACHED = "breached"


@dataclass(frozen=True, slots=True)
class GuardReading:
    """A guard as it stands. `up` says that higher is better. `lift` is None without an interval of
    the relative change."""

    metric: str
    up: bool
    tolerance: float
    variant: str
    control: Arm
    other: Arm
    lift: Lift | None
    verdict: GuardVerdict


def read_guard(
    metric: str, *, up: bool, tolerance: float, variant: str, control: Arm, other: Arm,
    min_players: int,
) -> GuardReading:  # fmt: skip
    """Compare the players outside, `control`, with those who get `variant`. `tolerance` is the
    worst relative change that is tolerable, such as 0.05.

    The interval has a level of 95 %, also if an experiment has several variants or guards, each of
    which may be breached: a false alarm stops a change that does no harm, and a level for all of
    them together would find harm later.
    """
    lift, verdict = None, GuardVerdict.EARLY
    if min(control.players, other.players) >= max(min_players, MIN_PLAYERS):
        lift = compare(control, other)
        if lift is not None:
            is_worse = lift.high < -tolerance if up else lift.low > tolerance
        else:
            is_worse = _differ_entirely(control, other, up, tolerance)
        # Without an interval there are hardly any events, or players who are all alike.
        verdict = GuardVerdict.BREACHED if is_worse else GuardVerdict.TOLERABLE
    return GuardReading(metric, up, tolerance, variant, control, other, lift, verdict)


def _differ_entirely(control: Arm, other: Arm, up: bool, tolerance: float) -> bool:
    """Whether all players with the variant have one value, and all outside another that is better
    by more than is tolerable: an error that hits everyone. Such arms have no variance, and so no
    interval."""
    if control.variance or other.variance:
        return False
    change, worst = other.mean - control.mean, tolerance * abs(control.mean)
    return change < -worst if up else change > worst


def breaches_in(readings: Iterable[GuardReading]) -> list[GuardReading]:
    return [each for each in readings if each.verdict is GuardVerdict.BREACHED]


def are_tolerable(readings: Sequence[GuardReading]) -> bool:
    """Whether all guards have that verdict. False without any, as when the rule serves the same
    inside the percentage and outside."""
    verdicts = {each.verdict for each in readings}
    return verdicts == {GuardVerdict.TOLERABLE}


def change_text(reading: GuardReading) -> str:
    """`errors-per-player rose by 31 % to 58 % (tolerable: 5 %) among 412 and 398 players`: those
    who get the variant, then those outside."""
    lift = reading.lift
    if lift is None:
        before, after = (f"{arm.mean:.3g}" for arm in (reading.control, reading.other))
        change = f"is {after} instead of {before} per player"
    elif lift.high >= UNBOUNDED:
        change = f"rose by at least {percent_text(lift.low)}"
    elif lift.low > 0:
        change = f"rose by {percent_text(lift.low)} to {percent_text(lift.high)}"
    elif lift.high < 0:
        change = f"fell by {percent_text(-lift.high)} to {percent_text(-lift.low)}"
    else:
        change = f"changed by {percent_text(lift.low)} to {percent_text(lift.high)}"
    return (
        f"{reading.metric} {change} (tolerable: {percent_text(reading.tolerance)}) among "
        f"{reading.other.players:,} and {reading.control.players:,} players"
    )


def doubt_text(experiment: str) -> str:
    """What is said of a breach while the sample ratio check of the experiment with this key fails.
    The guard acts all the same, as that errs on the safe side; such a failure is often a crash."""
    return (
        "The sample ratio check failed at that time, so the change may not be the reason: see the "
        f"players in the results of {experiment}."
    )


def percent_text(share: float) -> str:
    """At most three digits for small shares: `0.25 %`, `5 %`, `31 %`, `1,200 %`."""
    figure = 100 * share
    digits = 0 if abs(figure) >= 10 else 1 if abs(figure) >= 1 else 2
    text = f"{figure:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{'0' if text == '-0' else text.replace('-', MINUS)} %"


# --- What happens ---------------------------------------------------------------------------------


def fixed(
    document: FlagDocument, rule_id: str, now: datetime, *, at_most: int = EVERYBODY
) -> FlagDocument:
    """The document with a fixed percentage of the rule: the one in force, or `at_most` if that is
    less, in thousandths. Players outside stay outside; those added last leave first."""
    rule = rule_of(document, rule_id)
    if rule is None:
        return document
    return document.with_rollout(rule_id, min(figure_at(rule, now), at_most))


def last_good(
    rule: Rule, phase_at: datetime, earlier: Iterable[tuple[Rule | None, datetime]]
) -> int:
    """The percentage, in thousandths, before the one of a phase: that of the schedule before, else
    the last lower one that the rule had, else 0. `earlier` are the rule's former states, newest
    first, each with the time when it was replaced; None while there was no such rule."""
    share = rollout_at(rule, phase_at)
    if rule.ramp and share > rule.ramp.from_:
        return max(share - abs(rule.ramp.to - rule.ramp.from_) // PHASES_OF_RAMP, rule.ramp.from_)
    past = [rule.rollout, *(step.rollout for step in rule.steps if step.at <= phase_at)]
    before = [] if rule.ramp else past[-2::-1]
    before += [rollout_at(each, until) if each else 0 for each, until in earlier]
    return next((each for each in before if each < share), 0)


# --- The end --------------------------------------------------------------------------------------


class End(StrEnum):
    """Why a rollout ends well."""

    SHIPPED = "shipped"
    WATCHED = "watched"
    PLANNED = "planned"


def end_of(
    rule: Rule, readings: Sequence[GuardReading], *, phase_at: datetime,
    planned_end: datetime | None, now: datetime,
) -> End | None:  # fmt: skip
    """Why a rollout without a breach ends now, None if it goes on.

    It ends once its schedule is complete and everyone is inside, as no players are left to compare
    with; or once every guard has had a verdict and the phase has lasted for WATCHED, or until its
    planned end; or at the planned end, with or without verdicts.
    """
    if next_change(rule, now) is None:
        if figure_at(rule, now) == EVERYBODY:
            return End.SHIPPED
        if are_tolerable(readings) and planned_end is None and now >= phase_at + WATCHED:
            return End.WATCHED
    return End.PLANNED if planned_end is not None and now >= planned_end else None

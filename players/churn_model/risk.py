"""Churn risk: the probability that a player is not seen in the next 14 days. Imports no Django.

The MBG/NBD model gives the probability; the environment's own past calibrates it.

Batislyam, Denizel, Filiztekin (2007), "Empirical validation and comparison of models for customer
base analysis". While alive, a player's active days arrive at a rate lambda ~ Gamma(r, alpha); after
each, including the first, the player leaves with probability p ~ Beta(a, b). For a player with x
active days after the first, the last of them t_x days after it, observed for T days:

    P(alive) = 1 / (1 + a / (b + x) * ((alpha + T) / (alpha + t_x)) ** (r + x))

The rate of a living player is Gamma(r + x, alpha + T) by then (Fader, Hardie, Lee 2005, "Counting
your customers the easy way"), so such a player has no active day in the next t days with
probability q, and

    q = ((alpha + T) / (alpha + T + t)) ** (r + x)
    P(silent) = 1 - P(alive) * (1 - q)

which equals L(x, t_x, T + t) / L(x, t_x, T), with L the likelihood of a history. Real players do
not follow the model exactly: they come back after months, and their active days are not a Poisson
process. So P(silent) = s is calibrated as in Kull, Silva Filho, Flach (2017), "Beta calibration":

    logit(score) = c0 + c1 * log(s) - c2 * log(1 - s)

which is smooth and rises with s. fit.py fits c0, c1 and c2; with 0, 1 and 1 the score is s.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from math import exp, log, nan
from statistics import median_low

from ilara_admin.api.enums import DocumentedEnum


@dataclass(frozen=True, slots=True)
class Parameters:
    """`log_likelihood` is that of the fitted players, NaN for the prior. `source` is shown in the
    API: the last day of the fitted data, or "prior". The defaults of c0, c1 and c2 change nothing.
    """

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float = nan
    source: str = "fit"
    c0: float = 0.0
    c1: float = 1.0
    c2: float = 1.0


# Used until an environment has enough history to fit. A living player is active about every second
# day (r / alpha = 0.48 a day), and 15 % leave after an active day (a / (a + b)). The P(alive) of a
# player with one active day is 85 % on that day, 53 % after a week and 21 % after a month, similar
# to day-7 and day-30 retention of typical games. The risks on these days are 24 %, 65 % and 93 %.
PRIOR = Parameters(r=1.2, alpha=2.5, a=0.6, b=3.4, source="prior")

RISK_DAYS = 14
# Limits of 1 / (1 - P(silent)) and of the exponent of P(alive). They avoid overflow and change no
# score by more than its last decimal.
SMALLEST, LARGEST = 1 + 1e-9, 1e9
STEEPEST = 50

MEDIUM_FROM = 0.3
HIGH_FROM = 0.6

FEW_DAYS = 5
RECENT_GAPS = 10  # the usual gap is their median: robust to one holiday, follows changing habits


class RiskLevel(DocumentedEnum):
    LOW = "low", f"Below {MEDIUM_FROM}."
    MEDIUM = "medium", f"From {MEDIUM_FROM} to below {HIGH_FROM}."
    HIGH = "high", f"{HIGH_FROM} or more."


class FactorName(DocumentedEnum):
    INACTIVITY = "inactivity", "Inactive for longer than expected of an active player."
    USUAL_LOSS = (
        "usual_loss",
        f"After any active day, some players are not seen for {RISK_DAYS} days.",
    )
    FEW_ACTIVE_DAYS = (
        "few_active_days",
        f"As usual_loss, for a player with fewer than {FEW_DAYS} active days.",
    )


@dataclass(frozen=True, slots=True)
class Factor:
    factor: FactorName
    description: str
    contribution: float


@dataclass(frozen=True, slots=True)
class Risk:
    """`score` is the probability that the player is not seen in the next RISK_DAYS days.
    `confidence` is the probability of the likelier outcome. The contributions of the factors sum
    to the score."""

    score: float
    level: RiskLevel
    factors: tuple[Factor, ...]
    confidence: float
    prediction_date: datetime
    model: str


def p_unseen(parameters: Parameters, frequency: int, recency: float, age: float) -> float:
    """The calibrated probability that a player with `frequency` active days after the first, the
    last of them `recency` days after it, observed for `age` days, is not seen in the next RISK_DAYS
    days: 0..1. builtin_fields.risk_sql has the same operations in the same order."""
    alpha, shape = parameters.alpha, parameters.r + frequency
    gone = log(parameters.a / (parameters.b + frequency)) + shape * log(
        (alpha + age) / (alpha + recency)
    )
    pause = exp(max(shape * log((alpha + age) / (alpha + age + RISK_DAYS)), -700))
    inverse = min(max((1 + exp(min(gone, STEEPEST))) / (1 - pause), SMALLEST), LARGEST)
    logit = parameters.c0 + parameters.c1 * log(1 - 1 / inverse) + parameters.c2 * log(inverse)
    return 1 / (1 + exp(-logit))


def risk_at(
    parameters: Parameters, *, first_on: date, last_on: date, activity: str, today: date
) -> Risk:
    """The risk on `today`. Days are in UTC. `activity` has one digit per day from `first_on` to
    `last_on`, 1 if the player was active."""
    frequency, recency, age = observed(first_on, last_on, activity.count("1"), today)
    unseen = p_unseen(parameters, frequency, recency, age)
    score = round(unseen, 4)
    resting = min(round(p_unseen(parameters, frequency, recency, recency), 4), score)
    return Risk(
        score=score,
        level=level_of(score),
        factors=_factors(score, resting, age - recency, activity),
        confidence=round(max(unseen, 1 - unseen), 4),
        prediction_date=datetime.combine(today, time(), UTC),
        model=f"mbg-nbd/{parameters.source}",
    )


def score_at(
    parameters: Parameters, *, first_on: date, last_on: date, active_days: int, today: date
) -> float:
    """The score of risk_at: 0..1, four decimals."""
    return round(p_unseen(parameters, *observed(first_on, last_on, active_days, today)), 4)


def observed(first_on: date, last_on: date, active_days: int, today: date) -> tuple[int, int, int]:
    """Frequency, recency and age for p_unseen."""
    recency = (last_on - first_on).days
    return max(active_days - 1, 0), recency, max((today - first_on).days, recency)


def level_of(score: float) -> RiskLevel:
    if score >= HIGH_FROM:
        return RiskLevel.HIGH
    return RiskLevel.MEDIUM if score >= MEDIUM_FROM else RiskLevel.LOW


def _factors(score: float, resting: float, silence: int, activity: str) -> tuple[Factor, ...]:
    days = activity.count("1")
    factors = [
        Factor(
            FactorName.FEW_ACTIVE_DAYS if days < FEW_DAYS else FactorName.USUAL_LOSS,
            f"{_count(days, 'active day')} so far; after each, some players stop.",
            resting,
        )
    ]
    if score > resting:
        # Days are in UTC: the player may have been active an hour ago, before midnight.
        since = "since yesterday" if silence == 1 else f"for {silence} days"
        text = f"No activity {since}{_habit(activity, silence)}."
        factors.append(Factor(FactorName.INACTIVITY, text, round(score - resting, 4)))
    return tuple(sorted(factors, key=lambda factor: -factor.contribution))


def gaps_in(activity: str) -> list[int]:
    """The days from each active day to the next."""
    active = [day for day, bit in enumerate(activity) if bit == "1"]
    return [later - day for day, later in pairwise(active)]


def usual_gap(gaps: list[int]) -> int:
    return median_low(gaps[-RECENT_GAPS:])


def _habit(activity: str, silence: int) -> str:
    """The player's usual gap between active days, and the longest if the silence exceeds it."""
    gaps = gaps_in(activity)
    if not gaps:
        return ""
    usual = usual_gap(gaps)
    text = "; usually plays daily" if usual == 1 else f"; usually plays every {usual} days"
    longest = max(gaps)
    if len(gaps) + 1 >= FEW_DAYS and silence > longest > usual:
        text += f", and never paused for more than {longest}"
    return text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# --- What is behind it ----------------------------------------------------------------------------

DAYS_AHEAD = 365
FEW_PLAYERS = 30  # with fewer, the observed share may be off by 20 percentage points
STARTS = {RiskLevel.LOW: 0.0, RiskLevel.MEDIUM: MEDIUM_FROM, RiskLevel.HIGH: HIGH_FROM}


@dataclass(frozen=True, slots=True)
class RiskReasons:
    """Days are in UTC. `days` is the number since the first one, with today. `usual` and `longest`
    are gaps between active days, None with one active day. `pausing` is the share of players with
    this history, as the model knows them, who still play and pause as long as now: 0..1.

    `if_active` is the score if the player is active today, None if that was so. `next_level` is
    reached on `next_on` if the player is not active until then; None if not within a year.
    """

    active_days: int
    days: int
    silence: int
    usual: int | None
    longest: int | None
    typical: float
    pausing: float
    if_active: float | None
    next_level: RiskLevel | None
    next_on: date | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Of `players` at a risk level, the share `silent` was not seen in the days after the test."""

    players: int
    silent: float

    @property
    def is_of_few(self) -> bool:
        return self.players < FEW_PLAYERS


def reasons_at(
    parameters: Parameters, *, first_on: date, last_on: date, activity: str, today: date
) -> RiskReasons:
    """For `activity` see risk.risk_at."""
    active_days, gaps = activity.count("1"), gaps_in(activity)
    frequency, recency, age = observed(first_on, last_on, active_days, today)
    alpha, r = parameters.alpha, parameters.r

    def score_on(day: date) -> float:
        return score_at(
            parameters, first_on=first_on, last_on=last_on, active_days=active_days, today=day
        )

    if_active = score_at(
        parameters, first_on=first_on, last_on=today, active_days=active_days + 1, today=today
    )
    next_level, next_on = None, None
    coming = [level for level, start in STARTS.items() if start > STARTS[level_of(score_on(today))]]
    if coming:
        # The score grows with each day.
        ahead = range(1, DAYS_AHEAD + 1)
        place = bisect_left(
            ahead, STARTS[coming[0]], key=lambda each: score_on(today + timedelta(each))
        )
        if place < len(ahead):
            next_on = today + timedelta(ahead[place])
            next_level = level_of(score_on(next_on))
    return RiskReasons(
        active_days=active_days,
        days=age + 1,
        silence=age - recency,
        usual=usual_gap(gaps) if gaps else None,
        longest=max(gaps, default=None),
        typical=alpha / r,
        pausing=((alpha + recency) / (alpha + age)) ** (r + frequency),
        if_active=if_active if age > recency else None,
        next_level=next_level,
        next_on=next_on,
    )


def calibration(bins: Iterable[Mapping[str, float]], level: RiskLevel) -> Calibration:
    """The backtest's bins of a risk level, see fit.Bin, together."""
    those = [each for each in bins if level_of(each["start"]) is level]
    players = sum(int(each["players"]) for each in those)
    silent = sum(each["players"] * each["silent"] for each in those)
    return Calibration(players, silent / players if players else 0.0)


def distance_of(bins: Iterable[Mapping[str, float]]) -> float:
    """The mean distance of a score from the share of players not seen, over the players of a
    backtest's bins, see fit.Bin: 0 if every bin is exact."""
    those = list(bins)
    distance = sum(each["players"] * abs(each["score"] - each["silent"]) for each in those)
    return distance / sum(each["players"] for each in those)

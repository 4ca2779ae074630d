"""Churn risk: 1 - P(alive) in the MBG/NBD model. Imports no Django.

Batislyam, Denizel, Filiztekin (2007), "Empirical validation and comparison of models for customer
base analysis". While alive, a player's active days arrive at a rate lambda ~ Gamma(r, alpha); after
each, including the first, the player leaves with probability p ~ Beta(a, b). For a player with x
active days after the first, the last of them t_x days after it, observed for T days:

    P(alive) = 1 / (1 + a / (b + x) * ((alpha + T) / (alpha + t_x)) ** (r + x))
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from itertools import pairwise
from math import exp, log, nan
from statistics import median_low

from ilara_admin.api.enums import DocumentedEnum


@dataclass(frozen=True, slots=True)
class Parameters:
    """`log_likelihood` is that of the fitted players, NaN for the prior. `source` is shown in the
    API: the last day of the fitted data, or "prior"."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float = nan
    source: str = "fit"


# Used until an environment has enough history to fit. A living player is active about every second
# day (r / alpha = 0.48 a day), and 15 % leave after an active day (a / (a + b)). The P(alive) of a
# player with one active day is 85 % on that day, 53 % after a week and 21 % after a month, similar
# to day-7 and day-30 retention of typical games.
PRIOR = Parameters(r=1.2, alpha=2.5, a=0.6, b=3.4, source="prior")


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
    USUAL_LOSS = "usual_loss", "Some players leave after any active day."
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
    """`confidence` is the probability of the likelier outcome. The contributions of the factors sum
    to the score."""

    score: float
    level: RiskLevel
    factors: tuple[Factor, ...]
    confidence: float
    prediction_date: datetime
    model: str


def p_alive(parameters: Parameters, frequency: int, recency: float, age: float) -> float:
    """P(alive) of a player with `frequency` active days after the first, the last of them
    `recency` days after it, observed for `age` days. Computed in logarithms to avoid overflow and
    division by zero."""
    silence = log((parameters.alpha + age) / (parameters.alpha + recency))
    exponent = log(parameters.a / (parameters.b + frequency)) + (parameters.r + frequency) * silence
    return 0.0 if exponent > 700 else 1 / (1 + exp(exponent))


def risk_at(
    parameters: Parameters, *, first_on: date, last_on: date, activity: str, today: date
) -> Risk:
    """The risk on `today`. Days are in UTC. `activity` has one digit per day from `first_on` to
    `last_on`, 1 if the player was active."""
    frequency, recency, age = observed(first_on, last_on, activity.count("1"), today)
    alive = p_alive(parameters, frequency, recency, age)
    score = round(1 - alive, 4)
    resting = min(round(1 - p_alive(parameters, frequency, recency, recency), 4), score)
    return Risk(
        score=score,
        level=level_of(score),
        factors=_factors(score, resting, age - recency, activity),
        confidence=round(max(alive, 1 - alive), 4),
        prediction_date=datetime.combine(today, time(), UTC),
        model=f"mbg-nbd/{parameters.source}",
    )


def score_at(
    parameters: Parameters, *, first_on: date, last_on: date, active_days: int, today: date
) -> float:
    """The score of risk_at: 0..1, four decimals."""
    return round(1 - p_alive(parameters, *observed(first_on, last_on, active_days, today)), 4)


def observed(first_on: date, last_on: date, active_days: int, today: date) -> tuple[int, int, int]:
    """Frequency, recency and age for p_alive."""
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
            f"{_count(days, 'active day')} so far; after each, some players stop for good.",
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

"""Churn risk: one minus the probability that a player is still alive, by MBG/NBD. No Django.

Batislyam, Denizel, Filiztekin (2007), "Empirical validation and comparison of models for customer
base analysis". While alive, a player's active days arrive at a rate lambda ~ Gamma(r, alpha); after
each, the first included, the player leaves with a probability p ~ Beta(a, b). With x further
active days after the first, the last of them t_x days after it, and T days gone by:

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
    """`log_likelihood` is that of the players who were fitted to; of the prior there are none.
    `source` says in the API where they come from: the last day that was fitted, or "prior"."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float = nan
    source: str = "fit"


# Serves until an environment has enough history of its own. It says: a living player shows up
# about every second day (r / alpha = 0.48 a day), and 15 % leave after an active day
# (a / (a + b)). A one-day player is then alive with 85 % on that day, 53 % after a week and 21 %
# after a month, which is what day-7 and day-30 retention of ordinary games looks like.
PRIOR = Parameters(r=1.2, alpha=2.5, a=0.6, b=3.4, source="prior")


MEDIUM_FROM = 0.3
HIGH_FROM = 0.6

FEW_DAYS = 5
# What a player usually does is the median of these: habits change, and one holiday is none.
RECENT_GAPS = 10


class RiskLevel(DocumentedEnum):
    LOW = "low", f"Below {MEDIUM_FROM}."
    MEDIUM = "medium", f"From {MEDIUM_FROM} on."
    HIGH = "high", f"From {HIGH_FROM} on."


class FactorName(DocumentedEnum):
    INACTIVITY = "inactivity", "The player is silent for longer than a living one would be."
    USUAL_LOSS = "usual_loss", "Some players leave after any active day, this one maybe, too."
    FEW_ACTIVE_DAYS = (
        "few_active_days",
        f"The same of a player with fewer than {FEW_DAYS} active days, of whom little is known.",
    )


@dataclass(frozen=True, slots=True)
class Factor:
    factor: FactorName
    description: str
    contribution: float


@dataclass(frozen=True, slots=True)
class Risk:
    """`confidence` is the probability of the likelier outcome; the contributions of the factors
    add up to the score."""

    score: float
    level: RiskLevel
    factors: tuple[Factor, ...]
    confidence: float
    prediction_date: datetime
    model: str


def p_alive(parameters: Parameters, frequency: int, recency: float, age: float) -> float:
    """P(alive) of a player with `frequency` active days after the first, the last of them
    `recency` days after it, observed for `age` days. Computed by logarithms, so that it neither
    overflows nor divides by zero: a frequency of 1,000 with a long silence gives 0."""
    silence = log((parameters.alpha + age) / (parameters.alpha + recency))
    exponent = log(parameters.a / (parameters.b + frequency)) + (parameters.r + frequency) * silence
    return 0.0 if exponent > 700 else 1 / (1 + exp(exponent))


def risk_at(
    parameters: Parameters, *, first_on: date, last_on: date, activity: str, today: date
) -> Risk:
    """The risk on `today`, all in UTC days. `activity` has a digit for each day from `first_on` to
    `last_on`: 1 where the player was active."""
    frequency, recency, age = observed(first_on, last_on, activity.count("1"), today)
    alive = p_alive(parameters, frequency, recency, age)
    score = round(1 - alive, 4)
    resting = min(round(1 - p_alive(parameters, frequency, recency, recency), 4), score)
    return Risk(
        score=score,
        level=_level(score),
        factors=_factors(score, resting, age - recency, activity),
        confidence=round(max(alive, 1 - alive), 4),
        prediction_date=datetime.combine(today, time(), UTC),
        model=f"mbg-nbd/{parameters.source}",
    )


def score_at(
    parameters: Parameters, *, first_on: date, last_on: date, active_days: int, today: date
) -> float:
    """The score of risk_at alone, 0..1 to four places."""
    return round(1 - p_alive(parameters, *observed(first_on, last_on, active_days, today)), 4)


def observed(first_on: date, last_on: date, active_days: int, today: date) -> tuple[int, int, int]:
    """Frequency, recency and age, as p_alive takes them."""
    recency = (last_on - first_on).days
    return max(active_days - 1, 0), recency, max((today - first_on).days, recency)


def _level(score: float) -> RiskLevel:
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
        # In UTC days: the player may have been there an hour ago, before midnight.
        since = "since yesterday" if silence == 1 else f"for {silence} days"
        words = f"No activity {since}{_habit(activity, silence)}."
        factors.append(Factor(FactorName.INACTIVITY, words, round(score - resting, 4)))
    return tuple(sorted(factors, key=lambda factor: -factor.contribution))


def _habit(activity: str, silence: int) -> str:
    """How the player used to play lately, and whether such a silence has been before."""
    active = [day for day, bit in enumerate(activity) if bit == "1"]
    gaps = [later - day for day, later in pairwise(active)]
    if not gaps:
        return ""
    usual = median_low(gaps[-RECENT_GAPS:])
    words = "; usually plays daily" if usual == 1 else f"; usually plays every {usual} days"
    longest = max(gaps)
    if len(gaps) + 1 >= FEW_DAYS and silence > longest > usual:
        words += f", and never paused for more than {longest}"
    return words


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

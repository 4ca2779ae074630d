"""What is behind a churn risk in plain numbers, and what would change it. Imports no Django."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from players.churn_model.risk import (
    HIGH_FROM,
    MEDIUM_FROM,
    Parameters,
    RiskLevel,
    gaps_in,
    level_of,
    observed,
    score_at,
    usual_gap,
)

DAYS_AHEAD = 365
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

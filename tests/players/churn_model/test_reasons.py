"""What is behind a churn risk, and what would change it."""

from datetime import date, timedelta
from typing import TypedDict

import pytest

from players.churn_model.risk import (
    PRIOR,
    RiskLevel,
    calibration,
    level_of,
    reasons_at,
    risk_at,
    score_at,
)

FIRST = date(2026, 5, 1)


class History(TypedDict):
    first_on: date
    last_on: date
    activity: str


def test_reasons__are_the_numbers_of_the_history() -> None:
    activity = "1011000001"
    history: History = {
        "first_on": FIRST,
        "last_on": FIRST + timedelta(9),
        "activity": activity,
    }
    today = FIRST + timedelta(12)
    found = reasons_at(PRIOR, today=today, **history)
    assert (found.active_days, found.days, found.silence) == (4, 13, 3)
    assert (found.usual, found.longest) == (2, 6)
    assert found.typical == pytest.approx(2.5 / 1.2)
    assert found.pausing == pytest.approx(((2.5 + 9) / (2.5 + 12)) ** (1.2 + 3))
    risk = risk_at(PRIOR, today=today, **history)
    assert found.if_active is not None
    assert found.if_active < risk.score


def test_next_level__is_reached_on_that_day_without_activity() -> None:
    history: History = {
        "first_on": FIRST,
        "last_on": FIRST + timedelta(3),
        "activity": "1111",
    }
    today, levels = FIRST + timedelta(3), list[RiskLevel | None]()
    found = reasons_at(PRIOR, today=today, **history)
    assert found.if_active is None
    while found.next_on:
        before = score_at(
            PRIOR, first_on=FIRST, last_on=history["last_on"], active_days=4,
            today=found.next_on - timedelta(1),
        )  # fmt: skip
        assert level_of(before) is not found.next_level
        assert risk_at(PRIOR, today=found.next_on, **history).level is found.next_level
        levels.append(found.next_level)
        found = reasons_at(PRIOR, today=found.next_on, **history)
    assert levels == [RiskLevel.MEDIUM, RiskLevel.HIGH]


def test_one_active_day__has_no_gap() -> None:
    found = reasons_at(PRIOR, first_on=FIRST, last_on=FIRST, activity="1", today=FIRST)
    assert (found.usual, found.longest, found.silence, found.pausing) == (None, None, 0, 1.0)


def test_calibration__joins_the_bins_of_a_level() -> None:
    bins = [{"start": n / 10, "players": n, "score": 0.0, "silent": n / 10} for n in range(10)]
    medium = calibration(bins, RiskLevel.MEDIUM)
    assert medium.players == 3 + 4 + 5
    assert medium.silent == pytest.approx((0.9 + 1.6 + 2.5) / 12)
    assert calibration(bins, RiskLevel.HIGH).players == 6 + 7 + 8 + 9
    assert calibration([], RiskLevel.LOW).players == 0

"""Percentages over time. Effects on players are in the golden cases."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.engine.document import EVERYBODY, Ramp, Rule, ScheduleStep
from flags.engine.schedule import ceiling, figure_at, is_scheduled, next_change, rollout_at

DAY = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
STEPS = Rule(id="r", rollout=0, steps=(ScheduleStep(DAY, 10_000), ScheduleStep(DAY + HOUR, 50_000)))
RAMP = Rule(id="r", ramp=Ramp(from_=5_000, to=55_000, start=DAY, end=DAY + 10 * HOUR))
moments = st.timedeltas(-24 * HOUR, 48 * HOUR).map(lambda distance: DAY + distance)


@given(moments, moments)
def test_rising_ramp__removes_no_players(one: datetime, other: datetime) -> None:
    earlier, later = sorted((one, other))
    assert 5_000 <= figure_at(RAMP, earlier) <= figure_at(RAMP, later) <= 55_000


@given(moments)
def test_falling_ramp__mirrors_the_rising_one(now: datetime) -> None:
    falling = Rule(id="r", ramp=Ramp(from_=55_000, to=5_000, start=DAY, end=DAY + 10 * HOUR))
    assert figure_at(falling, now) == 60_000 - figure_at(RAMP, now)


@given(moments)
def test_figure__is_never_above_the_ceiling(now: datetime) -> None:
    for rule in (STEPS, RAMP, Rule(id="r"), Rule(id="r", rollout=0)):
        assert 0 <= rollout_at(rule, now) <= ceiling(rule) <= EVERYBODY


def test_next_change__is_the_next_time_in_the_schedule() -> None:
    before, after = DAY - HOUR, DAY + 2 * HOUR
    assert next_change(STEPS, before) == (DAY, 10_000)
    assert next_change(STEPS, DAY) == (DAY + HOUR, 50_000)
    assert next_change(STEPS, after) is None
    assert next_change(RAMP, DAY) == (DAY + 10 * HOUR, 55_000)
    window = Rule(id="r", rollout=20_000, start=DAY, end=DAY + HOUR)
    assert next_change(window, before) == (DAY, 20_000)
    assert next_change(window, DAY) == (DAY + HOUR, 0)


@pytest.mark.parametrize(
    ("rule", "scheduled"),
    [(Rule(id="r", rollout=5), False), (STEPS, True), (RAMP, True),
     (Rule(id="r", start=DAY), True), (Rule(id="r", end=DAY), True)],
)  # fmt: skip
def test_rule_that_depends_on_time__is_scheduled(rule: Rule, scheduled: bool) -> None:
    assert is_scheduled(rule) is scheduled

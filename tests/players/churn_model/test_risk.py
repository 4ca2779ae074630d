from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from math import exp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from players.churn_model.fit import calibrated, log_likelihood, p_silent
from players.churn_model.risk import (
    PRIOR,
    RISK_DAYS,
    Parameters,
    RiskLevel,
    p_unseen,
    risk_at,
)
from tests.factories import make_activity

# The CDNOW sample, as fitted in the literature.
CDNOW = Parameters(r=0.243, alpha=4.414, a=0.793, b=2.426)
TODAY = date(2026, 6, 1)


HISTORIES = [(0, 0, 0), (0, 0, 1), (0, 0, 39), (2, 30, 39), (6, 6, 6), (30, 90, 91), (3, 40, 110)]

UNSEEN = [0.2383, 0.3237, 0.952, 0.5128, 0.0608, 0.0371, 0.941]


@pytest.mark.parametrize(("frequency", "recency", "age"), HISTORIES)
@pytest.mark.parametrize("parameters", [PRIOR, CDNOW])
def test_probability__is_the_ratio_of_likelihoods(
    parameters: Parameters, frequency: int, recency: int, age: int
) -> None:
    """Of the same history, RISK_DAYS later and now. The likelihood is the published one."""
    later, now = (
        log_likelihood(parameters, [frequency], [recency], [at]) for at in (age + RISK_DAYS, age)
    )
    expected = pytest.approx(exp(later - now), rel=1e-9)
    assert p_unseen(parameters, frequency, recency, age) == expected
    assert p_silent(parameters, [frequency], [recency], [age])[0] == expected


def test_probability__is_that_of_the_vectors() -> None:
    """Computed once with the formula, so that a change of it is seen."""
    found = [round(p_unseen(PRIOR, *each), 4) for each in HISTORIES]
    assert found == UNSEEN


@pytest.mark.parametrize(("frequency", "recency", "age"), HISTORIES)
def test_calibration__is_the_same_for_one_player_and_for_many(
    frequency: int, recency: int, age: int
) -> None:
    c0, c1, c2 = 0.4, 1.3, 0.7
    silent = p_silent(PRIOR, [frequency], [recency], [age])
    found = p_unseen(replace(PRIOR, c0=c0, c1=c1, c2=c2), frequency, recency, age)
    assert found == pytest.approx(calibrated(silent, c0, c1, c2)[0], rel=1e-9)


def test_frequency_of_1000_and_long_inactivity__does_not_overflow() -> None:
    assert p_unseen(CDNOW, 1_000, 10, 100) == pytest.approx(1)
    assert p_unseen(PRIOR, 100_000, 10, 3_650) == pytest.approx(1)
    assert p_unseen(replace(PRIOR, r=1e6, a=1e-6, b=1e6), 0, 0, 0) < 1e-8


@settings(max_examples=200)
@given(
    st.integers(0, 5_000), st.floats(0, 5_000), st.floats(0, 5_000),
    st.floats(-10, 10), st.floats(0.14, 7.4), st.floats(0.14, 7.4),
)  # fmt: skip
def test_probability__rises_with_inactivity(
    frequency: int, recency: float, silence: float, c0: float, c1: float, c2: float
) -> None:
    parameters = replace(PRIOR, c0=c0, c1=c1, c2=c2)
    before = p_unseen(parameters, frequency, recency, recency + silence)
    after = p_unseen(parameters, frequency, recency, recency + silence + 1)
    assert 0 <= before <= after + 1e-12 <= 1 + 1e-12


def test_prior__has_the_documented_probabilities() -> None:
    """A player with one active day: on that day, after a week and after a month."""
    assert [round(p_unseen(PRIOR, 0, 0, age), 2) for age in (0, 7, 30)] == [0.24, 0.65, 0.93]


def risk(first: int, last: int, active_days: int) -> tuple[float, str, list[str]]:
    """The score, level and factors of a player first and last seen that many days ago."""
    found = risk_at(
        PRIOR,
        first_on=TODAY - timedelta(days=first),
        last_on=TODAY - timedelta(days=last),
        activity=make_activity((first - last), active_days),
        today=TODAY,
    )
    return found.score, found.level, [factor.factor for factor in found.factors]


def test_new_player__has_low_risk_from_few_active_days_only() -> None:
    assert risk(0, 0, 1) == (0.2383, RiskLevel.LOW, ["few_active_days"])


def test_inactive_daily_player__has_high_risk_from_inactivity() -> None:
    score, level, factors = risk(40, 14, 27)
    assert level == RiskLevel.HIGH
    assert score > 0.9
    assert factors == ["inactivity", "usual_loss"]


def test_occasional_player_as_long_inactive__has_lower_risk() -> None:
    assert risk(40, 8, 5)[0] < risk(40, 8, 30)[0]


@pytest.mark.parametrize(
    ("active_days", "ago", "text"),
    [
        (1, 1, "No activity since yesterday."),
        (11, 2, "No activity for 2 days; usually plays daily."),
        (3, 5, "No activity for 5 days; usually plays every 5 days."),
    ],
)
def test_inactivity__is_compared_with_the_usual_gap(active_days: int, ago: int, text: str) -> None:
    last_on = TODAY - timedelta(days=ago)
    first_on = last_on - timedelta(days=10 if active_days > 1 else 0)
    activity = make_activity((last_on - first_on).days, active_days)
    found = risk_at(PRIOR, first_on=first_on, last_on=last_on, activity=activity, today=TODAY)
    assert [item.description for item in found.factors if item.factor == "inactivity"] == [text]


@pytest.mark.parametrize(
    ("activity", "habit"),
    [
        ("1001001001", "; usually plays every 3 days"),
        ("1001001000001", "; usually plays every 3 days"),
        ("10010010010000001", "; usually plays every 3 days, and never paused for more than 7"),
        ("1001001001" + "1" * 11, "; usually plays daily, and never paused for more than 3"),
        ("1" + "0" * 20 + "11111", "; usually plays daily"),
    ],
)
def test_usual_gap__comes_from_the_players_own_gaps(activity: str, habit: str) -> None:
    last_on = TODAY - timedelta(days=19)
    first_on = last_on - timedelta(days=len(activity) - 1)
    found = risk_at(PRIOR, first_on=first_on, last_on=last_on, activity=activity, today=TODAY)
    descriptions = {factor.factor.value: factor.description for factor in found.factors}
    assert descriptions["inactivity"] == f"No activity for 19 days{habit}."


@settings(max_examples=200)
@given(st.integers(0, 700), st.integers(0, 700), st.data())
def test_contributions__add_up_to_the_score(
    recency: int, silence: int, data: st.DataObject
) -> None:
    active_days = data.draw(st.integers(1, recency + 1))
    last_on = TODAY - timedelta(days=silence)
    found = risk_at(
        PRIOR,
        first_on=last_on - timedelta(days=recency),
        last_on=last_on,
        activity=make_activity(recency, active_days),
        today=TODAY,
    )
    contributions = [factor.contribution for factor in found.factors]
    assert sum(contributions) == pytest.approx(found.score, abs=1e-9)
    assert contributions == sorted(contributions, reverse=True)
    assert min(contributions) >= 0
    assert 0 <= found.score <= 1
    assert found.confidence == pytest.approx(max(found.score, 1 - found.score), abs=2e-4)


@pytest.mark.parametrize(("score_from", "level"), [(0.3, "medium"), (0.6, "high")])
def test_level__changes_at_its_threshold(score_from: float, level: str) -> None:
    scores = {age: risk(age, age, 1) for age in range(60)}
    for score, found, _ in scores.values():
        assert (score >= score_from) == (found in (level, "high"))


def test_clock_behind_the_last_active_day__counts_as_zero_inactivity() -> None:
    found = risk_at(
        PRIOR,
        first_on=TODAY,
        last_on=TODAY + timedelta(days=1),
        activity="11",
        today=TODAY,
    )
    assert 0 <= found.score <= 1


def test_prediction__has_its_date_and_model() -> None:
    found = risk_at(PRIOR, first_on=TODAY, last_on=TODAY, activity="1", today=TODAY)
    assert found.prediction_date == datetime(2026, 6, 1, tzinfo=UTC)
    assert found.model == "mbg-nbd/prior"

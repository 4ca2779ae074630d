"""Vectors of the formulas, and the cases without an answer."""

from math import inf, isfinite, sqrt

import numpy as np
import pytest
from scipy.special import chdtrc, ndtri

from flags.results.statistics import (
    UNBOUNDED,
    Arm,
    alpha_of_each,
    chi_square_tail,
    compare,
    effect_visible,
    half_width,
    players_needed,
    rho,
    sample_ratio,
)

type Values = np.ndarray[tuple[int], np.dtype[np.float64]]

# Computed with gbstats.
HALF_WIDTHS = {500: 0.1724, 1000: 0.1064, 5000: 0.0429, 20000: 0.0221, 100000: 0.0106}
FIXED = {500: 1.97, 1000: 1.72, 5000: 1.55, 20000: 1.60, 100000: 1.70}  # times that interval


def arm_of(values: Values, before: Values | None = None) -> Arm:
    if before is None:
        return Arm(len(values), float(values.sum()), float(values @ values))
    return Arm(
        len(values),
        float(values.sum()),
        float(values @ values),
        float(before.sum()),
        float(before @ before),
        float(values @ before),
    )


def ones(players: int, found: int) -> Arm:
    """The arm of a share."""
    return Arm(players, found, found)


# --- Intervals ------------------------------------------------------------------------------------


def test_rho__is_that_of_the_vector() -> None:
    assert round(rho(0.05, 5000), 5) == 0.03984


@pytest.mark.parametrize(("players", "expected"), HALF_WIDTHS.items())
def test_half_width__is_that_of_the_vector(players: int, expected: float) -> None:
    assert round(half_width(players), 4) == expected
    fixed = ndtri(0.975) / sqrt(players)
    assert round(half_width(players) / fixed, 2) == pytest.approx(FIXED[players], abs=0.011)


def contrast(control: Arm, other: Arm, ratio: float) -> float:
    """How far the other mean is from so many times the control mean, in half widths."""
    variance = other.variance / other.players + ratio**2 * control.variance / control.players
    players = control.players + other.players
    half = sqrt(variance * players) * half_width(players)
    return (other.mean - ratio * control.mean) / half


@pytest.mark.parametrize(
    ("control", "other"),
    [
        (ones(3000, 1200), ones(2500, 1100)),
        (ones(2000, 60), ones(2000, 20)),
        (ones(1000, 300), ones(1000, 8)),
        (Arm(1000, -2000, 5000), Arm(1000, -1500, 4000)),
        (Arm(1000, 2000, 5000), Arm(1000, -1500, 4000)),
    ],
)
def test_compare__has_the_ratios_whose_contrast_is_within_the_half_width(
    control: Arm, other: Arm
) -> None:
    lift = compare(control, other)
    assert lift is not None
    sign = 1 if control.mean > 0 else -1
    ends = {
        round(abs(contrast(control, other, 1 + sign * end)), 6) for end in (lift.low, lift.high)
    }
    assert ends == {1}
    assert lift.low < lift.lift < lift.high
    assert lift.lift == pytest.approx((other.mean - control.mean) / abs(control.mean))
    assert (lift.control_mean, lift.mean) == (control.mean, other.mean)
    assert (lift.adjusted, lift.reduction) == (False, 0)


def test_compare__has_the_interval_of_the_delta_method_where_the_control_mean_is_known_well() -> (
    None
):
    rng = np.random.default_rng(1)
    a, b = rng.exponential(2.0, 300_000), rng.exponential(2.02, 250_000)
    lift = compare(arm_of(a), arm_of(b))
    assert lift is not None
    variance = b.var(ddof=1) / (a.mean() ** 2 * len(b))
    variance += a.var(ddof=1) * b.mean() ** 2 / (a.mean() ** 4 * len(a))
    half = sqrt(variance * 550_000) * half_width(550_000)
    assert lift.low == pytest.approx(b.mean() / a.mean() - 1 - half, abs=half / 50)
    assert lift.high == pytest.approx(b.mean() / a.mean() - 1 + half, abs=half / 50)


@pytest.mark.parametrize("control", [ones(1000, 2), ones(1000, 0)], ids=["few", "none"])
def test_compare__has_no_upper_limit_where_the_control_mean_may_be_0(control: Arm) -> None:
    """Errors that only the new variant has must stop a rollout."""
    lift = compare(control, ones(1000, 90))
    assert lift is not None
    assert lift.high == UNBOUNDED
    assert 0.05 < lift.low < lift.lift
    assert lift.differs
    assert lift.p < 0.05


def test_compare__finds_that_the_other_arm_has_none() -> None:
    lift = compare(ones(1000, 90), ones(1000, 0))
    assert lift is not None
    assert lift.lift == -1
    assert -2 < lift.low < -1 < lift.high < -0.05


@pytest.mark.parametrize("found", [560, 650])
def test_p_value__is_the_level_whose_interval_ends_at_no_change(found: int) -> None:
    lift = compare(ones(2000, 500), ones(2000, found))
    assert lift is not None
    # The sample for which the interval of that level has the same rho.
    sample = 5000 * (rho(lift.p, 5000) / rho(0.05, 5000)) ** 2
    again = compare(ones(2000, 500), ones(2000, found), lift.p, sample)
    assert again is not None
    assert again.low == pytest.approx(0, abs=1e-9)
    assert (lift.p < 0.05) == lift.differs


def test_p_value__is_at_most_1() -> None:
    lift = compare(ones(2000, 500), ones(2000, 500))
    assert lift is not None
    assert lift.p == 1


def test_compare__of_a_negative_control_mean_keeps_the_direction() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(-2, 1, 1000), rng.normal(-1, 1, 1000)
    lift = compare(arm_of(a), arm_of(b))
    assert lift is not None
    assert lift.lift == pytest.approx(0.5, abs=0.1)


NO_VERDICTS = {
    "few in the control": (ones(99, 40), ones(1000, 400)),
    "few in the other": (ones(1000, 400), ones(99, 40)),
    "no players": (Arm(0, 0, 0), Arm(0, 0, 0)),
    "nothing happened": (ones(1000, 0), ones(1000, 0)),
    "little happened": (ones(1000, 1), ones(1000, 5)),
    "the same value for all": (Arm(1000, 100, 10), Arm(1000, 100, 10)),
}


@pytest.mark.parametrize(("control", "other"), NO_VERDICTS.values(), ids=NO_VERDICTS)
def test_compare__has_no_verdict(control: Arm, other: Arm) -> None:
    assert compare(control, other) is None


# --- CUPED ----------------------------------------------------------------------------------------


def test_compare__adjusts_by_the_values_before() -> None:
    """Equal to a regression on the value before, with the pooled slope within the arms."""
    rng = np.random.default_rng(3)
    xa, xb = rng.gamma(2, 1, 4000), rng.gamma(2, 1, 4000)
    a, b = xa + rng.normal(3, 1, 4000), xb + rng.normal(3.2, 1, 4000)
    lift = compare(arm_of(a, xa), arm_of(b, xb))
    plain = compare(arm_of(a), arm_of(b))
    assert lift is not None
    assert plain is not None
    covariance = np.cov(a, xa)[0, 1] + np.cov(b, xb)[0, 1]
    theta = covariance / (xa.var(ddof=1) + xb.var(ddof=1))
    middle = np.concatenate([xa, xb]).mean()
    ya, yb = a - theta * (xa - middle), b - theta * (xb - middle)
    assert lift.lift == pytest.approx(yb.mean() / ya.mean() - 1)
    assert (lift.control_mean, lift.mean) == (plain.control_mean, plain.mean)
    r = np.corrcoef(np.concatenate([a - a.mean(), b - b.mean()]), np.concatenate([xa, xb]))[0, 1]
    assert lift.adjusted
    assert lift.reduction == pytest.approx(1 - sqrt(1 - r**2), abs=0.01)
    assert lift.high - lift.low == pytest.approx(
        (plain.high - plain.low) * (1 - lift.reduction), rel=0.03
    )


@pytest.mark.parametrize("before", [0.0, 3.0])
def test_compare__does_not_adjust_by_values_that_are_all_the_same(before: float) -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(5, 1, 500), rng.normal(5, 1, 500)
    same = np.full(500, before)
    assert compare(arm_of(a, same), arm_of(b, same)) == compare(arm_of(a), arm_of(b))


# --- The sample ratio -----------------------------------------------------------------------------


@pytest.mark.parametrize(("second", "square", "alarm"), [(5200, 3.92, False), (5400, 15.38, True)])
def test_sample_ratio__is_that_of_the_vector(second: int, square: float, alarm: bool) -> None:
    p = sample_ratio({"a": 5000, "b": second}, {"a": 1, "b": 1})
    assert p == pytest.approx(chdtrc(1, square), rel=0.01)
    assert p is not None
    assert (p < 0.001) is alarm


@pytest.mark.parametrize(("freedom", "critical"), [(1, 10.83), (2, 13.82), (3, 16.27)])
def test_chi_square_tail__reaches_the_alarm_at_the_critical_value(
    freedom: int, critical: float
) -> None:
    assert chi_square_tail(critical, freedom) == pytest.approx(0.001, rel=0.01)


@pytest.mark.parametrize("freedom", range(1, 9))
@pytest.mark.parametrize("value", [0.0, 0.3, 4.0, 60.0])
def test_chi_square_tail__equals_that_of_scipy(value: float, freedom: int) -> None:
    assert chi_square_tail(value, freedom) == pytest.approx(chdtrc(freedom, value))


@pytest.mark.parametrize(
    ("players", "weights", "expected"),
    [
        ({"a": 100, "b": 900}, {"a": 10000, "b": 90000}, 1.0),
        ({"a": 50, "b": 50}, {"a": 1, "b": 1, "c": 0}, 1.0),
        ({"a": 50, "b": 50, "c": 1}, {"a": 1, "b": 1}, 0.0),
        ({"a": 100}, {"a": 1, "b": 1}, chdtrc(1, 100)),
        ({"a": 4, "b": 4}, {"a": 1, "b": 1}, None),
        ({"a": 40}, {"a": 1}, None),
        ({}, {}, None),
    ],
)
def test_sample_ratio__of_other_weights(
    players: dict[str, int], weights: dict[str, float], expected: float | None
) -> None:
    assert sample_ratio(players, weights) == (None if expected is None else pytest.approx(expected))


# --- Power ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", [0.02, 0.05, 0.3])
def test_effect_visible__is_the_effect_that_the_players_were_planned_for(effect: float) -> None:
    players = players_needed(0.2, 0.16, effect)
    assert effect_visible(0.2, 0.16, players / 2) == pytest.approx(effect, rel=0.01)


def test_players_needed__are_more_with_intervals_for_several_arms() -> None:
    alpha = alpha_of_each(3)
    assert alpha == pytest.approx(0.05 / 3)
    players = players_needed(0.2, 0.16, 0.05, arms=4, alpha=alpha)
    assert players > 2.1 * players_needed(0.2, 0.16, 0.05)
    assert effect_visible(0.2, 0.16, players / 4, alpha) == pytest.approx(0.05, rel=0.01)


def test_players_needed__are_more_for_a_smaller_effect_and_for_more_arms() -> None:
    assert players_needed(1, 1, 0.05, arms=3) == 1.5 * players_needed(1, 1, 0.05)
    assert players_needed(1, 1, 0.02) > 5 * players_needed(1, 1, 0.05)
    assert players_needed(1, 1, -0.05) < players_needed(1, 1, 0.05)
    assert players_needed(1, 1e-9, 0.5) == 200  # no verdict below


@pytest.mark.parametrize(
    ("name", "mean", "variance", "effect"),
    [("mean", 0, 1, 0.1), ("variance", 1, 0, 0.1), ("effect", 1, 1, 0)],
)
def test_players_needed__names_what_has_no_answer(
    name: str, mean: float, variance: float, effect: float
) -> None:
    with pytest.raises(ValueError, match=name):
        players_needed(mean, variance, effect)


@pytest.mark.parametrize(
    ("mean", "variance", "players"), [(0, 1, 1000), (1, 0, 1000), (1, 1, 99), (0.001, 1, 1000)]
)
def test_effect_visible__is_infinite_without_an_answer(
    mean: float, variance: float, players: int
) -> None:
    assert effect_visible(mean, variance, players) == inf


@pytest.mark.parametrize(
    ("value", "before"), [(1e100, 0.0), (1e100, 1e-100), (1e-100, 1e100), (1e-100, 0.0)]
)
@pytest.mark.parametrize("players", [1, 100])
def test_extreme_values__are_compared_without_an_error(
    value: float, before: float, players: int
) -> None:
    """A game client may send any number; see figures_sql.HIGHEST and LOWEST."""
    sums = (value, value**2, before, before**2, value * before)
    arm = Arm(200, *(players * each for each in sums))
    found = compare(arm, arm)
    assert found is None or isfinite(found.low + found.high + found.p)

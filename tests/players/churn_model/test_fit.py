"""Churn models compared with published values, simulated players and each other."""

import numpy as np
import pytest
from numpy.typing import NDArray

from players.churn_model import fit as fitting
from players.churn_model.fit import (
    Model,
    backtest,
    calibrate,
    calibrated,
    cross_calibrated,
    fit,
    log_likelihood,
    p_alive,
)
from players.churn_model.risk import PRIOR, Parameters

# The CDNOW sample in weeks, by BG/NBD, as published.
CDNOW = Parameters(r=0.243, alpha=4.414, a=0.793, b=2.426)
MODELS: list[Model] = ["mbg", "bg"]

type Column = NDArray[np.float64]


def simulated(parameters: Parameters, players: int, model: Model) -> tuple[Column, Column, Column]:
    """Frequency, recency and age of players drawn from the model."""
    random = np.random.default_rng(1)
    age = random.uniform(1, 180, players)
    rate = random.gamma(parameters.r, 1 / parameters.alpha, players)
    dropout = random.beta(parameters.a, parameters.b, players)
    frequency, recency, clock = np.zeros((3, players))
    alive = random.random(players) >= (dropout if model == "mbg" else 0)
    while alive.any():
        clock[alive] += random.exponential(1 / rate[alive])
        alive &= clock <= age
        frequency[alive] += 1
        recency[alive] = clock[alive]
        alive &= random.random(players) >= dropout
    return frequency, recency, age


@pytest.mark.parametrize(
    ("frequency", "recency", "age", "expected"),
    [
        (2, 30.43, 38.86, 0.7266),
        (1, 1.71, 38.86, 0.2121),
        (1, 15.57, 38.86, 0.5394),
        (7, 29.43, 38.86, 0.6418),
        (10, 35, 38, 0.8717),
        (10, 10, 38, 0.0002),
        (2, 4, 38, 0.1029),
        (1, 1, 2, 0.7125),
        (1, 2, 10, 0.5279),
        (1000, 10, 100, 0.0),
    ],
)
def test_p_alive_of_bg__equals_published_values(
    frequency: float, recency: float, age: float, expected: float
) -> None:
    found = p_alive(CDNOW, [frequency], [recency], [age], "bg")
    assert found[0] == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize(
    ("frequency", "recency", "age", "expected"),
    [(0, 0, 1, 0.7443), (0, 0, 38.86, 0.6373), (2, 30.43, 38.86, 0.7744)],
)
def test_p_alive_of_mbg__equals_published_values(
    frequency: float, recency: float, age: float, expected: float
) -> None:
    found = p_alive(CDNOW, [frequency], [recency], [age])
    assert found[0] == pytest.approx(expected, abs=5e-5)


def test_player_with_one_active_day__stays_alive_in_bg_and_fades_in_mbg() -> None:
    days = [0, 10, 100, 1000]
    zeros = [0] * 4
    assert list(p_alive(PRIOR, zeros, zeros, days, "bg")) == [1, 1, 1, 1]
    fading = list(p_alive(PRIOR, zeros, zeros, days, "mbg"))
    assert fading == sorted(fading, reverse=True)
    assert fading[-1] < 0.01


@pytest.mark.parametrize("model", MODELS)
def test_frequency_of_1000__does_not_overflow(model: Model) -> None:
    """Nor does fitting: warnings are errors in tests."""
    histories = ([1000, 1000, 0, 3], [10, 999, 0, 2], [100, 1000, 5, 9])
    assert np.isfinite(log_likelihood(CDNOW, *histories, model))
    found = fit(*histories, model)
    assert np.isfinite([found.r, found.alpha, found.a, found.b, found.log_likelihood]).all()


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_fit__recovers_the_parameters_of_simulated_players(model: Model) -> None:
    true = Parameters(r=0.6, alpha=2.5, a=0.6, b=3.4)
    frequency, recency, age = simulated(true, 100_000, model)
    found = fit(frequency, recency, age, model)
    for name in ("r", "alpha", "a", "b"):
        assert getattr(found, name) == pytest.approx(getattr(true, name), rel=0.05)
    assert found.log_likelihood > log_likelihood(true, frequency, recency, age, model)
    assert found == fit(frequency, recency, age, model), "the fit is deterministic"


@pytest.mark.parametrize("model", MODELS)
def test_gradient__equals_finite_differences(model: Model) -> None:
    x, t_x, age = np.array([[0, 1, 7, 40], [0, 3, 20, 60], [9, 9, 25, 61]], float)
    at = fitting.likelihood_of(x, t_x, age, np.array([5.0, 1, 2, 1]), model)
    point, step = np.array([0.6, 2.5, 0.6, 3.4]), 1e-6
    slope = [
        (at(point + step * axis)[0] - at(point - step * axis)[0]) / (2 * step) for axis in np.eye(4)
    ]
    assert at(point)[1] == pytest.approx(slope, rel=1e-5)


def test_data_without_churn__has_a_bounded_fit() -> None:
    found = fit([10] * 300, [10] * 300, [10] * 300)
    assert p_alive(found, [10], [10], [10])[0] > 0.99
    assert all(1e-6 <= value <= 1e6 for value in (found.r, found.alpha, found.b))


@pytest.mark.parametrize(
    "history", [(-1, 0, 5), (1, 6, 5), (0, 3, 5), (1, -1, 5), (1, 1, float("nan"))]
)
def test_impossible_history__is_refused(history: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="Impossible history"):
        fit([history[0]], [history[1]], [history[2]])


def test_no_players__cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="No players"):
        fit([], [], [])


def test_backtest__returns_error_base_rate_and_ten_bins() -> None:
    found = backtest([0.0, 0.05, 0.1, 0.95, 1.0], [0, 1, 0, 1, 1])
    assert (found.players, found.base_rate) == (5, 0.6)
    assert found.brier == pytest.approx((0 + 0.95**2 + 0.1**2 + 0.05**2 + 0) / 5)
    filled = [(each.start, each.players, each.silent) for each in found.bins if each.players]
    assert filled == [(0.0, 2, 0.5), (0.1, 1, 0), (0.9, 2, 1)]
    assert [each.score for each in found.bins][::9] == pytest.approx([0.025, 0.975])
    assert len(found.bins) == 10


def test_calibration__recovers_a_distortion() -> None:
    random = np.random.default_rng(3)
    silent = random.uniform(0.01, 0.99, 50_000)
    curve = (0.4, 1.3, 0.7)
    outcome = random.random(len(silent)) < calibrated(silent, *curve)
    assert calibrate(silent, outcome) == pytest.approx(curve, abs=0.1)
    assert calibrate(silent, outcome) == calibrate(silent, outcome), "it is deterministic"


def test_calibration_without_players__changes_nothing() -> None:
    assert calibrate([], []) == (0, 1, 1)
    assert list(calibrated([0.2, 0.7], 0, 1, 1)) == pytest.approx([0.2, 0.7])


@pytest.mark.parametrize("outcome", [0, 1])
def test_calibration_of_one_outcome__stays_bounded_and_rises(outcome: int) -> None:
    silent = np.linspace(0, 1, 200)
    curve = calibrate(silent, np.full(200, outcome))
    scores = calibrated(silent, *curve)
    assert np.isfinite(scores).all()
    assert (np.diff(scores) >= 0).all()


def test_cross_calibration__uses_the_other_half() -> None:
    """All of one half were seen and none of the other, so each half gets the opposite."""
    silent, half = np.full(400, 0.5), np.arange(400) % 2
    scores = cross_calibrated(silent, half, half)
    expected = calibrated([0.5], *calibrate([0.5] * 200, [1] * 200))[0]
    assert list(scores[half == 0]) == pytest.approx([expected] * 200)
    assert scores[half == 0].min() > 0.9 > 0.1 > scores[half == 1].max()

"""Fits and backtests churn models. Uses NumPy and SciPy; imports no Django.

risk.py describes MBG/NBD. BG/NBD (Fader, Hardie, Lee 2005, "Counting your customers the easy way")
is here for comparison: its players cannot leave before the second active day, so a player with one
active day is alive forever.

Functions take and return arrays, one item per player. Frequency is the number of active days after
the first, recency the time from the first to the last of them, age the time from the first to now.
Any unit of time works; Ilara uses days, the literature weeks. All is computed in logarithms and is
deterministic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, gammaln, psi

from players.churn_model.risk import LARGEST, RISK_DAYS, SMALLEST, Parameters

type Floats = NDArray[np.float64]
type Model = Literal["mbg", "bg"]

# Standard deviation of a normal prior with mean 0 on the logarithm of each parameter. Too wide to
# matter unless the data do not determine a parameter, as when no players have left yet.
ANCHOR = 10.0
START = (1.0, 5.0, 1.0, 3.0)
# Limit of the log parameters. Values within it do not overflow.
BOUND = 14.0
TRUST = 0.5
BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Players with a score from `start` to `start + 0.1`: their number, their mean score, and the
    share who were not seen in the days after."""

    start: float
    players: int
    score: float
    silent: float


@dataclass(frozen=True, slots=True)
class Backtest:
    """How well scores predicted which players were not seen. `brier` is the mean squared error, 0
    is best. `base_rate` is the share of players not seen; predicting it for all has a Brier score
    of `base_rate * (1 - base_rate)`. `bins` are ten, in ascending order."""

    players: int
    brier: float
    base_rate: float
    bins: tuple[Bin, ...]


def fit(
    frequency: ArrayLike, recency: ArrayLike, age: ArrayLike, model: Model = "mbg"
) -> Parameters:
    """The most likely parameters, given the weak prior ANCHOR. `log_likelihood` is that of all
    players together, without the prior. Raises ValueError if there are no players or a history is
    impossible."""
    x, t_x, T = _checked(frequency, recency, age)
    if not len(x):
        raise ValueError("No players to fit.")
    # Compute each distinct history once; many players share one.
    unique, counts = np.unique(np.stack([x, t_x, T]), axis=1, return_counts=True)
    likelihood = likelihood_of(unique[0], unique[1], unique[2], counts.astype(float), model)

    def objective(logs: Floats) -> tuple[float, Floats]:
        value, slope = likelihood(np.exp(logs))
        value -= float(np.sum(logs**2)) / (2 * ANCHOR**2)
        slope = slope * np.exp(logs) - logs / ANCHOR**2
        return -value / len(x), -slope / len(x)

    found = minimize(
        objective,
        np.log(START),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-BOUND, BOUND)] * 4,
        options={"maxiter": 1_000, "ftol": 1e-13, "gtol": 1e-8},
    )
    r, alpha, a, b = (float(value) for value in np.exp(found.x))
    value, _ = likelihood(np.exp(found.x))
    return Parameters(r=r, alpha=alpha, a=a, b=b, log_likelihood=value)


def log_likelihood(
    parameters: Parameters,
    frequency: ArrayLike,
    recency: ArrayLike,
    age: ArrayLike,
    model: Model = "mbg",
) -> float:
    """The log-likelihood of all players together."""
    x, t_x, T = _checked(frequency, recency, age)
    value, _ = likelihood_of(x, t_x, T, np.ones(len(x)), model)(_four(parameters))
    return value


def p_alive(
    parameters: Parameters,
    frequency: ArrayLike,
    recency: ArrayLike,
    age: ArrayLike,
    model: Model = "mbg",
) -> Floats:
    """P(alive) of each player."""
    x, t_x, T = _checked(frequency, recency, age)
    r, alpha, a, b = _four(parameters)
    return 1 - _p_gone(r, alpha, a, b, x, t_x, T, _chances(model))


def p_silent(
    parameters: Parameters, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike
) -> Floats:
    """The probability of MBG/NBD that a player is not seen in the next RISK_DAYS days, not
    calibrated. risk.p_unseen has it for one player, calibrated."""
    x, _, T = _checked(frequency, recency, age)
    r, alpha, _, _ = _four(parameters)
    pause = (r + x) * (np.log(alpha + T) - np.log(alpha + T + RISK_DAYS))
    silent: Floats = 1 + p_alive(parameters, frequency, recency, age) * np.expm1(pause)
    return silent


def calibrate(silent: ArrayLike, was_silent: ArrayLike) -> tuple[float, float, float]:
    """c0, c1 and c2 of risk.py for players with these probabilities. `was_silent` is 1 for those
    who were not seen. A normal prior with standard deviation TRUST on c0 and on the logarithms of
    c1 and c2 keeps them near 0, 1 and 1 when players are few. c1 and c2 are positive, so the score
    rises with the probability."""
    low, high = _logs(silent)
    outcome = np.asarray(was_silent, float)

    def objective(values: Floats) -> tuple[float, Floats]:
        c0, c1, c2 = values[0], *np.exp(values[1:])
        logit = c0 + c1 * low + c2 * high
        wrong = expit(logit) - outcome
        loss = np.sum(np.logaddexp(0, logit) - outcome * logit) + values @ values / (2 * TRUST**2)
        slope = np.array([np.sum(wrong), c1 * (wrong @ low), c2 * (wrong @ high)])
        return float(loss), slope + values / TRUST**2

    found = minimize(
        objective, np.zeros(3), jac=True, method="L-BFGS-B", bounds=[(-10, 10), (-2, 2), (-2, 2)]
    )
    return float(found.x[0]), float(np.exp(found.x[1])), float(np.exp(found.x[2]))


def calibrated(silent: ArrayLike, c0: float, c1: float, c2: float) -> Floats:
    """The scores of players with these probabilities."""
    low, high = _logs(silent)
    scores: Floats = expit(c0 + c1 * low + c2 * high)
    return scores


def cross_calibrated(silent: ArrayLike, was_silent: ArrayLike, half: ArrayLike) -> Floats:
    """The scores of players, each with the calibration of the players in the other half. `half` is
    0 or 1 for each. Needed to test a calibration on players it was not fitted to."""
    score, outcome, side = (np.asarray(each, float) for each in (silent, was_silent, half))
    scores = np.empty(len(score))
    for own in (0, 1):
        mine, others = side == own, side != own
        scores[mine] = calibrated(score[mine], *calibrate(score[others], outcome[others]))
    return scores


def backtest(scores: ArrayLike, silent: ArrayLike) -> Backtest:
    """Compare risk scores (0..1) with which players were not seen afterwards."""
    score, was_silent = np.asarray(scores, float), np.asarray(silent, float)
    place = np.minimum((score * BINS).astype(int), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):  # empty bins
        mean_score = np.nan_to_num(np.bincount(place, score, BINS) / counts)
        share = np.nan_to_num(np.bincount(place, was_silent, BINS) / counts)
    return Backtest(
        players=len(score),
        brier=float(np.mean((score - was_silent) ** 2)),
        base_rate=float(np.mean(was_silent)),
        bins=tuple(
            Bin(number / BINS, int(counts[number]), float(mean_score[number]), float(share[number]))
            for number in range(BINS)
        ),
    )


# --- The formulas ---------------------------------------------------------------------------------


def _chances(model: Model) -> int:
    """Chances to leave in addition to the active days after the first."""
    return 1 if model == "mbg" else 0


def likelihood_of(
    x: Floats, t_x: Floats, T: Floats, weights: Floats, model: Model
) -> Callable[[Floats], tuple[float, Floats]]:
    """A function of r, alpha, a, b that returns the log-likelihood and its gradient."""
    chances = _chances(model)
    # A BG/NBD player with one active day cannot have left, so has no such term.
    may_be_gone = x + chances > 0
    before = np.where(may_be_gone, x - 1 + chances, 0)

    def at(parameters: Floats) -> tuple[float, Floats]:
        r, alpha, a, b = parameters
        # `alive`: the player is alive. `gone`: the player left after the last active day.
        alive = -(r + x) * np.log(alpha + T)
        gone = np.log(a) - np.log(b + before) - (r + x) * np.log(alpha + t_x)
        gone = np.where(may_be_gone, gone, -np.inf)
        stayed = x + chances
        value = (
            gammaln(r + x) - gammaln(r) + r * np.log(alpha)
            + gammaln(a + b) - gammaln(b) + gammaln(b + stayed) - gammaln(a + b + stayed)
            + np.logaddexp(alive, gone)
        )  # fmt: skip
        w = expit(gone - alive)
        by_r = (
            psi(r + x) - psi(r) + np.log(alpha)
            - (1 - w) * np.log(alpha + T) - w * np.log(alpha + t_x)
        )  # fmt: skip
        by_alpha = r / alpha - (r + x) * ((1 - w) / (alpha + T) + w / (alpha + t_x))
        by_a = psi(a + b) - psi(a + b + stayed) + w / a
        by_b = psi(a + b) - psi(a + b + stayed) + psi(b + stayed) - psi(b) - w / (b + before)
        slope = np.array([weights @ part for part in (by_r, by_alpha, by_a, by_b)])
        return float(weights @ value), slope

    return at


def _p_gone(
    r: Any, alpha: Any, a: Any, b: Any, x: Floats, t_x: Floats, T: Floats, chances: int
) -> Floats:
    may_be_gone = x + chances > 0
    before = np.where(may_be_gone, b + x - 1 + chances, 1)
    odds = np.log(a) - np.log(before) + (r + x) * (np.log(alpha + T) - np.log(alpha + t_x))
    gone: Floats = np.where(may_be_gone, expit(odds), 0.0)
    return gone


def _logs(silent: ArrayLike) -> tuple[Floats, Floats]:
    """log(s) and -log(1 - s), both within the limits of risk.py."""
    with np.errstate(divide="ignore"):
        inverse = np.clip(1 / (1 - np.asarray(silent, float)), SMALLEST, LARGEST)
    return np.log(1 - 1 / inverse), np.log(inverse)


def _four(parameters: Parameters) -> Floats:
    return np.array([parameters.r, parameters.alpha, parameters.a, parameters.b])


def _checked(
    frequency: ArrayLike, recency: ArrayLike, age: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    x, t_x, T = (np.atleast_1d(np.asarray(each, float)) for each in (frequency, recency, age))
    if not x.shape == t_x.shape == T.shape or x.ndim != 1:
        raise ValueError("Frequency, recency and age must be one-dimensional and of equal length.")
    good = (x >= 0) & (t_x >= 0) & (t_x <= T) & ((x > 0) | (t_x == 0)) & np.isfinite(T)
    if not good.all():
        place = int(np.argmin(good))
        raise ValueError(f"Impossible history: {x[place]:g}, {t_x[place]:g}, {T[place]:g}.")
    return x, t_x, T

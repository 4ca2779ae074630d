"""Fitting the models of churn, and testing what was fitted. NumPy and SciPy, no Django.

Of MBG/NBD see churn.py. BG/NBD (Fader, Hardie, Lee 2005, "Counting your customers the easy way") is
here to compare with: in it nobody leaves before the second active day, so that a player of one day
is alive for ever.

Arrays in and arrays out: the frequency is the number of active days after the first, the recency
lies between the first and the last of them, the age between the first and now. The unit of time is
whatever the two are given in; Ilara fits days, the literature weeks. All is computed in logarithms,
and the same data give the same figures.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, gammaln, psi

from players.churn_model.risk import Parameters

type Floats = NDArray[np.float64]
type Model = Literal["mbg", "bg"]

# A normal distribution with this deviation around 0, on the logarithm of each parameter: far too
# wide to matter where the data say something, and an anchor where they do not, as in a game that
# nobody has left yet.
ANCHOR = 10.0
START = (1.0, 5.0, 1.0, 3.0)
# Of log parameters: nothing within is an overflow, and no data need more.
BOUND = 14.0
BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """The players whose score lay from `start` to `start + 0.1`: how many, their mean score, and
    which share of them was not seen in the days after."""

    start: float
    players: int
    score: float
    silent: float


@dataclass(frozen=True, slots=True)
class Backtest:
    """How well scores foretold who would not be seen. `brier` is the mean squared error, 0 at best;
    `base_rate` is the share of the silent, and telling everybody that rate would score
    `base_rate * (1 - base_rate)`. `bins` are ten, from the lowest scores to the highest."""

    players: int
    brier: float
    base_rate: float
    bins: tuple[Bin, ...]


def fit(
    frequency: ArrayLike, recency: ArrayLike, age: ArrayLike, model: Model = "mbg"
) -> Parameters:
    """The parameters under which these players are likeliest. `log_likelihood` is that of all of
    them. Raises ValueError for no players, and where recency or age cannot be."""
    x, t_x, T = _checked(frequency, recency, age)
    if not len(x):
        raise ValueError("There is nobody to fit.")
    # Many players of a few weeks have the same history, which is then computed once.
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
    """Of all these players together."""
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
    """The probability that each of them is still a player. churn.py has MBG/NBD for one."""
    x, t_x, T = _checked(frequency, recency, age)
    r, alpha, a, b = _four(parameters)
    return 1 - _p_gone(r, alpha, a, b, x, t_x, T, _chances(model))


def backtest(scores: ArrayLike, silent: ArrayLike) -> Backtest:
    """Hold risk scores (0..1) against who was not seen afterwards."""
    score, was_silent = np.asarray(scores, float), np.asarray(silent, float)
    place = np.minimum((score * BINS).astype(int), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):  # of an empty bin
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
    """How many more chances to leave than active days after the first."""
    return 1 if model == "mbg" else 0


def likelihood_of(
    x: Floats, t_x: Floats, T: Floats, weights: Floats, model: Model
) -> Callable[[Floats], tuple[float, Floats]]:
    """The log-likelihood of these histories as a function of r, alpha, a, b, with its slope."""
    chances = _chances(model)
    # Whoever cannot have left yet, which is a BG/NBD player of one day, has no such term.
    may_be_gone = x + chances > 0
    before = np.where(may_be_gone, x - 1 + chances, 0)

    def at(parameters: Floats) -> tuple[float, Floats]:
        r, alpha, a, b = parameters
        # The one term is that the player is alive, the other that they left after the last day.
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


def _four(parameters: Parameters) -> Floats:
    return np.array([parameters.r, parameters.alpha, parameters.a, parameters.b])


def _checked(
    frequency: ArrayLike, recency: ArrayLike, age: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    x, t_x, T = (np.atleast_1d(np.asarray(each, float)) for each in (frequency, recency, age))
    if not x.shape == t_x.shape == T.shape or x.ndim != 1:
        raise ValueError("Frequency, recency and age are three columns of one length.")
    good = (x >= 0) & (t_x >= 0) & (t_x <= T) & ((x > 0) | (t_x == 0)) & np.isfinite(T)
    if not good.all():
        place = int(np.argmin(good))
        raise ValueError(f"No player has the history {x[place]:g}, {t_x[place]:g}, {T[place]:g}.")
    return x, t_x, T

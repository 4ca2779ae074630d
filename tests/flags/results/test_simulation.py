"""Simulated experiments, seeded: how often a difference is called where there is none, how often
one is found where there is, and how much CUPED narrows intervals."""

from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest

from flags.results.statistics import ALPHA, Arm, Lift, alpha_of_each, compare, players_needed

pytestmark = pytest.mark.slow

type Values = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
type Kind = Callable[[np.random.Generator, tuple[int, int]], Values]

EXPERIMENTS = 400
EACH = 50  # players of an arm between two looks
PLAYERS = 10_000  # of an arm
SHAPE = (EXPERIMENTS, PLAYERS)
PROMISED = 0.05
# Two standard errors of such a share.
ALLOWED = PROMISED + 2 * sqrt(PROMISED * (1 - PROMISED) / EXPERIMENTS)


def sessions(rng: np.random.Generator, shape: tuple[int, int]) -> Values:
    """Per player, with mean 6 and variance 24."""
    return rng.negative_binomial(2, 0.25, shape).astype(float)


def share(rng: np.random.Generator, shape: tuple[int, int]) -> Values:
    return (rng.random(shape) < 0.05).astype(float)


def revenue(rng: np.random.Generator, shape: tuple[int, int]) -> Values:
    """Of 10 % payers, with a long tail."""
    return np.where(rng.random(shape) < 0.1, rng.lognormal(1.5, 1, shape), 0.0)


KINDS = (sessions, share, revenue)


def sums_of(*columns: Values, each: int = EACH) -> Values:
    """The sums of an arm by experiment and look. A column has the players of an experiment in a
    row, in the order of their exposures."""
    shape = (len(columns[0]), -1, each)
    return np.stack([column.reshape(shape).sum(axis=2).cumsum(axis=1) for column in columns], 2)


def called_in(
    control: Values, other: Values, called: Callable[[Lift], bool], *, each: int = EACH,
    tolerance: float = 0.0, alpha: float = ALPHA,
) -> set[int]:  # fmt: skip
    """The experiments in which `called` is true at any look. Looks at which the difference
    to the tolerance is below two standard errors are left out, as no interval is so narrow."""
    a, b = sums_of(control, control**2, each=each), sums_of(other, other**2, each=each)
    players = each * np.arange(1, a.shape[1] + 1)
    ratio = 1 + tolerance
    difference = (b[..., 0] - ratio * a[..., 0]) / players
    variance = (b[..., 1] - b[..., 0] ** 2 / players) / players
    variance += ratio**2 * (a[..., 1] - a[..., 0] ** 2 / players) / players
    found = set()
    for experiment, look in np.argwhere(np.abs(difference) > 2 * np.sqrt(variance / players)):
        count = int(players[look])
        first, second = (Arm(count, *sums[experiment, look].tolist()) for sums in (a, b))
        lift = compare(first, second, alpha)
        if lift is not None and called(lift):
            found.add(experiment)
    return found


def share_called(
    control: Values, other: Values, called: Callable[[Lift], bool], *, each: int = EACH,
    tolerance: float = 0.0,
) -> float:  # fmt: skip
    found = called_in(control, other, called, each=each, tolerance=tolerance)
    return len(found) / len(control)


@pytest.mark.parametrize("kind", KINDS)
def test_no_effect__is_called_a_difference_as_seldom_as_promised(kind: Kind) -> None:
    rng = np.random.default_rng(20)
    called = share_called(kind(rng, SHAPE), kind(rng, SHAPE), lambda lift: lift.differs)
    assert called <= ALLOWED


@pytest.mark.parametrize("treatments", [2, 4])
def test_no_effect_in_several_variants__is_called_a_difference_as_seldom_as_promised(
    treatments: int,
) -> None:
    """In any of them. With a level of 95 % each, it is called in 5.5 % and 10 % here."""
    rng = np.random.default_rng(24)
    control, *others = (share(rng, SHAPE) for _ in range(1 + treatments))
    alpha = alpha_of_each(treatments)
    called = [called_in(control, each, lambda lift: lift.differs, alpha=alpha) for each in others]
    assert len(set[int]().union(*called)) / EXPERIMENTS <= PROMISED


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_at_the_tolerance__breaches_a_guard_as_seldom_as_promised(kind: Kind) -> None:
    rng = np.random.default_rng(21)
    control, other = kind(rng, SHAPE), 1.1 * kind(rng, SHAPE)
    breached = share_called(control, other, lambda lift: lift.low > 0.1, tolerance=0.1)
    assert breached <= ALLOWED


def test_an_effect_of_5_percent__is_found_by_the_planned_size() -> None:
    rng = np.random.default_rng(22)
    looks = 20
    each = players_needed(6, 24, 0.05) // 2 // looks
    shape = (EXPERIMENTS, each * looks)
    control, other = sessions(rng, shape), 1.05 * sessions(rng, shape)
    assert share_called(control, other, lambda lift: lift.low > 0, each=each) >= 0.8


@pytest.mark.parametrize("correlation", [0.3, 0.6, 0.9])
def test_cuped__narrows_intervals_as_the_correlation_predicts(correlation: float) -> None:
    rng = np.random.default_rng(23)
    players = 1000

    def arms() -> list[Arm]:
        before = rng.normal(10, 3, (EXPERIMENTS, players))
        own = rng.normal(0, 3, (EXPERIMENTS, players))
        values = 5 + correlation * before + sqrt(1 - correlation**2) * own
        columns = (values, values**2, before, before**2, values * before)
        return [Arm(players, *row) for (row,) in sums_of(*columns, each=players).tolist()]

    widths, called = [], 0
    for control, other in zip(arms(), arms(), strict=True):
        lift = compare(control, other)
        plain = compare(
            Arm(players, control.total, control.squares), Arm(players, other.total, other.squares)
        )
        assert lift is not None
        assert plain is not None
        widths.append((lift.high - lift.low) / (plain.high - plain.low))
        called += lift.differs
    assert np.mean(widths) == pytest.approx(sqrt(1 - correlation**2), abs=0.01)
    assert called / EXPERIMENTS <= ALLOWED

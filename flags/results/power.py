"""How many players an experiment needs, from a metric's earlier results or a typed rate."""

from typing import NamedTuple

from flags.models import ExperimentResult, Metric
from flags.results.metric_definition import SHARES
from flags.results.reading import arms_of
from flags.results.statistics import MIN_PLAYERS, Arm, alpha_of_each, players_needed


class PowerPlan(NamedTuple):
    """`players` in all variants together, or why there is no answer."""

    players: int | None
    text: str


def plan_of(metric: Metric | None, effect: float, rate: float | None, variants: int) -> PowerPlan:
    """The players until an effect, such as 0.05 for 5 %, can be seen between the control and one of
    the other variants. `variants`, at least two, counts the control. `rate`, from 0 to 1, is of a
    metric that is a share."""
    if metric is None:
        return PowerPlan(None, "Choose the primary metric first.")
    moments = _typed(metric, rate) or _earlier(metric)
    if moments is None:
        if metric.kind in SHARES:
            return PowerPlan(None, f"Give the rate of {metric.key} now: it has no earlier results.")
        return PowerPlan(
            None, f"{metric.key} has no earlier results, so its variance is not known before the "
            "start."
        )  # fmt: skip
    mean, variance = moments
    try:
        alpha = alpha_of_each(variants - 1)
        players = players_needed(mean, variance, effect, arms=variants, alpha=alpha)
    except ValueError:
        return PowerPlan(None, "The effect and the variance must not be 0.")
    return PowerPlan(players, f"of {metric.key}, found in 80 % of such experiments")


def _typed(metric: Metric, rate: float | None) -> tuple[float, float] | None:
    if rate is None or metric.kind not in SHARES:
        return None
    return rate, rate * (1 - rate)


def _earlier(metric: Metric) -> tuple[float, float] | None:
    """Mean and variance in the newest result with enough players, of the arm with most of them."""
    results = ExperimentResult.objects.filter(metric=metric).order_by("-computed_at")
    for result in results.defer("breakdowns")[:20]:
        arms = arms_of(result.arms).values()
        largest = max(arms, key=lambda arm: arm.players, default=Arm(0, 0.0, 0.0))
        if largest.players >= MIN_PLAYERS and largest.mean and largest.variance:
            return largest.mean, largest.variance
    return None

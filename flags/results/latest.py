"""The newest stored results of an experiment, and their form in the API."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flags.models import (
    Experiment,
    ExperimentDay,
    ExperimentMetric,
    Metric,
    MetricDirection,
    MetricKind,
)
from flags.results import schemas
from flags.results.metric_definition import unit_of
from flags.results.outcome import (
    ROLES,
    Measure,
    MeasureOutcome,
    VariantOutcome,
    is_trusted,
    ordered,
    outcome_of,
)
from flags.results.reading import arms_of, newest_day, results_on
from flags.results.statistics import UNBOUNDED

# Of kinds whose values may be below 0.
SIGNED = {MetricKind.SUM, MetricKind.MEAN}


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """The results of a metric. `breakdowns` are as in ExperimentResult."""

    metric: Metric
    outcome: MeasureOutcome
    breakdowns: dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class LatestResults:
    """`day` is None before the first refresh of the phase. `outcomes` has all metrics of the
    experiment: the primary one, then guards, then others."""

    experiment: Experiment
    day: ExperimentDay | None
    outcomes: Sequence[StoredOutcome]

    @property
    def is_trusted(self) -> bool:
        return self.day is None or is_trusted(self.day.ratio_p)

    @property
    def variants(self) -> list[str]:
        """The control first."""
        players = self.day.players if self.day else {}
        return ordered(players, self.experiment.control)


def latest_results(experiment: Experiment) -> LatestResults:
    """The newest results of the current phase. Three statements."""
    day = newest_day(experiment)
    results = {each.metric_id: each for each in results_on(day)} if day else {}
    uses = ExperimentMetric.objects.filter(experiment=experiment).select_related("metric")
    found = []
    for use in sorted(uses, key=lambda each: (ROLES.index(each.role), each.position)):
        result = results.get(use.metric_id)
        outcome = outcome_of(
            measure_of(use, experiment),
            arms_of(result.arms if result else {}),
            experiment.control,
            trusted=day is None or is_trusted(day.ratio_p),
            variants=day.players if day else (),
        )
        found.append(StoredOutcome(use.metric, outcome, (result and result.breakdowns) or {}))
    return LatestResults(experiment, day, found)


def measure_of(use: ExperimentMetric, experiment: Experiment) -> Measure:
    metric = use.metric
    return Measure(
        key=metric.key,
        name=metric.name,
        kind=metric.kind,
        unit=unit_of(metric.kind, metric.unit, experiment.environment.currency),
        role=use.role,
        higher_is_better=metric.direction == MetricDirection.UP,
        tolerance=use.tolerance,
        window_days=metric.window_days,
        signed=metric.kind in SIGNED,
    )


# --- JSON -----------------------------------------------------------------------------------------


def results_json(latest: LatestResults) -> schemas.ExperimentResults:
    """The results as the API returns them."""
    experiment, day = latest.experiment, latest.day
    left_out = day.left_out if day else {}
    return schemas.ExperimentResults(
        experiment=experiment.key,
        name=experiment.name,
        flag_key=experiment.flag.key,
        kind=schemas.ResultKind(experiment.kind),
        state=schemas.ResultState(experiment.state),
        control=experiment.control,
        phase=experiment.phase,
        phase_at=experiment.phase_at,
        ended_at=experiment.ended_at,
        decision=schemas.ResultDecision(experiment.decision) if experiment.decision else None,
        decided_variant=experiment.decided_variant,
        computed_at=day.computed_at if day else None,
        players={each: day.players[each] for each in latest.variants} if day else {},
        left_out=schemas.LeftOut(
            overridden=left_out.get("overridden", 0),
            two_variants=left_out.get("two", 0),
            outside_population=left_out.get("population", 0),
        ),
        sample_ratio=schemas.SampleRatio(
            p_value=day.ratio_p if day else None,
            trusted=latest.is_trusted,
            places=[_place(each) for each in day.places] if day else [],
        ),
        metrics=[_metric(each.outcome) for each in latest.outcomes],
    )


def _place(place: dict[str, Any]) -> schemas.RatioPlace:
    return schemas.RatioPlace(
        schemas.ResultDimension(place["dimension"]), place["group"], place["players"], place["p"]
    )


def _metric(outcome: MeasureOutcome) -> schemas.MetricResult:
    measure, control = outcome.measure, outcome.control
    return schemas.MetricResult(
        metric=measure.key,
        name=measure.name,
        role=schemas.ResultRole(measure.role),
        kind=measure.kind,
        unit=measure.unit,
        direction=schemas.ResultDirection.UP
        if measure.higher_is_better
        else schemas.ResultDirection.DOWN,
        tolerance=measure.tolerance,
        window_days=measure.window_days,
        level=outcome.level,
        variants=[
            schemas.VariantResult(
                variant=outcome.control_variant,
                players=control.players,
                mean=control.mean,
                lift=None,
                low=None,
                high=None,
                p_value=None,
                adjusted=False,
                verdict=None,
            ),
            *map(_variant, outcome.comparisons),
        ],
    )


def _variant(found: VariantOutcome) -> schemas.VariantResult:
    lift = found.lift
    return schemas.VariantResult(
        variant=found.variant,
        players=found.arm.players,
        mean=found.arm.mean,
        lift=lift.lift if lift else None,
        low=lift.low if lift else None,
        high=lift.high if lift and lift.high < UNBOUNDED else None,
        p_value=lift.p if lift else None,
        adjusted=bool(lift and lift.adjusted),
        verdict=found.verdict,
    )

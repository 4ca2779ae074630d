"""The newest stored results of an experiment, those by day, and their form in the API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from msgspec import UNSET

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
from flags.results.reading import arms_of, newest_day, results_by_day, results_on
from flags.results.statistics import UNBOUNDED, Arm, Lift

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

    def outcome_of_sums(self, measure: Measure, arms: Mapping[str, Any]) -> MeasureOutcome:
        """The outcome of other stored sums of a metric, with intervals of the same level."""
        return outcome_of(
            measure,
            arms_of(arms),
            self.experiment.control,
            trusted=self.is_trusted,
            variants=self.variants,
        )


class DayOutcome(NamedTuple):
    """The results as of the end of a UTC day, since the start of the phase. Of the newest day, as
    of the last refresh."""

    day: date
    outcome: MeasureOutcome


type ByDay = Mapping[int, Sequence[DayOutcome]]  # by the id of the metric, in order of the days


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


def outcomes_by_day(latest: LatestResults) -> ByDay:
    """The days of the current phase that have results. One statement."""
    found: dict[int, list[DayOutcome]] = {each.metric.pk: [] for each in latest.outcomes}
    measures = {each.metric.pk: each.outcome.measure for each in latest.outcomes}
    for result in results_by_day(latest.experiment):
        if measure := measures.get(result.metric_id):
            outcome = latest.outcome_of_sums(measure, result.arms)
            found[result.metric_id].append(DayOutcome(result.day, outcome))
    return found


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


def results_json(latest: LatestResults, by_day: ByDay | None = None) -> schemas.ExperimentResults:
    """The results as the API returns them, without the days unless they are given."""
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
        metrics=[
            _metric(each.outcome, None if by_day is None else by_day[each.metric.pk])
            for each in latest.outcomes
        ],
    )


def _place(place: dict[str, Any]) -> schemas.RatioPlace:
    return schemas.RatioPlace(
        schemas.ResultDimension(place["dimension"]), place["group"], place["players"], place["p"]
    )


def _metric(outcome: MeasureOutcome, days: Sequence[DayOutcome] | None) -> schemas.MetricResult:
    measure = outcome.measure
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
                **_figures(outcome.control_variant, outcome.control, None),
                p_value=None,
                adjusted=False,
                verdict=None,
            ),
            *map(_variant, outcome.comparisons),
        ],
        days=UNSET if days is None else [_day(each) for each in days],
    )


def _day(found: DayOutcome) -> schemas.DayResult:
    outcome = found.outcome
    arms: list[tuple[str, Arm, Lift | None]] = [
        (outcome.control_variant, outcome.control, None),
        *((each.variant, each.arm, each.lift) for each in outcome.comparisons),
    ]
    return schemas.DayResult(
        found.day, [schemas.VariantFigures(**_figures(*each)) for each in arms]
    )


def _variant(found: VariantOutcome) -> schemas.VariantResult:
    lift = found.lift
    return schemas.VariantResult(
        **_figures(found.variant, found.arm, lift),
        p_value=lift.p if lift else None,
        adjusted=bool(lift and lift.adjusted),
        verdict=found.verdict,
    )


def _figures(variant: str, arm: Arm, lift: Lift | None) -> dict[str, Any]:
    return {
        "variant": variant,
        "players": arm.players,
        "mean": arm.mean,
        "lift": lift.lift if lift else None,
        "low": lift.low if lift else None,
        "high": lift.high if lift and lift.high < UNBOUNDED else None,
    }

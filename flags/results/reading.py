"""Stored results, for pages and guards."""

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet

from flags.models import Experiment, ExperimentDay, ExperimentResult
from flags.results.statistics import Arm


def newest_day(experiment: Experiment, phase: int | None = None) -> ExperimentDay | None:
    """The newest row of a phase, by default the current one; None before the first refresh."""
    return days_of(experiment, phase).last()


def days_of(experiment: Experiment, phase: int | None = None) -> QuerySet[ExperimentDay]:
    """The days of a phase in order."""
    number = experiment.phase if phase is None else phase
    return ExperimentDay.objects.filter(experiment=experiment, phase=number).order_by("day")


def results_on(day: ExperimentDay) -> QuerySet[ExperimentResult]:
    """The results of all metrics on a day."""
    return ExperimentResult.objects.filter(
        experiment_id=day.experiment_id, phase=day.phase, day=day.day
    )


def results_by_day(experiment: Experiment) -> QuerySet[ExperimentResult]:
    """The results of all metrics in the current phase in order of the days, without breakdowns."""
    found = ExperimentResult.objects.filter(experiment=experiment, phase=experiment.phase)
    return found.order_by("day").defer("breakdowns")


def arms_of(stored: Mapping[str, Any]) -> dict[str, Arm]:
    """Stored arms by variant: ExperimentResult.arms, or those of a group of a breakdown."""
    return {variant: Arm(**sums) for variant, sums in stored.items()}

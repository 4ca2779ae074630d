"""The results of an experiment on its page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from flags.models import Experiment, ExperimentState
from flags.results.latest import (
    DayOutcome,
    LatestResults,
    StoredOutcome,
    latest_results,
    outcomes_by_day,
)
from flags.results.outcome import (
    PRIMARY,
    Measure,
    MeasureOutcome,
    VariantOutcome,
)
from flags.results.result_text import (
    DIMENSIONS,
    ROLE_NAMES,
    TONES,
    adjusted_text,
    group_text,
    left_out_text,
    level_text,
    mean_text,
    p_text,
    power_text,
    verdict_text,
)
from flags.results.statistics import UNBOUNDED, Lift
from ilara_admin.web.chart_axes import PERCENT, time_axis, value_text
from ilara_admin.web.charts import (
    Chart,
    ChartInterval,
    ChartSeries,
    Intervals,
    intervals,
    lines,
)

LATE = timedelta(minutes=10)  # without a refresh, while it runs
LEAST_DAYS = 2  # for a chart by day


@dataclass(frozen=True, slots=True)
class VariantRow:
    """A variant in the table of a metric. `verdict` is "" for the control."""

    variant: str
    players: int
    mean: str
    p: str
    verdict: str
    tone: str


@dataclass(frozen=True, slots=True)
class MetricPanel:
    """A metric of the page. `chart` is None without a lift. `by_day` has a chart for each variant
    that ever had one."""

    measure: Measure
    role: str
    rows: Sequence[VariantRow]
    chart: Intervals | None
    notes: Sequence[str]
    by_day: Sequence[Chart]
    breakdowns: Sequence[Intervals]

    @property
    def is_primary(self) -> bool:
        return self.measure.role == PRIMARY


def results_of(experiment: Experiment, now: datetime) -> dict[str, Any]:
    """The context of flags/results/_results.html, from stored rows. Four statements."""
    latest = latest_results(experiment)
    day = latest.day
    if day is None:
        return {"experiment": experiment, "day": None, "total": 0}
    total = sum(day.players.values())
    is_running = experiment.state == ExperimentState.RUNNING
    return {
        "experiment": experiment,
        "day": day,
        "total": total,
        "is_trusted": latest.is_trusted,
        "is_late": is_running and now - day.computed_at > LATE,
        "variants": [
            {
                "key": key,
                "players": day.players[key],
                "share": day.players[key] / total if total else 0,
            }
            for key in latest.variants
        ],
        "places": [
            {
                "dimension": DIMENSIONS[place["dimension"]],
                "group": group_text(place["dimension"], place["group"]),
                "players": [place["players"].get(key, 0) for key in latest.variants],
            }
            for place in day.places
        ],
        "left_out": [
            left_out_text(reason, count) for reason, count in day.left_out.items() if count
        ],
        "panels": _panels(latest),
    }


def _panels(latest: LatestResults) -> list[MetricPanel]:
    by_day = outcomes_by_day(latest)
    return [_panel(each, by_day[each.metric.pk], latest) for each in latest.outcomes]


def _panel(stored: StoredOutcome, days: Sequence[DayOutcome], latest: LatestResults) -> MetricPanel:
    outcome = stored.outcome
    measure = outcome.measure
    return MetricPanel(
        measure=measure,
        role=ROLE_NAMES[measure.role],
        rows=_rows(outcome),
        chart=_chart(outcome),
        notes=[
            text
            for text in (level_text(outcome), adjusted_text(outcome), power_text(outcome))
            if text
        ],
        by_day=_by_day(outcome, days),
        breakdowns=_breakdowns(stored, latest),
    )


def _rows(outcome: MeasureOutcome) -> list[VariantRow]:
    measure, control = outcome.measure, outcome.control
    text = mean_text(measure, control.players, control.mean)
    rows = [VariantRow(outcome.control_variant, control.players, text, "", "", "")]
    for each in outcome.comparisons:
        text = mean_text(measure, each.arm.players, each.arm.mean)
        rows.append(
            VariantRow(
                each.variant, each.arm.players, text, p_text(each.lift),
                verdict_text(measure, each), TONES.get(each.verdict, ""),
            )
        )  # fmt: skip
    return rows


def _chart(outcome: MeasureOutcome) -> Intervals | None:
    if not any(each.lift for each in outcome.comparisons):
        return None
    rows = [_interval(each.variant, each.lift) for each in outcome.comparisons]
    level = value_text(100 * outcome.level, PERCENT)
    label = f"Change compared with {outcome.control_variant}, {level} interval"
    return intervals(rows, label=label, unit=PERCENT)


def _interval(name: str, lift: Lift | None) -> ChartInterval:
    if lift is None:
        return ChartInterval(name, None, None, None)
    return ChartInterval(name, *(_percentage(each) for each in (lift.low, lift.lift, lift.high)))


def _percentage(part: float) -> float | None:
    return None if abs(part) >= UNBOUNDED else round(100 * part, 2)


def _by_day(outcome: MeasureOutcome, days: Sequence[DayOutcome]) -> list[Chart]:
    """The lift with its limits as of the end of each day, by variant."""
    if len(days) < LEAST_DAYS:
        return []
    axis = time_axis([datetime.combine(each.day, time(), UTC) for each in days])
    charts = []
    for variant in (each.variant for each in outcome.comparisons):
        lifts = [_lift_in(each.outcome, variant) for each in days]
        if not any(lifts):
            continue
        found = [_interval(variant, lift) for lift in lifts]
        series = [
            ChartSeries("Change", [each.estimate for each in found]),
            ChartSeries("Lower limit", [each.low for each in found]),
            ChartSeries("Upper limit", [each.high for each in found]),
        ]
        charts.append(lines(axis, series, label=f"Change of {variant} by UTC day", unit=PERCENT))
    return charts


def _breakdowns(stored: StoredOutcome, latest: LatestResults) -> list[Intervals]:
    """The lifts by group of players; largest groups first. Groups in which nothing can be compared
    are left out."""
    charts = []
    measure = stored.outcome.measure
    for dimension, label in DIMENSIONS.items():
        groups = stored.breakdowns.get(dimension, {})
        rows: list[ChartInterval] = []
        for group, arms in sorted(groups.items(), key=_by_size):
            outcome = latest.outcome_of_sums(measure, arms)
            rows += [
                _interval(_group_name(dimension, group, each, outcome), each.lift)
                for each in outcome.comparisons
                if each.lift
            ]
        if rows:
            charts.append(intervals(rows, label=f"By {label.lower()}", unit=PERCENT))
    return charts


def _by_size(item: tuple[str, dict[str, Any]]) -> tuple[int, str]:
    group, arms = item
    return -sum(arm["players"] for arm in arms.values()), group


def _group_name(dimension: str, group: str, found: VariantOutcome, outcome: MeasureOutcome) -> str:
    name = group_text(dimension, group)
    return f"{name}, {found.variant}" if len(outcome.comparisons) > 1 else name


def _lift_in(outcome: MeasureOutcome, variant: str) -> Lift | None:
    return next((each.lift for each in outcome.comparisons if each.variant == variant), None)

"""The results of an experiment as a JSON snapshot, which its decision keeps.

    {"at": "2026-06-01T09:00:00+00:00", "phase": 1, "control": "A",
     "players": {"A": 5120, "B": 5034}, "left_out": {"two": 12}, "ratio_p": 0.39,
     "metrics": [{"key": "revenue", "name": "Revenue", "role": "primary", "direction": "up",
                  "tolerance": null, "means": {"A": 0.21, "B": 0.24},
                  "lifts": {"B": {"lift": 0.14, "low": 0.02, "high": 0.26, "p": 0.01}}}]}

A lift is null below 100 players in either variant, or where too little happened to compare.
"""

from collections.abc import Mapping
from typing import Any

from flags.models import Experiment, ExperimentMetric
from flags.results.reading import arms_of, newest_day, results_on
from flags.results.statistics import UNBOUNDED, Arm, Lift, compare


def evidence_of(experiment: Experiment) -> dict[str, Any] | None:
    """The newest results; None before the first refresh of the phase."""
    day = newest_day(experiment)
    if day is None:
        return None
    arms = {result.metric_id: arms_of(result.arms) for result in results_on(day)}
    uses = ExperimentMetric.objects.filter(experiment=experiment).select_related("metric")
    return {
        "at": day.computed_at.isoformat(),
        "phase": day.phase,
        "control": experiment.control,
        "players": day.players,
        "left_out": day.left_out,
        "ratio_p": day.ratio_p,
        "metrics": [
            _metric(use, experiment.control, arms.get(use.metric_id, {}))
            for use in uses.order_by("position")
        ],
    }


def _metric(use: ExperimentMetric, control: str, arms: Mapping[str, Arm]) -> dict[str, Any]:
    return {
        "key": use.metric.key,
        "name": use.metric.name,
        "role": str(use.role),
        "direction": str(use.metric.direction),
        "tolerance": use.tolerance,
        "means": {variant: arm.mean for variant, arm in arms.items() if arm.players},
        "lifts": lifts_of(control, arms),
    }


def lifts_of(control: str, arms: Mapping[str, Arm]) -> dict[str, dict[str, float] | None]:
    """The lift of each other variant, None without a verdict."""
    base = arms.get(control)
    return {
        variant: _limits(compare(base, arm) if base else None)
        for variant, arm in arms.items()
        if variant != control
    }


def _limits(lift: Lift | None) -> dict[str, float] | None:
    if lift is None:
        return None
    return {"lift": lift.lift, "low": lift.low, "high": lift.high, "p": lift.p}


def share_sentence(lift: Mapping[str, float] | None) -> str:
    """`+4.2 % (0.9 to 7.6 %)` of a lift."""
    if lift is None:
        return "no verdict yet"
    if lift["high"] >= UNBOUNDED:
        return f"at least {100 * lift['low']:+.1f} %"
    figures = (lift[name] * 100 for name in ("lift", "low", "high"))
    return "{:+.1f} % ({:+.1f} to {:+.1f} %)".format(*figures)


def tone_of(lift: Mapping[str, float] | None, direction: str) -> str:
    """`ok` or `danger` for a lift that differs from no change, "" for others."""
    if lift is None or lift["low"] <= 0 <= lift["high"]:
        return ""
    return "ok" if (lift["lift"] > 0) == (direction == "up") else "danger"

"""The results that a decision keeps: as the API returned them then, and how its page shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from flags.models import Experiment
from flags.results.latest import latest_results, results_json
from flags.results.outcome import Measure, ResultVerdict, VariantOutcome
from flags.results.result_text import TONES, mean_text, p_text, verdict_text
from flags.results.statistics import UNBOUNDED, Arm, Lift


def evidence_of(experiment: Experiment) -> Any:
    """The newest results, as JSON data."""
    return msgspec.to_builtins(results_json(latest_results(experiment)))


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """A variant in the table of a snapshot. `verdict` is "" for the control."""

    metric: str
    role: str
    is_first: bool
    variant: str
    players: int
    mean: str
    p: str
    verdict: str
    tone: str


def evidence_rows(evidence: Mapping[str, Any]) -> list[EvidenceRow]:
    """A row for each metric and variant, of a snapshot by evidence_of."""
    return [
        _row(metric, found, is_first=not number)
        for metric in evidence["metrics"]
        for number, found in enumerate(metric["variants"])
    ]


def _row(metric: Mapping[str, Any], found: Mapping[str, Any], *, is_first: bool) -> EvidenceRow:
    measure = Measure(
        key=metric["metric"],
        name=metric["name"],
        kind=metric["kind"],
        unit=metric["unit"],
        role=metric["role"],
        higher_is_better=metric["direction"] == "up",
        tolerance=metric["tolerance"],
    )
    lift = _lift(found)
    verdict = ResultVerdict(found["verdict"]) if found["verdict"] else None
    outcome = verdict and VariantOutcome(found["variant"], Arm(0, 0.0, 0.0), lift, verdict)
    return EvidenceRow(
        metric=measure.key,
        role=measure.role,
        is_first=is_first,
        variant=found["variant"],
        players=found["players"],
        mean=mean_text(measure, found["players"], found["mean"]),
        p=p_text(lift) if outcome else "",
        verdict=verdict_text(measure, outcome) if outcome else "",
        tone=TONES.get(verdict, "") if verdict else "",
    )


def _lift(found: Mapping[str, Any]) -> Lift | None:
    if found["lift"] is None:
        return None
    high = UNBOUNDED if found["high"] is None else found["high"]
    return Lift(
        control_mean=0.0, mean=found["mean"], lift=found["lift"], low=found["low"], high=high,
        p=found["p_value"],
    )  # fmt: skip

"""The experiments and guarded rollouts of a flag, for its page."""

from collections.abc import Mapping, Sequence
from typing import Any

from flags.engine.document import DocumentError, Rule
from flags.models import Experiment, ExperimentState, Flag
from flags.results.measured import why_not_measured

SHOWN = 5
STATES = {
    ExperimentState.DRAFT: "Draft",
    ExperimentState.RUNNING: "Running",
    ExperimentState.STOPPED: "Stopped",
    ExperimentState.DECIDED: "Decided",
}
TONES = {ExperimentState.RUNNING: "ok", ExperimentState.STOPPED: "warn"}


def state_of(experiment: Experiment) -> dict[str, str]:
    """The state as text, and its tone."""
    state = ExperimentState(experiment.state)
    text = STATES[state]
    if experiment.decision == "ship":
        text = f"Shipped {experiment.decided_variant}"
    elif state == ExperimentState.DECIDED:
        text = "Decided to stop"
    return {"state": text, "tone": TONES.get(state, "")}


def measured_by(flag: Flag) -> list[dict[str, Any]]:
    """The newest experiments of the flag, running ones first, with the number of their rule, 0 if
    it was removed."""
    try:
        rules: Sequence[Rule] = flag.spec.rules
    except DocumentError:
        rules = ()
    numbers = {rule.id: number for number, rule in enumerate(rules, start=1)}
    newest = Experiment.objects.filter(flag=flag).defer("evidence").order_by("-id")[: SHOWN * 2]
    found = sorted(newest, key=lambda each: each.state != ExperimentState.RUNNING)
    return [
        {"experiment": each, "number": numbers.get(each.rule_id, 0), **state_of(each)}
        for each in found[:SHOWN]
    ]


def measurable(flag: Flag, measured: Sequence[Mapping[str, Any]]) -> set[str]:
    """The ids of the flag's rules that an experiment can measure and none in `measured` does."""
    try:
        document = flag.spec
    except DocumentError:
        return set()
    keys = [variant.key for variant in document.variants]
    experiments = [each["experiment"] for each in measured]
    taken = {each.rule_id for each in experiments if each.state == ExperimentState.RUNNING}
    return {
        rule.id
        for rule in document.rules
        if rule.id not in taken
        and any(not why_not_measured(document, rule.id, key, is_rollout=False) for key in keys)
    }

"""The differences between two states of an experiment, as text for staff. Imports no Django."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ilara_admin.core import diff
from ilara_admin.core.diff import Change
from ilara_admin.core.percentages import as_percent, percent
from segments.language.parser import RuleError, parse
from segments.language.sentences import describe

ACTS = {
    "notify": "notify only",
    "hold": "hold the percentage",
    "step_back": "return to the last good percentage",
    "turn_off": "turn the flag off",
}
# What an entry of the history did.
ACT_WORDS = {
    "experiment.created": "created it",
    "experiment.updated": "changed it",
    "experiment.started": "started it",
    "experiment.stopped": "stopped it",
    "experiment.decided": "decided it",
    "experiment.breached": "saw a guard metric breached",
}
DECISIONS = {"": "none", "ship": "ship", "stop": "stop without shipping"}


def field_differences(
    before: Mapping[str, Any], after: Mapping[str, Any], at: datetime
) -> list[Change]:
    """The differences between some fields of an experiment, as the audit log stores them."""
    found: list[Change] = []
    for name in {**before, **after}:
        old, new = (side.get(name) for side in (before, after))
        if name not in _FIELDS:
            found += diff.differences({name: old}, {name: new}, at=at)
            continue
        label, text = _FIELDS[name]
        texts = [text(side[name]) if name in side else "" for side in (before, after)]
        if texts[0] != texts[1]:
            found.append(Change(label, *texts))
    return found


def metrics_text(uses: Sequence[Mapping[str, Any]]) -> str:
    """`revenue (primary), errors (guard, 5 %)`."""
    return ", ".join(map(_metric, uses)) or "none"


def _metric(use: Mapping[str, Any]) -> str:
    notes = [] if use["role"] == "secondary" else [use["role"]]
    if use.get("tolerance") is not None:
        notes.append(f"{share_text(use['tolerance'])} %")
    return f"{use['metric']} ({', '.join(notes)})" if notes else use["metric"]


def share_text(share: float) -> str:
    """`5` of 0.05, `2.5` of 0.025."""
    return f"{as_percent(round(share * 100_000))}"


def population_text(rule: Any) -> str:
    if rule is None:
        return "everyone"
    try:
        return describe(parse(rule))
    except RuleError as error:
        return f"not a valid rule ({error})"


def range_text(group: Any) -> str:
    """`10 % to 30 % of onboarding`."""
    if not group:
        return "none"
    return f"{percent(group['start'])} to {percent(group['end'])} of {group['key']}"


def _or_none(value: Any) -> str:
    return "none" if value in (None, "") else str(value)


def _number(value: Any) -> str:
    return "none" if value is None else f"{value:,}"


_FIELDS: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "flag": ("Flag", str),
    "kind": ("Kind", str),
    "state": ("State", str),
    "rule_id": ("Rule", str),
    "name": ("Name", str),
    "hypothesis": ("Hypothesis", _or_none),
    "control": ("Control", _or_none),
    "population": ("Population", population_text),
    "group": ("Group", range_text),
    "planned_players": ("Planned players", _number),
    "planned_end": ("Planned end", _or_none),
    "min_players": ("Players before a verdict", _number),
    "on_breach": ("On a breach", lambda act: ACTS.get(act, act)),
    "owner": ("Owner", _or_none),
    "metrics": ("Metrics", metrics_text),
    "decision": ("Decision", lambda decision: DECISIONS.get(decision, decision)),
    "decided_variant": ("Shipped variant", _or_none),
    "decision_reason": ("Reason of the decision", _or_none),
}

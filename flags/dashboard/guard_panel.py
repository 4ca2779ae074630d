"""The guards of a flag's rules, as its page shows them: how they stand, and what a breach did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q

from flags.engine.schedule import rollout_at
from flags.models import Experiment, ExperimentState, Flag, MetricRole, OnBreach
from flags.results.breach import MINUS, GuardReading, GuardVerdict, percent_text
from flags.results.measured import rule_of
from flags.results.rollouts import read_guards
from flags.results.statistics import UNBOUNDED
from ilara_admin.core.changes import may_undo
from ilara_admin.models import AuditAction, AuditEntry
from ilara_admin.web.htmx import HtmxHttpRequest

VERDICTS: Mapping[GuardVerdict, tuple[str, str]] = {
    GuardVerdict.EARLY: ("Too few players yet", "off"),
    GuardVerdict.TOLERABLE: ("Tolerable", "ok"),
    GuardVerdict.BREACHED: ("Breached", "danger"),
}


@dataclass(frozen=True, slots=True)
class GuardLine:
    """A guard as a row: `change` is its interval, "" without one."""

    metric: str
    better: str
    tolerance: str
    variant: str
    inside: int
    outside: int
    change: str
    verdict: str
    tone: str


@dataclass(frozen=True, slots=True)
class Breach:
    """What a guard saw and what was done, as sentences. `doubt` says that the sample ratio check
    failed then, "" if it did not. `undo` is the id of the change that this
    member of staff may undo, None without one."""

    at: datetime
    evidence: str
    doubt: str
    response: str
    undo: int | None
    goes_on: bool


@dataclass(frozen=True, slots=True)
class GuardedRule:
    """`rows` are those of a rollout that runs, whose sample ratio check fails unless `is_trusted`.
    `waits` says that its schedule has no players inside yet."""

    experiment: Experiment
    rows: Sequence[GuardLine]
    is_trusted: bool
    computed_at: datetime | None
    on_breach: str
    breach: Breach | None
    waits: bool


def guarded_rules(request: HtmxHttpRequest, flag: Flag) -> dict[str, GuardedRule]:
    """By the id of the rule: those with guards that run, or whose last change was a guard's."""
    found = Experiment.objects.filter(
        Q(state=ExperimentState.RUNNING) | Q(breached_at__isnull=False),
        flag=flag,
        metrics__role=MetricRole.GUARD,
    ).distinct()
    newest: dict[str, Experiment] = {}
    for experiment in found:
        experiment.flag = flag
        newest.setdefault(experiment.rule_id, experiment)
    running = [each for each in newest.values() if each.state == ExperimentState.RUNNING]
    reads = {each.experiment.pk: each for each in read_guards(running)} if running else {}
    shown = {}
    for rule_id, experiment in newest.items():
        breach = _breach(request, experiment) if experiment.breached_at else None
        read = reads.get(experiment.pk)
        if read is None and breach is None:
            continue
        shown[rule_id] = GuardedRule(
            experiment,
            [_row(each) for each in read.readings] if read else [],
            read is None or read.is_trusted,
            read.computed_at if read else None,
            OnBreach(experiment.on_breach).label.lower(),
            breach,
            _waits(experiment),
        )
    return shown


def _waits(experiment: Experiment) -> bool:
    if experiment.flag.problem:
        return False
    rule = rule_of(experiment.flag.spec, experiment.rule_id)
    return bool(rule and experiment.phase_at and not rollout_at(rule, experiment.phase_at))


def _row(reading: GuardReading) -> GuardLine:
    text, tone = VERDICTS[reading.verdict]
    lift = reading.lift
    change = ""
    if lift is not None:
        high = "more" if lift.high >= UNBOUNDED else percent_text(lift.high)
        change = f"{percent_text(lift.low)} to {high}"
    return GuardLine(
        reading.metric,
        "higher is better" if reading.up else "lower is better",
        f"{MINUS if reading.up else '+'}{percent_text(reading.tolerance)}",
        reading.variant,
        reading.other.players,
        reading.control.players,
        change,
        text,
        tone,
    )


def _breach(request: HtmxHttpRequest, experiment: Experiment) -> Breach | None:
    """The last breach, until the flag changes or a new phase begins."""
    assert experiment.breached_at
    entry = AuditEntry.objects.filter(
        environment=request.environment,
        action=AuditAction.EXPERIMENT_BREACHED,
        object_type="experiment",
        object_id=experiment.key,
    ).first()
    after: dict[str, Any] = (entry.after if entry else None) or {}
    goes_on = experiment.state == ExperimentState.RUNNING
    if goes_on:
        is_over = after.get("_phase") != experiment.phase
    else:
        is_over = after.get("_revision") != experiment.flag.revision
    if entry is None or is_over:
        return None
    changed = AuditEntry.objects.filter(pk=after["_entry"]).first() if after["_entry"] else None
    return Breach(
        experiment.breached_at,
        after["breach"],
        after.get("sample_ratio", ""),
        after["response"],
        changed.pk if changed and may_undo(changed, request.user) else None,
        goes_on,
    )

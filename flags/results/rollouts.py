"""Guarded rollouts: a change of a rule's percentage together with the guards that watch it, and how
these stand.

A guarded rollout is an experiment of that kind. It begins with the change, goes on in a new phase
with each later change of the rule, and ends by itself, see guards.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F

from flags import services as flag_services
from flags.engine.document import EVERYBODY, DocumentError, FlagDocument
from flags.models import (
    Experiment,
    ExperimentDay,
    ExperimentKind,
    ExperimentMetric,
    ExperimentResult,
    ExperimentState,
    Flag,
    Metric,
    MetricDirection,
    MetricKind,
    MetricRole,
    OnBreach,
)
from flags.results import experiments, reading
from flags.results.breach import NO_PLAYERS, GuardReading, read_guard
from flags.results.experiments import MetricUse
from flags.results.measured import arms_of, rule_of
from flags.results.outcome import is_trusted
from flags.results.statistics import Arm
from ilara_admin.core.audit import Actor
from ilara_admin.core.changes import Fields, register_perform
from ilara_admin.core.guard import ChangeItem
from ilara_admin.models import AuditAction, AuditEntry, Environment, Role


class GuardPlan(NamedTuple):
    """`metrics` are the guards: the worst tolerable relative change by key. Each variant needs
    `min_players` before there is a verdict."""

    metrics: Mapping[str, float]
    min_players: int
    on_breach: OnBreach

    @property
    def fields(self) -> dict[str, Any]:
        """As experiments.fields_of."""
        uses = [MetricUse(key, MetricRole.GUARD, worst) for key, worst in self.metrics.items()]
        return {
            "metrics": [use._asdict() for use in uses],
            "min_players": self.min_players,
            "on_breach": str(self.on_breach),
        }


def guard_metrics(environment: Environment) -> list[Metric]:
    """The metrics that can guard a rollout: those without a window, as the others answer too late
    to undo it."""
    found = Metric.objects.filter(environment=environment, archived_at=None, window_days=None)
    return list(found.exclude(kind=MetricKind.RETENTION))


def plan_of(rollout: Experiment) -> GuardPlan:
    """The guards of a rollout, as they were set last."""
    uses = experiments.uses_of(rollout)
    metrics = {use.metric: use.tolerance for use in uses if use.tolerance is not None}
    return GuardPlan(metrics, rollout.min_players, OnBreach(rollout.on_breach))


def latest_rollout(flag: Flag, rule_id: str) -> Experiment | None:
    """The rule's rollout that runs, else the last one."""
    found = Experiment.objects.filter(flag=flag, rule_id=rule_id, kind=ExperimentKind.ROLLOUT)
    return found.first()


def why_not_guarded(flag: Flag, rule_id: str, document: FlagDocument) -> str:
    """Why the change of a rule to this document cannot be guarded, as a sentence; "" if it can."""
    rule = rule_of(document, rule_id)
    if rule is None:
        return "The rule no longer exists."
    if rule.split is not None:
        return "The rule serves a split. Measure it as an experiment instead."
    if outside_variant(document, rule_id) == rule.variant:
        return f"Players outside the percentage get {rule.variant} as well."
    if flag.archived_at or not flag.enabled:
        state = "archived" if flag.archived_at else "off"
        return f"The flag is {state}, so there is nothing to compare."
    running = Experiment.objects.filter(
        flag=flag, rule_id=rule_id, state=ExperimentState.RUNNING, kind=ExperimentKind.EXPERIMENT
    ).first()
    return f"The experiment {running.key} measures this rule." if running else ""


def outside_variant(document: FlagDocument, rule_id: str) -> str:
    """The variant of players that the rule leaves out: of the next rule that is for everyone, else
    the default."""
    ids = [rule.id for rule in document.rules]
    for rule in document.rules[ids.index(rule_id) + 1 :]:
        everyone = rule.segment is None and rule.conditions is None
        fixed = not (rule.steps or rule.ramp or rule.start or rule.end)
        if everyone and fixed and rule.variant is not None and rule.rollout == EVERYBODY:
            return rule.variant
    return document.default


@transaction.atomic
def rollout_guard(
    flag: Flag, rule_id: str, plan: GuardPlan | None, *, document: FlagDocument,
    base_revision: int, actor: Actor, reason: str = "",
) -> list[AuditEntry]:  # fmt: skip
    """Save the flag's document, and guard the rule by a plan: a rollout that runs goes on in a new
    phase, else one begins. Without a plan, a rollout that runs is stopped.

    Returns the entries, that of the flag first. Raises Conflict if `base_revision` is not current,
    and ValidationError.
    """
    flag = flag_services.locked(flag)
    running = Experiment.objects.filter(
        flag=flag, rule_id=rule_id, state=ExperimentState.RUNNING, kind=ExperimentKind.ROLLOUT
    ).first()
    options: Any = {"actor": actor, "reason": reason}
    if plan and (problem := why_not_guarded(flag, rule_id, document)):
        raise ValidationError(f"The change cannot be guarded. {problem}")
    others: list[AuditEntry | None] = []
    if running and not plan:
        # First, or the change would begin a new phase of it.
        others.append(experiments.experiment_stop(running, **options))
    flag, changed = flag_services.flag_update(
        flag, document=document, base_revision=base_revision, **options
    )
    if plan and running:
        others.append(experiments.experiment_update(running, plan.fields, **options))
    elif plan:
        others += _begin(flag, rule_id, plan, actor, reason)
    return [entry for entry in (changed, *others) if entry is not None]


def _begin(
    flag: Flag, rule_id: str, plan: GuardPlan, actor: Actor, reason: str
) -> list[AuditEntry]:
    rollout = Experiment(
        environment=flag.environment,
        flag=flag,
        rule_id=rule_id,
        key=_next_key(flag),
        name=f"Rollout of {flag.key}"[:200],
        kind=ExperimentKind.ROLLOUT,
        control=outside_variant(flag.spec, rule_id),
        owner=flag.owner,
        min_players=plan.min_players,
        on_breach=plan.on_breach,
    )
    uses = [MetricUse(**use) for use in plan.fields["metrics"]]
    created = experiments.experiment_insert(rollout, uses, actor=actor, reason=reason)
    return [created, experiments.experiment_start(rollout, actor=actor, reason=reason)]


def _next_key(flag: Flag) -> str:
    """`new-shop-rollout-3`."""
    taken = Experiment.objects.filter(environment=flag.environment).values_list("key", flat=True)
    keys, start = set(taken), flag.key[:110]
    number = 1
    while f"{start}-rollout-{number}" in keys:
        number += 1
    return f"{start}-rollout-{number}"


# --- How guards stand -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GuardsRead:
    """The guards of a running experiment, and when its results were computed. Unless `is_trusted`,
    the sample ratio check of its phase fails."""

    experiment: Experiment
    readings: Sequence[GuardReading]
    computed_at: datetime | None
    is_trusted: bool


def read_guards(running: Sequence[Experiment]) -> list[GuardsRead]:
    """The guards of each experiment by its newest results, in three statements. The flags of the
    experiments must be loaded."""
    uses: dict[int, list[ExperimentMetric]] = {}
    found = ExperimentMetric.objects.filter(experiment__in=running, role=MetricRole.GUARD)
    for use in found.select_related("metric").order_by("experiment_id", "position"):
        uses.setdefault(use.experiment_id, []).append(use)
    rows = ExperimentResult.objects.filter(
        experiment__in=running,
        phase=F("experiment__phase"),
        metric__in={use.metric_id for each in uses.values() for use in each},
    ).defer("breakdowns")
    # The ids, since a relation would be sorted as its model is.
    rows = rows.order_by("experiment_id", "metric_id", "-day").distinct(
        "experiment_id", "metric_id"
    )
    newest = {(row.experiment_id, row.metric_id): row for row in rows}
    days = ExperimentDay.objects.filter(experiment__in=running, phase=F("experiment__phase"))
    days = days.order_by("experiment_id", "-day").distinct("experiment_id")
    ratios = dict(days.values_list("experiment_id", "ratio_p"))
    return [
        _read(each, uses.get(each.pk, ()), newest, trusted=is_trusted(ratios.get(each.pk)))
        for each in running
    ]


def _read(
    experiment: Experiment, uses: Sequence[ExperimentMetric],
    newest: Mapping[tuple[int, int], ExperimentResult], *, trusted: bool,
) -> GuardsRead:  # fmt: skip
    readings, times = [], []
    for use in uses:
        row = newest.get((experiment.pk, use.metric_id))
        arms = reading.arms_of(row.arms) if row else {}
        if row:
            times.append(row.computed_at)
        readings += [
            read_guard(
                use.metric.key,
                up=use.metric.direction == MetricDirection.UP,
                tolerance=use.tolerance or 0.0,
                variant=variant,
                control=arms.get(experiment.control, NO_PLAYERS),
                other=arms.get(variant, NO_PLAYERS),
                min_players=experiment.min_players,
            )
            for variant in _compared(experiment, arms)
        ]
    return GuardsRead(experiment, readings, max(times, default=None), trusted)


def _compared(experiment: Experiment, arms: Mapping[str, Arm]) -> list[str]:
    """The variants that are compared with the control: those of the rule, or of the results if it
    cannot be read."""
    try:
        rule = rule_of(experiment.flag.spec, experiment.rule_id)
    except DocumentError:
        rule = None
    served = arms_of(rule, experiment.control) if rule else tuple(arms)
    return [variant for variant in served if variant != experiment.control]


# --- Change requests ------------------------------------------------------------------------------


def _found(item: ChangeItem, environment: Environment) -> Experiment | None:
    found = Experiment.objects.filter(environment=environment, key=item.object_id)
    experiment = found.select_related("flag__environment__project").first()
    return experiments.locked(experiment) if experiment else None


def _fields_now(item: ChangeItem, environment: Environment) -> Fields:
    """What is there of the experiment; nothing before another item of the request creates it."""
    found = _found(item, environment)
    if found is None:
        return {}
    known = {**experiments.created_fields(found), **experiments.state_fields(found)}
    names = {**(item.before or {}), **(item.after or {})}
    return {name: known[name] for name in names if name in known}


def _existing(item: ChangeItem, environment: Environment) -> Experiment:
    found = _found(item, environment)
    if found is None:
        raise ValidationError(f"The experiment “{item.object_id}” was deleted.")
    return found


def _create(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> object:
    return experiments.experiment_recreate(
        environment, item.object_id, item.after or {}, actor=actor, reason=reason
    )


def _start(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> object:
    found = _existing(item, environment)
    return experiments.experiment_start(found, actor=actor, reason=reason)


def _update(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> object:
    found = _existing(item, environment)
    return experiments.experiment_update(found, item.after or {}, actor=actor, reason=reason)


def register() -> None:
    """Register how the guards of a change are made from its change request."""
    for action, make in (
        (AuditAction.EXPERIMENT_CREATED, _create),
        (AuditAction.EXPERIMENT_STARTED, _start),
        (AuditAction.EXPERIMENT_UPDATED, _update),
    ):
        register_perform(action, role=Role.LIVE_OPS, current=_fields_now, make=make)

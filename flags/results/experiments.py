"""Writes to experiments. Each is one transaction with an audit entry.

Lock order: the flag, then the experiment.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from flags import services as flag_services
from flags.engine.document import EVERYBODY, DocumentError, FlagDocument
from flags.models import (
    Experiment,
    ExperimentKind,
    ExperimentMetric,
    ExperimentState,
    Flag,
    FlagRevision,
    Metric,
    MetricKind,
    MetricRole,
    OnBreach,
)
from flags.results.group_ranges import check_limit_stays, check_range, range_of, range_set
from flags.results.group_rules import group_enter, group_leave
from flags.results.measured import (
    arms_of,
    has_rule,
    measures_alike,
    rule_of,
    why_not_measured,
)
from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.changes import bump_config_version, create_or_conflict, merge_changes
from ilara_admin.core.projects import check_visible
from ilara_admin.models import AuditAction, AuditEntry, Environment
from segments.keys import KEY, KEY_FORM
from segments.services import check_rule, segments_lock

SHIP, STOP = "ship", "stop"
MAX_METRICS = 20
MAX_TOLERANCE = 10.0  # ten times the control
MAX_PLAYERS = 2_000_000_000
MAX_HYPOTHESIS = 2000

# What may change in each state; metrics while running except for the primary one.
ALWAYS = frozenset({"name", "hypothesis", "owner"})
RUNNING = ALWAYS | {"planned_players", "planned_end", "metrics", "min_players", "on_breach"}
DRAFT = RUNNING | {"rule_id", "control", "population", "group"}
CHANGEABLE: Mapping[str, frozenset[str]] = {
    ExperimentState.DRAFT: DRAFT,
    ExperimentState.RUNNING: RUNNING,
    ExperimentState.STOPPED: ALWAYS,
    ExperimentState.DECIDED: ALWAYS,
}


class MetricUse(NamedTuple):
    """A metric of an experiment, by its key."""

    metric: str
    role: str = MetricRole.SECONDARY
    tolerance: float | None = None


# --- Fields ---------------------------------------------------------------------------------------


def fields_of(experiment: Experiment) -> dict[str, Any]:
    """The fields that staff set, as the audit log stores them."""
    end = experiment.planned_end
    return {
        "name": experiment.name,
        "hypothesis": experiment.hypothesis,
        "rule_id": experiment.rule_id,
        "control": experiment.control,
        "population": experiment.population,
        "planned_players": experiment.planned_players,
        "planned_end": end.isoformat() if end else None,
        "min_players": experiment.min_players,
        "on_breach": str(experiment.on_breach),
        "owner": experiment.owner,
        "group": range_of(experiment),
        "metrics": [use._asdict() for use in uses_of(experiment)],
    }


def created_fields(experiment: Experiment) -> dict[str, Any]:
    return {
        "flag": experiment.flag.key,
        "kind": str(experiment.kind),
        "state": str(experiment.state),
        **fields_of(experiment),
    }


def state_fields(experiment: Experiment) -> dict[str, Any]:
    """The fields that starting, stopping and deciding set."""
    return {
        "state": str(experiment.state),
        "decision": experiment.decision,
        "decided_variant": experiment.decided_variant,
        "decision_reason": experiment.decision_reason,
        "_evidence": experiment.evidence,
    }


def uses_of(experiment: Experiment) -> list[MetricUse]:
    """The metrics of a stored experiment, by position."""
    rows = ExperimentMetric.objects.filter(experiment=experiment).order_by("position")
    return [MetricUse(*row) for row in rows.values_list("metric__key", "role", "tolerance")]


def _audit(action: AuditAction, experiment: Experiment, actor: Actor, **details: Any) -> AuditEntry:
    return audit_record(
        action,
        actor,
        environment=experiment.environment,
        object_id=experiment.key,
        object_name=experiment.key,
        **details,
    )


def locked(experiment: Experiment) -> Experiment:
    """The experiment and its flag, both locked. Raises ValidationError if it was deleted."""
    flag = flag_services.locked(experiment.flag)
    found = Experiment.objects.select_for_update(of=("self",)).filter(pk=experiment.pk).first()
    if found is None:
        raise ValidationError(f"The experiment “{experiment.key}” was deleted.")
    found.flag, found.environment = flag, flag.environment
    return found


def _spec(flag: Flag) -> FlagDocument:
    try:
        return flag.spec
    except DocumentError as error:
        raise ValidationError(f"The flag {flag.key} cannot be read. {error}") from None


# --- Create, change, delete -----------------------------------------------------------------------


@transaction.atomic
def experiment_create(
    *, flag: Flag, rule_id: str, key: str, actor: Actor,
    kind: ExperimentKind = ExperimentKind.EXPERIMENT, name: str = "", hypothesis: str = "",
    control: str = "", population: Any = None, planned_players: int | None = None,
    planned_end: date | None = None, owner: str = "", metrics: Sequence[MetricUse] = (),
    min_players: int = 100, on_breach: OnBreach = OnBreach.NOTIFY, reason: str = "",
) -> Experiment:  # fmt: skip
    """Create a draft."""
    experiment = Experiment(
        environment=flag.environment,
        flag=flag,
        rule_id=rule_id,
        key=key,
        name=name,
        hypothesis=hypothesis,
        kind=kind,
        control=control,
        population=population,
        planned_players=planned_players,
        planned_end=planned_end,
        owner=owner,
        min_players=min_players,
        on_breach=on_breach,
    )
    experiment_insert(experiment, metrics, actor=actor, reason=reason)
    return experiment


@transaction.atomic
def experiment_insert(
    experiment: Experiment, metrics: Sequence[MetricUse], *, actor: Actor, reason: str = ""
) -> AuditEntry:
    """Insert a draft."""
    flag = flag_services.locked(experiment.flag)
    experiment.flag, experiment.environment = flag, flag.environment
    if not KEY.fullmatch(experiment.key):
        raise ValidationError({"key": KEY_FORM})
    experiment.name = experiment.name or experiment.key
    check_visible(experiment.name)
    _check_population(experiment)
    _check_figures(experiment)
    found = _metrics(experiment, metrics)
    taken = ValidationError({"key": f"There is already an experiment “{experiment.key}” here."})
    create_or_conflict(experiment, {"experiment_key_unique": taken})
    _set_metrics(experiment, metrics, found)
    return _audit(
        AuditAction.EXPERIMENT_CREATED, experiment, actor,
        after=created_fields(experiment), reason=reason,
    )  # fmt: skip


@transaction.atomic
def experiment_recreate(
    environment: Environment, key: str, fields: Mapping[str, Any], *, actor: Actor, reason: str = ""
) -> AuditEntry:
    """Insert a draft with these created_fields, and with its old id if they have it."""
    columns = dict(fields)
    del columns["state"]
    if "_id" in columns:
        columns["pk"] = columns.pop("_id")
        columns["created_at"] = datetime.fromisoformat(columns.pop("_created_at"))
    flag = Flag.objects.filter(environment=environment, key=columns.pop("flag")).first()
    if flag is None:
        raise ValidationError("Its flag was deleted.")
    uses = [MetricUse(**use) for use in columns.pop("metrics")]
    end = columns.pop("planned_end")
    columns["planned_end"] = date.fromisoformat(end) if end else None
    group = columns.pop("group", None)
    experiment = Experiment(environment=environment, flag=flag, key=key, **columns)
    range_set(experiment, group)
    return experiment_insert(experiment, uses, actor=actor, reason=reason)


@transaction.atomic
def experiment_update(
    experiment: Experiment, fields: Mapping[str, Any], *, actor: Actor,
    seen: Mapping[str, Any] | None = None, reason: str = "",
) -> AuditEntry | None:  # fmt: skip
    """Set some of fields_of. Returns None if nothing changed.

    Raises Conflict if one of them is neither as wanted nor as in `seen`, the fields that the actor
    saw, and ValidationError for a field that cannot change in the experiment's state.
    """
    experiment = locked(experiment)
    now = fields_of(experiment)
    key = experiment.key
    wanted = merge_changes("experiment", key, key, seen=seen, now=now, wanted=fields)
    old, new = changed_fields(now, {**now, **wanted})
    if not new:
        return None
    _check_changeable(experiment, now, new)
    for name in new.keys() - {"metrics", "planned_end", "group"}:
        setattr(experiment, name, new[name])
    if "planned_end" in new:
        end = new["planned_end"]
        experiment.planned_end = date.fromisoformat(end) if end else None
    experiment.name = experiment.name or key
    if "name" in new:
        check_visible(experiment.name)
    if "population" in new:
        _check_population(experiment)
    if "group" in new:
        range_set(experiment, new["group"])
    _check_figures(experiment)
    if "metrics" in new:
        uses = [MetricUse(**use) for use in new["metrics"]]
        _set_metrics(experiment, uses, _metrics(experiment, uses, kept=now["metrics"]))
        experiment.rebuild = experiment.state == ExperimentState.RUNNING
    experiment.revision += 1
    experiment.updated_at = timezone.now()
    experiment.save()
    entry = _audit(
        AuditAction.EXPERIMENT_UPDATED, experiment, actor, before=old, after=new, reason=reason
    )
    if experiment.state == ExperimentState.RUNNING:
        bump_config_version(experiment.environment)
    return entry


@transaction.atomic
def experiment_extend(
    experiment: Experiment, *, planned_players: int | None, planned_end: date | None,
    actor: Actor, reason: str = "",
) -> AuditEntry | None:  # fmt: skip
    """Change the plan of an experiment that runs."""
    end = planned_end.isoformat() if planned_end else None
    fields = {"planned_players": planned_players, "planned_end": end}
    return experiment_update(experiment, fields, actor=actor, reason=reason)


@transaction.atomic
def experiment_delete(experiment: Experiment, *, actor: Actor, reason: str = "") -> AuditEntry:
    """Delete a draft."""
    experiment = locked(experiment)
    if experiment.state != ExperimentState.DRAFT:
        raise ValidationError("Only drafts can be deleted. Its results stay readable.")
    own = {"_id": experiment.pk, "_created_at": experiment.created_at.isoformat()}
    entry = _audit(
        AuditAction.EXPERIMENT_DELETED, experiment, actor,
        before={**created_fields(experiment), **own}, reason=reason,
    )  # fmt: skip
    experiment.delete()
    return entry


def _check_changeable(
    experiment: Experiment, now: Mapping[str, Any], new: Mapping[str, Any]
) -> None:
    state = ExperimentState(experiment.state)
    if refused := sorted(new.keys() - CHANGEABLE[state]):
        raise ValidationError({refused[0]: f"It cannot change: the experiment is {state}."})
    if state == ExperimentState.RUNNING and "metrics" in new:
        primary = [
            [use["metric"] for use in side if use["role"] == MetricRole.PRIMARY]
            for side in (now["metrics"], new["metrics"])
        ]
        if primary[0] != primary[1]:
            raise ValidationError({"metrics": "The primary metric cannot change while it runs."})


def _check_population(experiment: Experiment) -> None:
    if experiment.population is None:
        return
    segments_lock(experiment.environment)
    try:
        check_rule(experiment.environment, experiment.population)
    except ValidationError as error:
        raise ValidationError({"population": error.error_dict["rule"]}) from None


def _check_figures(experiment: Experiment) -> None:
    players = experiment.planned_players
    if players is not None and not 1 <= players <= MAX_PLAYERS:
        raise ValidationError({"planned_players": "Give a number of players from 1 on."})
    if not 1 <= experiment.min_players <= MAX_PLAYERS:
        raise ValidationError({"min_players": "Give a number of players from 1 on."})
    if len(experiment.hypothesis) > MAX_HYPOTHESIS:
        raise ValidationError({"hypothesis": f"Use at most {MAX_HYPOTHESIS:,} characters."})


def _metrics(
    experiment: Experiment, uses: Sequence[MetricUse], kept: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Metric]:
    """The metrics by key. Raises ValidationError if they do not go together. Those in `kept` may
    be archived."""
    keys = [use.metric for use in uses]
    if len(set(keys)) != len(keys):
        raise ValidationError({"metrics": "A metric is named twice. Name each once."})
    if len(keys) > MAX_METRICS:
        raise ValidationError({"metrics": f"Name at most {MAX_METRICS} metrics."})
    metrics = Metric.objects.filter(environment=experiment.environment, key__in=keys)
    # The lock prevents archiving and deletion before this is stored.
    found = {metric.key: metric for metric in metrics.select_for_update(no_key=True)}
    old = {use["metric"] for use in kept}
    for use in uses:
        metric = found.get(use.metric)
        if metric is None or (metric.archived_at and use.metric not in old):
            raise ValidationError({"metrics": f"There is no metric “{use.metric}” here."})
        if problem := _why_not_used(experiment, metric, use):
            raise ValidationError({"metrics": f"{use.metric}: {problem}"})
    if sum(use.role == MetricRole.PRIMARY for use in uses) > 1:
        raise ValidationError({"metrics": "Choose one primary metric only."})
    return found


def _why_not_used(experiment: Experiment, metric: Metric, use: MetricUse) -> str:
    if use.role not in MetricRole.values:
        return f"A role is {', '.join(MetricRole.values)}."
    if use.role != MetricRole.GUARD:
        return "" if use.tolerance is None else "Only a guard has a tolerance."
    if use.tolerance is None or not 0 <= use.tolerance <= MAX_TOLERANCE:
        return "A guard needs the worst tolerable change, from 0 to 1,000 %."
    waits = metric.window_days is not None or metric.kind == MetricKind.RETENTION
    if experiment.kind == ExperimentKind.ROLLOUT and waits:
        return "A guard metric of a rollout has no window, or it would answer too late."
    return ""


def _set_metrics(
    experiment: Experiment, uses: Sequence[MetricUse], found: Mapping[str, Metric]
) -> None:
    ExperimentMetric.objects.filter(experiment=experiment).delete()
    ExperimentMetric.objects.bulk_create(
        ExperimentMetric(
            experiment=experiment, metric=found[use.metric], role=use.role, position=position,
            tolerance=use.tolerance,
        )
        for position, use in enumerate(uses)
    )  # fmt: skip


# --- Start and stop -------------------------------------------------------------------------------


def why_not_started(experiment: Experiment) -> dict[str, str]:
    """Why it cannot start, as a sentence by field; empty if it can."""
    flag, is_rollout = experiment.flag, experiment.kind == ExperimentKind.ROLLOUT
    if experiment.state != ExperimentState.DRAFT:
        return {"state": f"Only a draft can start. It is {experiment.state}."}
    if flag.archived_at is not None:
        return {"flag": f"The flag {flag.key} is archived. Unarchive it first."}
    if not flag.enabled:
        return {"flag": f"The flag {flag.key} is off. Turn it on first."}
    try:
        document = flag.spec
    except DocumentError as error:
        return {"flag": f"The flag {flag.key} cannot be read. {error}"}
    problems = why_not_measured(
        document, experiment.rule_id, experiment.control, is_rollout=is_rollout
    )
    roles = [use.role for use in uses_of(experiment)]
    if is_rollout and MetricRole.GUARD not in roles:
        problems["metrics"] = "Choose at least one guard metric."
    if not is_rollout and MetricRole.PRIMARY not in roles:
        problems["metrics"] = "Choose the primary metric."
    if other := _running_beside(experiment):
        problems["rule_id"] = f"{other.key} measures this rule already. Stop it first."
    return problems


def _running_beside(experiment: Experiment) -> Experiment | None:
    running = Experiment.objects.filter(
        flag=experiment.flag, rule_id=experiment.rule_id, state=ExperimentState.RUNNING
    )
    return running.exclude(pk=experiment.pk).first()


@transaction.atomic
def experiment_start(
    experiment: Experiment, *, actor: Actor, at: datetime | None = None, reason: str = ""
) -> AuditEntry:
    """Begin the first phase, at a time that is by default now."""
    experiment = locked(experiment)
    if problems := why_not_started(experiment):
        raise ValidationError(problems)
    group_enter(experiment, actor=actor, reason=reason)
    return _run(experiment, at or timezone.now(), actor, reason)


def _run(
    experiment: Experiment, at: datetime, actor: Actor, reason: str, *, same_phase: bool = False
) -> AuditEntry:
    before = state_fields(experiment)
    experiment.state, experiment.ended_at = ExperimentState.RUNNING, None
    experiment.decision = experiment.decided_variant = experiment.decision_reason = ""
    experiment.evidence = None
    experiment.started_at = experiment.started_at or at
    if same_phase:
        experiment.rebuild = True  # what players did meanwhile may not be in their values
    else:
        experiment.phase, experiment.phase_at = experiment.phase + 1, at
    return _store(AuditAction.EXPERIMENT_STARTED, experiment, before, actor, reason)


@transaction.atomic
def experiment_stop(
    experiment: Experiment, *, actor: Actor, at: datetime | None = None, reason: str = ""
) -> AuditEntry:
    """End its exposures."""
    experiment = locked(experiment)
    _check_state(experiment, ExperimentState.RUNNING)
    return _stop(experiment, at or timezone.now(), actor, reason)


@transaction.atomic
def experiment_leave(
    experiment: Experiment, *, actor: Actor, reason: str = ""
) -> AuditEntry | None:
    """Let the rule of an ended experiment take all players again, which frees its players for the
    others of its group. Returns the entry of the flag, None if the rule did not change."""
    return group_leave(locked(experiment), actor=actor, reason=reason)


def _stop(experiment: Experiment, at: datetime, actor: Actor, reason: str) -> AuditEntry:
    before = state_fields(experiment)
    experiment.state, experiment.ended_at = ExperimentState.STOPPED, at
    return _store(AuditAction.EXPERIMENT_STOPPED, experiment, before, actor, reason)


def _store(
    action: AuditAction, experiment: Experiment, before: dict[str, Any], actor: Actor, reason: str
) -> AuditEntry:
    experiment.revision += 1
    experiment.updated_at = timezone.now()
    experiment.save()
    old, new = changed_fields(before, state_fields(experiment))
    entry = _audit(action, experiment, actor, before=old, after=new, reason=reason)
    bump_config_version(experiment.environment)
    return entry


def _check_state(experiment: Experiment, *states: ExperimentState) -> None:
    if experiment.state not in states:
        raise ValidationError({"state": f"{experiment.key} is {experiment.state}."})


# --- Decide ---------------------------------------------------------------------------------------


def shipped(document: FlagDocument, rule_id: str, variant: str) -> FlagDocument:
    """The document after a decision: the rule serves the variant to all players that match it. Of a
    percentage, the control is what players outside it get: then the percentage is 0. Players
    outside the experiment's group count, too. Raises ValidationError if the rule is gone or never
    served the variant."""
    rule = rule_of(document, rule_id)
    if rule is None:
        raise ValidationError("The rule was removed. Nothing can be shipped.")
    if variant not in {each.key for each in document.variants}:
        raise ValidationError(f"There is no variant “{variant}”.")
    if rule.split is None and variant != rule.variant:
        return document.with_rollout(rule_id, 0).with_group(rule_id, None)
    replaced = msgspec.structs.replace(
        rule, variant=variant, split=None, rollout=EVERYBODY, steps=(), ramp=None, group=None
    )
    rules = tuple(replaced if each.id == rule_id else each for each in document.rules)
    return msgspec.structs.replace(document, rules=rules)


def variants_of(experiment: Experiment) -> tuple[str, ...]:
    """The variants that can be shipped, with the control first; none if the rule is gone."""
    try:
        rule = rule_of(experiment.flag.spec, experiment.rule_id)
    except DocumentError:
        rule = None
    return arms_of(rule, experiment.control) if rule else ()


@transaction.atomic
def experiment_decide(
    experiment: Experiment, *, variant: str = "", evidence: Any, actor: Actor, reason: str = "",
    base_revision: int | None = None,
) -> list[AuditEntry]:  # fmt: skip
    """Ship a variant, or stop without one. `evidence` is a JSON snapshot of the results.

    Returns the entries of the experiment and of its flag, if that changed. Raises Conflict if
    `base_revision` is given and is not the flag's.
    """
    experiment = locked(experiment)
    flag = experiment.flag
    document = None
    if variant:
        if variant not in variants_of(experiment):
            raise ValidationError({"variant": f"“{variant}” is not one of those compared."})
        document = shipped(_spec(flag), experiment.rule_id, variant)
        if not flag.enabled or flag.archived_at:
            state = "archived" if flag.archived_at else "off"
            raise ValidationError(f"The flag {flag.key} is {state}, so players would not see it.")
    # The decision first: then the flag's change begins no new phase.
    decided = decision_record(
        experiment, variant=variant, evidence=evidence, decision_reason=reason, actor=actor,
        reason=reason,
    )  # fmt: skip
    if document is None:
        return [decided]
    _, changed = flag_services.flag_update(
        flag,
        document=document,
        base_revision=flag.revision if base_revision is None else base_revision,
        actor=actor,
        reason=reason or f"Ships {variant} of {experiment.key}",
    )
    return [decided, changed] if changed else [decided]


@transaction.atomic
def decision_record(
    experiment: Experiment, *, variant: str, evidence: Any, decision_reason: str, actor: Actor,
    reason: str,
) -> AuditEntry:  # fmt: skip
    """Record a decision, without the change of the flag that ships the variant."""
    experiment = locked(experiment)
    _check_state(experiment, ExperimentState.RUNNING, ExperimentState.STOPPED)
    before = state_fields(experiment)
    experiment.state = ExperimentState.DECIDED
    experiment.ended_at = experiment.ended_at or timezone.now()
    experiment.decision = SHIP if variant else STOP
    experiment.decided_variant, experiment.evidence = variant, evidence
    experiment.decision_reason = decision_reason
    return _store(AuditAction.EXPERIMENT_DECIDED, experiment, before, actor, reason)


@transaction.atomic
def experiment_reopen(
    experiment: Experiment, state: str, *, actor: Actor, reason: str = ""
) -> AuditEntry:
    """Take back that it was stopped or decided. `state` is running or stopped.

    It goes on in its phase, unless the rule served others since it ended.
    """
    experiment = locked(experiment)
    if state == ExperimentState.STOPPED:
        _check_state(experiment, ExperimentState.DECIDED)
        before = state_fields(experiment)
        experiment.state, experiment.evidence = ExperimentState.STOPPED, None
        experiment.decision = experiment.decided_variant = experiment.decision_reason = ""
        return _store(AuditAction.EXPERIMENT_STOPPED, experiment, before, actor, reason)
    _check_state(experiment, ExperimentState.STOPPED, ExperimentState.DECIDED)
    if not has_rule(experiment.flag.document, experiment.rule_id):
        raise ValidationError("The rule was removed. Restore it first.")
    if other := _running_beside(experiment):
        raise ValidationError(f"{other.key} measures this rule now. Stop it first.")
    check_range(experiment)
    same = _measured_alike_since_end(experiment)
    return _run(experiment, timezone.now(), actor, reason, same_phase=same)


def _measured_alike_since_end(experiment: Experiment) -> bool:
    revisions = FlagRevision.objects.filter(flag=experiment.flag).order_by("-number")
    ended_at = experiment.ended_at or timezone.now()
    then = revisions.filter(created_at__lt=ended_at).values_list("document", flat=True).first()
    since = revisions.filter(created_at__gte=ended_at).values_list("document", flat=True)
    return then is None or all(
        measures_alike(then, document, experiment.rule_id) for document in since
    )


# --- Phases ---------------------------------------------------------------------------------------


def phase_begin(experiment: Experiment, at: datetime) -> None:
    """Begin a new phase of a running experiment, whose row the caller has locked. The caller bumps
    the environment's config_version last."""
    experiment.phase, experiment.phase_at = experiment.phase + 1, at
    experiment.rebuild = False  # the new phase has no values yet
    experiment.save(update_fields=["phase", "phase_at", "rebuild"])


def flag_saved(flag: Flag, before: Any, actor: Actor) -> None:
    """Follow a flag whose document was `before`: a running experiment whose rule changed begins a
    new phase, one whose rule was removed stops. In the transaction of the save. Raises
    ValidationError if a rule would no longer be limited to the experiment's group."""
    running = Experiment.objects.select_for_update(of=("self",)).filter(
        flag=flag, state=ExperimentState.RUNNING
    )
    now = timezone.now()
    for experiment in running.select_related("group").order_by("pk"):
        experiment.flag, experiment.environment = flag, flag.environment
        if not has_rule(flag.document, experiment.rule_id):
            _stop(experiment, now, actor, "The rule was removed.")
            continue
        check_limit_stays(experiment, before, flag.document)
        if not measures_alike(before, flag.document, experiment.rule_id):
            phase_begin(experiment, now)

"""How changes of experiments are undone, and made from a change request."""

from typing import Any

from django.core.exceptions import ValidationError

from flags.models import Experiment, ExperimentState
from flags.results import experiments
from flags.results.experiment_words import field_differences
from flags.services import register_follower
from ilara_admin.core import diff
from ilara_admin.core.audit import Actor
from ilara_admin.core.changes import (
    Fields,
    entry_fields,
    register_perform,
    register_undo,
)
from ilara_admin.core.guard import ChangeItem
from ilara_admin.models import AuditAction, AuditEntry, Environment, Role


def _found(environment: Environment | int | None, key: str) -> Experiment | None:
    found = Experiment.objects.filter(environment=environment, key=key)
    experiment = found.select_related("flag__environment__project").first()
    return experiments.locked(experiment) if experiment else None


def _experiment(environment: Environment | int | None, key: str) -> Experiment:
    found = _found(environment, key)
    if found is None:
        raise ValidationError(f"The experiment “{key}” was deleted.")
    return found


# --- Undo -----------------------------------------------------------------------------------------


def _of(entry: AuditEntry) -> Experiment:
    return _experiment(entry.environment_id, entry.object_id)


def _created(entry: AuditEntry) -> Fields:
    found = _found(entry.environment_id, entry.object_id)
    return entry_fields(entry, experiments.created_fields(found)) if found else {}


def _delete(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry:
    return experiments.experiment_delete(_of(entry), actor=actor, reason=reason)


def _recreate(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry:
    assert entry.environment
    return experiments.experiment_recreate(
        entry.environment, entry.object_id, entry.before or {}, actor=actor, reason=reason
    )


def _fields(entry: AuditEntry) -> Fields:
    return entry_fields(entry, experiments.fields_of(_of(entry)))


def _restore(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    before = dict(entry.before or {})
    return experiments.experiment_update(_of(entry), before, actor=actor, reason=reason)


def _state(entry: AuditEntry) -> Fields:
    return entry_fields(entry, experiments.state_fields(_of(entry)))


def _restore_state(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry:
    experiment, before = _of(entry), entry.before or {}
    state = before["state"]
    if state == ExperimentState.DECIDED:
        return experiments.decision_record(
            experiment,
            variant=before.get("decided_variant", ""),
            evidence=before.get("_evidence"),
            decision_reason=before.get("decision_reason", ""),
            actor=actor,
            reason=reason,
        )
    if experiment.state == ExperimentState.RUNNING:
        return experiments.experiment_stop(experiment, actor=actor, reason=reason)
    return experiments.experiment_reopen(experiment, state, actor=actor, reason=reason)


def _why_not_unstart(entry: AuditEntry) -> str:
    """One that is not the undo of a stop or a decision is the first start."""
    ended = (ExperimentState.STOPPED, ExperimentState.DECIDED)
    was_ended = (entry.before or {}).get("state") in ended
    return "" if was_ended else "Players are in it already. Stop the experiment instead."


# --- Change requests ------------------------------------------------------------------------------


def _state_now(item: ChangeItem, environment: Environment) -> Fields:
    fields = experiments.state_fields(_experiment(environment, item.object_id))
    names = {**(item.before or {}), **(item.after or {})}
    return {name: fields[name] for name in names if name in fields}


def _stop(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> object:
    experiment = _experiment(environment, item.object_id)
    return experiments.experiment_stop(experiment, actor=actor, reason=reason)


def _decide(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> object:
    """The decision with the evidence that was reviewed. The flag's change is another item."""
    after: dict[str, Any] = item.after or {}
    return experiments.decision_record(
        _experiment(environment, item.object_id),
        variant=after.get("decided_variant", ""),
        evidence=after.get("_evidence"),
        decision_reason=after.get("decision_reason", ""),
        actor=actor,
        reason=reason,
    )


def register() -> None:
    """Register the undo, the change requests and the words of experiments, and follow flags."""
    role = Role.LIVE_OPS
    register_undo(AuditAction.EXPERIMENT_CREATED, role=role, current=_created, restore=_delete)
    register_undo(AuditAction.EXPERIMENT_DELETED, role=role, current=_created, restore=_recreate)
    register_undo(AuditAction.EXPERIMENT_UPDATED, role=role, current=_fields, restore=_restore)
    register_undo(
        AuditAction.EXPERIMENT_STOPPED,
        AuditAction.EXPERIMENT_DECIDED,
        role=role,
        current=_state,
        restore=_restore_state,
    )
    register_undo(
        AuditAction.EXPERIMENT_STARTED,
        role=role,
        current=_state,
        restore=_restore_state,
        why_not=_why_not_unstart,
    )
    register_perform(AuditAction.EXPERIMENT_STOPPED, role=role, current=_state_now, make=_stop)
    register_perform(AuditAction.EXPERIMENT_DECIDED, role=role, current=_state_now, make=_decide)
    diff.register_differences("experiment", field_differences)
    register_follower(experiments.flag_saved)

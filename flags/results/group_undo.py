"""The undo of changes to experiment groups."""

from django.core.exceptions import ValidationError

from flags.models import ExperimentGroup
from flags.results import groups
from flags.results.group_ranges import locked_group
from ilara_admin.core.audit import Actor
from ilara_admin.core.changes import Fields, entry_fields, register_undo
from ilara_admin.models import AuditAction, AuditEntry, Role


def _found(entry: AuditEntry) -> ExperimentGroup | None:
    return ExperimentGroup.objects.filter(
        environment=entry.environment_id, key=entry.object_id
    ).first()


def _group(entry: AuditEntry) -> ExperimentGroup:
    found = _found(entry)
    if found is None:
        raise ValidationError(f"The group “{entry.object_id}” was deleted.")
    return locked_group(found)


def _fields(entry: AuditEntry) -> Fields:
    return entry_fields(entry, groups.fields_of(_group(entry)))


def _fields_if_found(entry: AuditEntry) -> Fields:
    return _fields(entry) if _found(entry) else {}


def _restore(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    before = entry.before or {}
    return groups.group_update(_group(entry), before, actor=actor, reason=reason)[1]


def _delete(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry:
    return groups.group_delete(_group(entry), actor=actor, reason=reason)


def _recreate(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry:
    assert entry.environment
    return groups.group_recreate(
        entry.environment, entry.object_id, entry.before or {}, actor=actor, reason=reason
    )


def register() -> None:
    role = Role.LIVE_OPS
    register_undo(
        AuditAction.EXPERIMENT_GROUP_CREATED, role=role, current=_fields_if_found, restore=_delete
    )
    register_undo(
        AuditAction.EXPERIMENT_GROUP_UPDATED, role=role, current=_fields, restore=_restore
    )
    register_undo(
        AuditAction.EXPERIMENT_GROUP_DELETED,
        role=role,
        current=_fields_if_found,
        restore=_recreate,
    )

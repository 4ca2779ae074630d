"""The undo of changes to metrics."""

from datetime import datetime

from django.core.exceptions import ValidationError

from flags.models import Metric
from flags.results import metrics
from ilara_admin.core.audit import Actor
from ilara_admin.core.changes import Fields, entry_fields, register_undo
from ilara_admin.models import AuditAction, AuditEntry, Role


def _found(entry: AuditEntry) -> Metric | None:
    return Metric.objects.filter(environment=entry.environment_id, key=entry.object_id).first()


def _metric(entry: AuditEntry) -> Metric:
    found = _found(entry)
    if found is None:
        raise ValidationError(f"The metric “{entry.object_id}” was deleted.")
    return metrics.locked(found)


def _fields(entry: AuditEntry) -> Fields:
    return entry_fields(entry, metrics.fields_of(_metric(entry)))


def _fields_if_found(entry: AuditEntry) -> Fields:
    return _fields(entry) if _found(entry) else {}


def _restore(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    before = entry.before or {}
    return metrics.metric_update(_metric(entry), before, actor=actor, reason=reason)[1]


def _delete(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry:
    return metrics.metric_delete(_metric(entry), actor=actor, reason=reason)


def _recreate(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry:
    assert entry.environment
    return metrics.metric_recreate(
        entry.environment, entry.object_id, entry.before or {}, actor=actor, reason=reason
    )


def _archived(entry: AuditEntry) -> Fields:
    return metrics.archived_fields(_metric(entry))


def _restore_archived(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    before = entry.before or {}
    at = datetime.fromisoformat(before["_archived_at"]) if before["_archived_at"] else None
    return metrics.metric_set_archived(
        _metric(entry), before["archived"], at=at, actor=actor, reason=reason
    )[1]


def register() -> None:
    role = Role.LIVE_OPS
    register_undo(AuditAction.METRIC_CREATED, role=role, current=_fields_if_found, restore=_delete)
    register_undo(AuditAction.METRIC_UPDATED, role=role, current=_fields, restore=_restore)
    register_undo(
        AuditAction.METRIC_DELETED, role=role, current=_fields_if_found, restore=_recreate
    )
    register_undo(
        AuditAction.METRIC_ARCHIVED,
        AuditAction.METRIC_UNARCHIVED,
        role=role,
        current=_archived,
        restore=_restore_archived,
    )

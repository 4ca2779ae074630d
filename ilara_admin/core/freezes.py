"""Freeze windows: times in which an environment takes no changes. Each write is one transaction."""

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.changes import Fields, entry_fields, register_perform, register_undo
from ilara_admin.core.guard import NO_ACTS, Act, AuditSide, ChangeItem, register_acts
from ilara_admin.models import AuditAction, AuditEntry, Environment, FreezeWindow, Role


@transaction.atomic
def freeze_create(
    environment: Environment, *, starts_at: datetime, ends_at: datetime, reason: str, actor: Actor,
    why: str = "",
) -> FreezeWindow:  # fmt: skip
    """Add a window. `reason` is shown to those who meet it; `why` is the audit log's, by default
    the same."""
    window = FreezeWindow(
        environment=environment,
        starts_at=starts_at,
        ends_at=ends_at,
        reason=reason.strip(),
        created_by_name=actor.name,
    )
    _insert(window, actor, why)
    return window


def _insert(window: FreezeWindow, actor: Actor, reason: str) -> AuditEntry:
    _check(window)
    window.save(force_insert=True)
    return _record(
        AuditAction.FREEZE_WINDOW_CREATED, window, actor, after=freeze_fields(window), reason=reason
    )


@transaction.atomic
def freeze_update(
    window: FreezeWindow, *, starts_at: datetime, ends_at: datetime, reason: str, actor: Actor,
    why: str = "",
) -> AuditEntry | None:  # fmt: skip
    """Move a window or change its reason. Returns None if nothing changed."""
    window = _locked(window.pk)
    before = freeze_fields(window)
    window.starts_at, window.ends_at, window.reason = starts_at, ends_at, reason.strip()
    _check(window)
    old, new = changed_fields(before, freeze_fields(window))
    if not new:
        return None
    window.save(update_fields=["starts_at", "ends_at", "reason"])
    action = AuditAction.FREEZE_WINDOW_UPDATED
    return _record(action, window, actor, before=old, after=new, reason=why)


@transaction.atomic
def freeze_delete(window: FreezeWindow, *, actor: Actor, why: str = "") -> AuditEntry:
    window = _locked(window.pk)
    before = {**freeze_fields(window), **_row(window)}
    action = AuditAction.FREEZE_WINDOW_DELETED
    # Before the row is gone: a freeze guards itself.
    entry = _record(action, window, actor, before=before, reason=why)
    window.delete()
    return entry


def freeze_fields(window: FreezeWindow) -> dict[str, Any]:
    return {
        "starts_at": window.starts_at.isoformat(),
        "ends_at": window.ends_at.isoformat(),
        "reason": window.reason,
    }


def _row(window: FreezeWindow) -> dict[str, Any]:
    return {
        "_id": window.pk,
        "_by": window.created_by_name,
        "_created_at": window.created_at.isoformat(),
    }


def _locked(pk: int | str) -> FreezeWindow:
    windows = FreezeWindow.objects.select_for_update(of=("self",))
    found = windows.select_related("environment__project").filter(pk=pk).first()
    if found is None:
        raise ValidationError("The freeze was deleted.")
    return found


def _check(window: FreezeWindow) -> None:
    if window.ends_at <= window.starts_at:
        raise ValidationError({"ends_at": "The end must come after the start."})
    if window.ends_at <= timezone.now():
        raise ValidationError({"ends_at": "The end must lie in the future."})
    if not 1 <= len(window.reason) <= 500:
        raise ValidationError({"reason": "Say why, in 1 to 500 characters."})


def _record(
    action: AuditAction, window: FreezeWindow, actor: Actor, *, reason: str, **sides: Any
) -> AuditEntry:
    return audit_record(
        action,
        actor,
        environment=window.environment,
        object_id=window.pk,
        object_name=window.reason[:100],
        reason=reason,
        **sides,
    )


def _acts(action: str, before: AuditSide, after: AuditSide, whole: AuditSide) -> frozenset[Act]:
    """To freeze an environment needs nothing; to thaw it is a change of its settings."""
    if action == AuditAction.FREEZE_WINDOW_CREATED:
        return NO_ACTS
    return frozenset({Act.SETTINGS})


register_acts("freeze_window", _acts)


# --- Undo -----------------------------------------------------------------------------------------


def _now(entry: AuditEntry) -> Fields:
    return entry_fields(entry, freeze_fields(_locked(entry.object_id)))


def _times(fields: Fields) -> dict[str, Any]:
    return {
        name: datetime.fromisoformat(fields[name]) if name.endswith("_at") else fields[name]
        for name in ("starts_at", "ends_at", "reason")
    }


def _restore(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    window = _locked(entry.object_id)
    fields = _times({**freeze_fields(window), **(entry.before or {})})
    return freeze_update(window, **fields, actor=actor, why=reason)


def _remove(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    return freeze_delete(_locked(entry.object_id), actor=actor, why=reason)


def _gone(entry: AuditEntry) -> Fields:
    found = FreezeWindow.objects.filter(pk=entry.object_id).first()
    return freeze_fields(found) if found else {}


def _recreate(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    before = entry.before or {}
    window = FreezeWindow(
        pk=before["_id"],
        environment=entry.environment,
        created_by_name=before["_by"],
        created_at=datetime.fromisoformat(before["_created_at"]),
        **_times(before),
    )
    return _insert(window, actor, reason)


def _window(item: ChangeItem, environment: Environment) -> Fields:
    window = _locked(item.object_id)
    return {**freeze_fields(window), **_row(window)}


def _delete(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> object:
    return freeze_delete(_locked(item.object_id), actor=actor, why=reason)


register_perform(AuditAction.FREEZE_WINDOW_DELETED, role=Role.ADMIN, current=_window, make=_delete)
register_undo(AuditAction.FREEZE_WINDOW_CREATED, role=Role.ADMIN, current=_now, restore=_remove)
register_undo(AuditAction.FREEZE_WINDOW_UPDATED, role=Role.ADMIN, current=_now, restore=_restore)
register_undo(AuditAction.FREEZE_WINDOW_DELETED, role=Role.ADMIN, current=_gone, restore=_recreate)

"""The undo of changes to segments and their lists."""

from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.utils import timezone

from ilara_admin.core.audit import Actor
from ilara_admin.core.changes import Fields, entry_fields, register_undo
from ilara_admin.models import AuditAction, AuditEntry, Role
from segments import services
from segments.lists.services import (
    KEPT_DAYS,
    entry_of,
    list_undo,
    lists_are_kept,
    lists_bring_back,
)
from segments.models import ListState, Segment, SegmentListChange
from segments.tasks import list_start


def _segment(entry: AuditEntry) -> Segment | None:
    assert entry.environment
    services.segments_lock(entry.environment)
    found = Segment.objects.filter(environment=entry.environment, key=entry.object_id).first()
    return services.locked(found) if found else None


def _fields(entry: AuditEntry) -> Fields:
    segment = _segment(entry)
    return entry_fields(entry, services.fields_of(segment)) if segment else {}


def _restore(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    segment = _segment(entry)
    if segment is None:
        raise ValidationError(f"The segment “{entry.object_id}” was deleted.")
    wanted = {**services.fields_of(segment), **(entry.before or {})}
    del wanted["key"]
    return services.segment_update(segment, **wanted, actor=actor, reason=reason)


def _created(entry: AuditEntry) -> Fields:
    segment = _segment(entry)
    return services.created_fields(segment) if segment else {}


def _delete(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    segment = _segment(entry)
    assert segment is not None  # undo compared its fields
    return services.segment_delete(segment, actor=actor, reason=reason)


def _recreate(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry:
    """Insert the row again, with a new id if its lists are already being deleted."""
    before = dict(entry.before or {})
    pk, lists = before.pop("_id"), before.pop("_lists", None)
    created_at = datetime.fromisoformat(before.pop("_created_at"))
    complete = lists is None or lists_are_kept(pk)
    segment = Segment(environment=entry.environment, created_at=created_at, **before)
    if complete:
        segment.pk = pk
        for size in lists or ():
            setattr(segment, size, lists[size])
        lists_bring_back(pk)
    return services.segment_insert(segment, actor=actor, reason=reason)


def _list(entry: AuditEntry) -> Fields:
    """Undoing a list change affects only its own rows, so there is nothing to compare."""
    return entry.after or {}


def _restore_list(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    changes = SegmentListChange.objects.filter(pk=(entry.after or {})["_change_id"])
    change = changes.filter(segment__key=entry.object_id).first()
    if change is None:
        raise ValidationError(f"The segment “{entry.object_id}” was deleted.")
    undoing = list_undo(change, actor=actor, reason=reason)
    list_start(undoing)
    undoing.refresh_from_db()
    if undoing.state != ListState.RUNNING and not undoing.added + undoing.removed:
        raise ValidationError("These ids have all changed since. Nothing is left to undo.")
    return entry_of(undoing)


def _why_not_list(entry: AuditEntry) -> str:
    late = entry.created_at < timezone.now() - timedelta(days=KEPT_DAYS)
    return f"List changes can be undone for {KEPT_DAYS} days only." if late else ""


register_undo(AuditAction.SEGMENT_CREATED, role=Role.LIVE_OPS, current=_created, restore=_delete)
register_undo(AuditAction.SEGMENT_UPDATED, role=Role.LIVE_OPS, current=_fields, restore=_restore)
register_undo(AuditAction.SEGMENT_DELETED, role=Role.LIVE_OPS, current=_fields, restore=_recreate)
register_undo(
    AuditAction.SEGMENT_LIST_CHANGED,
    role=Role.LIVE_OPS,
    current=_list,
    restore=_restore_list,
    why_not=_why_not_list,
)

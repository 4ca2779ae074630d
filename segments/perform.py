"""The guarded acts in changes of segments, and how those of a change request are made."""

from typing import Any

from django.core.exceptions import ValidationError

from ilara_admin.core.audit import Actor
from ilara_admin.core.changes import Fields, register_perform, register_whole
from ilara_admin.core.guard import NO_ACTS, Act, AuditSide, ChangeItem, register_acts
from ilara_admin.models import AuditAction, Environment, Role
from segments import services
from segments.lists.services import ids_add, ids_remove, list_clear, list_undo
from segments.models import ListAction, Segment, SegmentListChange
from segments.tasks import list_start

FROM_FILE = (ListAction.IMPORT, ListAction.REPLACE)
LISTED = frozenset({"ids on lists", "_lists"})


def _acts(action: str, before: AuditSide, after: AuditSide, whole: AuditSide) -> frozenset[Act]:
    """Games read segments, so a new or a deleted one counts as a changed rule."""
    names = {**(before or {}), **(after or {})}.keys()
    match action:
        case AuditAction.SEGMENT_LIST_EXPORTED:
            return NO_ACTS
        case AuditAction.SEGMENT_LIST_CHANGED:
            return frozenset({Act.LISTS})
        case AuditAction.SEGMENT_UPDATED if names <= {"name", "description"}:
            return NO_ACTS
    return frozenset({Act.SEGMENT_RULES} | ({Act.LISTS} if names & LISTED else set()))


def _found(item: ChangeItem, environment: Environment) -> Segment | None:
    services.segments_lock(environment)
    found = Segment.objects.filter(environment=environment, key=item.object_id).first()
    return services.locked(found) if found else None


def _segment(item: ChangeItem, environment: Environment) -> Segment:
    if (found := _found(item, environment)) is None:
        raise ValidationError(f"The segment “{item.object_id}” was deleted.")
    return found


def _whole(item: ChangeItem, environment: Environment) -> Fields | None:
    found = _found(item, environment)
    return {"rule": found.rule} if found else None


def _absent(item: ChangeItem, environment: Environment) -> Fields:
    """The fields of a segment that has the key of the new one already."""
    found = _found(item, environment)
    return services.fields_of(found) if found else {}


def _create(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> object:
    fields: dict[str, Any] = item.after or {}
    return services.segment_create(environment=environment, **fields, actor=actor, reason=reason)


def _why_not_create(item: ChangeItem) -> str:
    has_lists = "ids on lists" in (item.after or {})
    return "A segment with lists cannot wait for a review." if has_lists else ""


def _deletable(item: ChangeItem, environment: Environment) -> Fields:
    before = item.before or {}
    fields = services.fields_of(_segment(item, environment))
    return {**fields, **{name: before[name] for name in before if name.startswith("_")}}


def _delete(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> object:
    return services.segment_delete(_segment(item, environment), actor=actor, reason=reason)


# --- Lists ----------------------------------------------------------------------------------------


def _list(item: ChangeItem, environment: Environment) -> Fields:
    """Adding and removing ids changes only these; clearing needs the list that was seen."""
    if not item.before:
        return {}
    segment = _segment(item, environment)
    return {"ids on it": segment.excluded if _is_excluded(item) else segment.included}


def _is_excluded(item: ChangeItem) -> bool:
    return bool((item.after or {})["list"] == "excluded")


def _change_list(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> object:
    segment, wanted = _segment(item, environment), item.after or {}
    excluded = _is_excluded(item)
    match wanted["change"]:
        case ListAction.ADD:
            return ids_add(
                segment, wanted["ids"], excluded=excluded, actor=actor, reason=reason,
                column=wanted.get("column", ""),
            )  # fmt: skip
        case ListAction.REMOVE:
            return ids_remove(segment, wanted["ids"], excluded=excluded, actor=actor, reason=reason)
        case ListAction.CLEAR:
            change = list_clear(segment, excluded=excluded, actor=actor, reason=reason)
        case _:
            changes = SegmentListChange.objects.filter(segment=segment)
            change = list_undo(changes.get(pk=wanted["undoes"]), actor=actor, reason=reason)
    list_start(change)
    return change


def _why_not_list(item: ChangeItem) -> str:
    if (item.after or {})["change"] in FROM_FILE:
        return "A file cannot wait for a review. Add up to 1,000 ids at once instead."
    return ""


def register() -> None:
    """Register the acts in changes, and how change requests are made."""
    register_acts("segment", _acts)
    register_whole("segment", _whole)
    register_perform(
        AuditAction.SEGMENT_CREATED,
        role=Role.LIVE_OPS,
        current=_absent,
        make=_create,
        why_not=_why_not_create,
    )
    register_perform(
        AuditAction.SEGMENT_DELETED, role=Role.LIVE_OPS, current=_deletable, make=_delete
    )
    register_perform(
        AuditAction.SEGMENT_LIST_CHANGED,
        role=Role.LIVE_OPS,
        current=_list,
        make=_change_list,
        why_not=_why_not_list,
    )

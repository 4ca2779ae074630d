"""The undo of changes to flags and overrides."""

from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.utils import timezone

from flags import overrides, services, shadow
from flags.engine.document import DocumentError, FlagDocument, read_document
from flags.models import Flag
from ilara_admin.core.audit import Actor
from ilara_admin.core.changes import Fields, entry_fields, register_undo
from ilara_admin.models import AuditAction, AuditEntry, Role
from players.models import Player, player_id_for

DOCUMENT_ACTIONS = (
    AuditAction.FLAG_UPDATED,
    AuditAction.FLAG_ENABLED,
    AuditAction.FLAG_DISABLED,
    AuditAction.FLAG_RESTORED,
)
# A flag that games have used for longer must keep its history.
DELETABLE = timedelta(days=1)
ARCHIVE_ACTIONS = (AuditAction.FLAG_ARCHIVED, AuditAction.FLAG_UNARCHIVED)
SHADOW_ACTIONS = (AuditAction.FLAG_ARCHIVE_SCHEDULED, AuditAction.FLAG_ARCHIVE_CANCELLED)


def _found(entry: AuditEntry) -> Flag | None:
    return Flag.objects.filter(environment=entry.environment_id, key=entry.object_id).first()


def _flag(entry: AuditEntry) -> Flag:
    found = _found(entry)
    if found is None:
        raise ValidationError(f"The flag “{entry.object_id}” was deleted.")
    return services.locked(found)


def _fields(entry: AuditEntry) -> Fields:
    return entry_fields(entry, services.fields_of(_flag(entry)))


def _restore(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    flag, before, after = _flag(entry), entry.before or {}, entry.after or {}
    options: Any = {"actor": actor, "reason": reason}
    if before.keys() | after.keys() == {"enabled"}:
        return services.flag_set_enabled(flag, before["enabled"], **options)[1]
    if before.keys() | after.keys() <= flag.details.keys():
        return services.flag_set_details(flag, dict(before), **options)[1]
    return services.flag_set_fields(flag, before, after.keys() - before.keys(), **options)[1]


def after_undo(entry: AuditEntry) -> tuple[Flag, FlagDocument, bool] | None:
    """The flag of an entry, and its document and whether it is archived once the entry is undone;
    None for other entries and if the document could not be read."""
    before, after = entry.before or {}, entry.after or {}
    if entry.action not in (*DOCUMENT_ACTIONS, *ARCHIVE_ACTIONS):
        return None
    flag = _found(entry)
    if flag is None:
        return None
    archived = bool(before.get("archived", flag.archived_at is not None))
    kept = {
        name: value
        for name, value in services.fields_of(flag).items()
        if name in before or name not in after
    }
    fields = {**kept, **before} if entry.action in DOCUMENT_ACTIONS else kept
    for name in flag.details:
        del fields[name]
    try:
        return flag, read_document(fields), archived
    except DocumentError:
        return None


def _fields_if_found(entry: AuditEntry) -> Fields:
    return _fields(entry) if _found(entry) else {}


def _delete(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry:
    return services.flag_delete(_flag(entry), actor=actor, reason=reason)


def _recreate(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry:
    assert entry.environment
    before = entry.before or {}
    return services.flag_recreate(
        entry.environment, entry.object_id, before, actor=actor, reason=reason
    )


def _why_not_delete(entry: AuditEntry) -> str:
    late = entry.created_at < timezone.now() - DELETABLE
    return "A flag can be deleted on its first day only. Archive it instead." if late else ""


def _archived(entry: AuditEntry) -> Fields:
    return services.archived_fields(_flag(entry))


def _restore_archived(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    before = entry.before or {}
    at, later = _time(before["_archived_at"]), _time(before.get("archives_at"))
    if later and later <= timezone.now():
        later = None  # or it would be archived again at once
    return services.flag_set_archived(
        _flag(entry), before["archived"], at=at, archives_at=later, actor=actor, reason=reason
    )[1]


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _shadow(entry: AuditEntry) -> Fields:
    return services.shadow_fields(_flag(entry))


def _restore_shadow(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    at = _time((entry.before or {})["archives_at"])
    return shadow.flag_archive_later(_flag(entry), at, actor=actor, reason=reason)[1]


def _player(entry: AuditEntry) -> Player:
    assert entry.environment
    player_id = player_id_for(entry.environment.namespace, (entry.after or {})["player"])
    found = Player.objects.filter(pk=player_id).first()
    if found is None:
        raise ValidationError("The player was erased.")
    return found


def _override(entry: AuditEntry) -> Fields:
    return overrides.override_fields(_flag(entry), _player(entry))


def _restore_override(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    flag, player, before = _flag(entry), _player(entry), entry.before or {}
    if "variant" not in before:
        return overrides.override_remove(flag, player, actor=actor, reason=reason)
    fields = overrides.columns_of(before)
    return overrides.override_write(flag, player, fields, actor=actor, reason=reason)


def _names(stored: Any) -> list[str]:
    """The players of the overrides in an entry, which may hold only their number."""
    return [fields["player"] for fields in stored] if isinstance(stored, list) else []


def _overrides(entry: AuditEntry) -> Fields:
    before, after = entry.before or {}, entry.after or {}
    names = [*_names(before["overrides"]), *_names(after["overrides"])]
    return {"overrides": overrides.overrides_fields(_flag(entry), names)}


def _restore_overrides(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    before, after = entry.before or {}, entry.after or {}
    return overrides.overrides_replace(
        _flag(entry), _names(after["overrides"]), before["overrides"], actor=actor, reason=reason
    )


def _why_not_overrides(entry: AuditEntry) -> str:
    are_kept = not isinstance((entry.before or {}).get("overrides"), int)
    return "" if are_kept else f"More than {overrides.MAX_KEPT} overrides are not kept."


register_undo(
    *DOCUMENT_ACTIONS,
    role=Role.LIVE_OPS,
    current=_fields,
    restore=_restore,
)
register_undo(
    *ARCHIVE_ACTIONS,
    role=Role.LIVE_OPS,
    current=_archived,
    restore=_restore_archived,
)
register_undo(
    *SHADOW_ACTIONS,
    role=Role.LIVE_OPS,
    current=_shadow,
    restore=_restore_shadow,
)
register_undo(
    AuditAction.FLAG_OVERRIDDEN,
    AuditAction.FLAG_OVERRIDE_REMOVED,
    role=Role.SUPPORT,
    current=_override,
    restore=_restore_override,
)
register_undo(
    AuditAction.FLAG_OVERRIDES_REPLACED,
    role=Role.LIVE_OPS,
    current=_overrides,
    restore=_restore_overrides,
    why_not=_why_not_overrides,
)
register_undo(
    AuditAction.FLAG_CREATED,
    role=Role.LIVE_OPS,
    current=_fields_if_found,
    restore=_delete,
    why_not=_why_not_delete,
)
register_undo(
    AuditAction.FLAG_DELETED, role=Role.LIVE_OPS, current=_fields_if_found, restore=_recreate
)

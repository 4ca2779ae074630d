"""The undo of changes to players."""

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError

from ilara_admin.core.audit import Actor
from ilara_admin.core.changes import Fields, register_permanent, register_undo
from ilara_admin.models import AuditAction, AuditEntry, Role, User
from players import aliases, moved_rows, notes, services
from players.models import Player, PlayerAlias, PlayerNote, player_id_for
from players.schemas import PlayerPatch


def _player(entry: AuditEntry) -> Player:
    players = Player.objects.select_related("environment__project")
    player = players.filter(pk=entry.object_id).first()
    if player is None:
        raise ValidationError(f"{entry.object_name} was erased.")
    return player


def _locked(entry: AuditEntry) -> Player:
    _player(entry).lock()
    return _player(entry)


# --- Fields ---------------------------------------------------------------------------------------


def _fields(entry: AuditEntry) -> Fields:
    player, before, after = _locked(entry), entry.before or {}, entry.after or {}
    found = {name: getattr(player, name) for name in after if name != "attributes"}
    if "attributes" in after:
        names = {**before["attributes"], **after["attributes"]}
        found["attributes"] = {
            name: player.attributes[name] for name in names if name in player.attributes
        }
    return found


def _restore_fields(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    before, after = entry.before or {}, entry.after or {}
    patch = PlayerPatch()
    if "email" in after:
        patch.email = before["email"]
    if "device_id" in after:
        patch.device_id = before["device_id"]
    if "attributes" in after:
        names = {**before["attributes"], **after["attributes"]}
        patch.attributes = {name: before["attributes"].get(name) for name in names}
    return services.player_update(_player(entry), patch, actor=actor, reason=reason)


# --- Linked ids -----------------------------------------------------------------------------------


def _name(entry: AuditEntry) -> str:
    return str((entry.after or {})["alias"] or (entry.before or {})["alias"])


def _alias(entry: AuditEntry) -> PlayerAlias | None:
    player = _player(entry)
    alias_id = player_id_for(player.environment.namespace, _name(entry))
    return PlayerAlias.objects.select_related("player").filter(pk=alias_id, player=player).first()


def _link(entry: AuditEntry) -> Fields:
    player = _player(entry)
    alias_id = player_id_for(player.environment.namespace, _name(entry))
    aliases.lock_for_link(player.environment_id, player.pk, alias_id)
    player.lock()
    alias, after = _alias(entry), entry.after or {}
    if alias is None:
        return {"alias": None}
    found = aliases.link_fields(alias)
    if rows := after.get("_rows"):
        found |= {"moved": moved_rows.unchanged(alias, rows), "_rows": rows}
    return found


def _unlink(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    """Also moves the rows back, which an ordinary unlink does not."""
    alias = _alias(entry)
    assert alias is not None  # undo compared its fields
    moved_rows.give_back(alias, (entry.after or {}).get("_rows", {}))
    return aliases.player_alias_unlink(alias.player, alias.external_id, actor=actor, reason=reason)


def _relink(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    linked_at = datetime.fromisoformat((entry.before or {})["_linked_at"])
    return aliases.player_alias_link(
        _player(entry), _name(entry), actor=actor, linked_at=linked_at, reason=reason
    )


# --- Purchases ------------------------------------------------------------------------------------


def _purchase(entry: AuditEntry) -> Fields:
    player, after = _locked(entry), entry.after or {}
    purchase = services.purchase_of(player, after["purchase"])
    at = purchase.refunded_at
    found = {**after, "refunded_at": at.isoformat() if at else None}
    later = AuditEntry.objects.filter(
        object_type="player",
        object_id=entry.object_id,
        pk__gt=entry.pk,
        after__purchase=after["purchase"],
    ).first()
    if later is not None:
        found["changed again"] = later.created_at.isoformat()
    return found


def _unrefund(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    name = (entry.after or {})["purchase"]
    return services.purchase_refund_undo(_player(entry), name, actor=actor, reason=reason)


def _refund(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    at = datetime.fromisoformat((entry.before or {})["refunded_at"])
    name = (entry.after or {})["purchase"]
    return services.purchase_refund(_player(entry), name, actor=actor, at=at, reason=reason)


# --- Notes ----------------------------------------------------------------------------------------


def _note_fields(entry: AuditEntry) -> dict[str, Any]:
    found: dict[str, Any] = entry.after or entry.before or {}
    return found


def _note(entry: AuditEntry) -> Fields:
    player = _locked(entry)
    note = PlayerNote.objects.filter(player=player, id=_note_fields(entry)["_note_id"]).first()
    return notes.note_fields(note) if note else {}


def _delete_note(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    note_id = _note_fields(entry)["_note_id"]
    return notes.note_delete(_player(entry), note_id, actor=actor, reason=reason)


def _restore_note(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    return notes.note_restore(_player(entry), _note_fields(entry), actor=actor, reason=reason)


def _may_undo_note(user: User, entry: AuditEntry) -> bool:
    return notes.may_delete(user, entry.project_id, _note_fields(entry)["_author_id"])


register_undo(
    AuditAction.PLAYER_UPDATED, role=Role.SUPPORT, current=_fields, restore=_restore_fields
)
register_undo(AuditAction.PLAYER_ALIAS_LINKED, role=Role.SUPPORT, current=_link, restore=_unlink)
register_undo(AuditAction.PLAYER_ALIAS_UNLINKED, role=Role.SUPPORT, current=_link, restore=_relink)
register_undo(
    AuditAction.PLAYER_PURCHASE_REFUNDED,
    role=Role.SUPPORT,
    current=_purchase,
    restore=_unrefund,
)
register_undo(
    AuditAction.PLAYER_REFUND_REVERSED, role=Role.SUPPORT, current=_purchase, restore=_refund
)
register_undo(
    AuditAction.PLAYER_NOTE_ADDED,
    role=Role.SUPPORT,
    current=_note,
    restore=_delete_note,
    may=_may_undo_note,
)
register_undo(
    AuditAction.PLAYER_NOTE_DELETED,
    role=Role.SUPPORT,
    current=_note,
    restore=_restore_note,
    may=_may_undo_note,
)
register_permanent(
    {
        AuditAction.PLAYER_ERASED: "An erased player cannot be restored.",
        AuditAction.PLAYER_DATA_SEEN: "It was seen; nothing changed.",
        AuditAction.PLAYER_EXPORTED: "An export changes nothing.",
    }
)

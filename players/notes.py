"""Notes of staff about players. The audit log also stores the texts, so that a deletion can be
undone; erasing the player removes them there, too."""

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.models import AuditAction, AuditEntry, Project, Role, User
from players.models import MAX_NOTE, Player, PlayerNote


def notes_of(player: Player) -> QuerySet[PlayerNote]:
    """Newest first."""
    return PlayerNote.objects.filter(player=player).order_by("-created_at", "id")


def newest_notes(player: Player, most: int) -> list[PlayerNote]:
    """The first of `notes_of`, for each page of a player: a plain statement takes half as long."""
    sql = "SELECT * FROM player_note WHERE player_id = %s ORDER BY created_at DESC, id LIMIT %s"
    return list(PlayerNote.objects.raw(sql, [player.pk, most]))


def may_delete(user: User, project: Project | int | None, author_id: int | None) -> bool:
    """Whether the user may delete and restore a note: authors their own, admins all."""
    is_own = user.may(Role.SUPPORT, project) and author_id == user.pk
    return is_own or user.may(Role.ADMIN, project)


def with_right(
    user: User, project: Project, notes: Iterable[PlayerNote]
) -> list[tuple[PlayerNote, bool]]:
    """Each note, and whether the user may delete it."""
    return [(note, may_delete(user, project, note.author_id)) for note in notes]


@transaction.atomic
def note_add(player: Player, text: str, *, actor: Actor, reason: str = "") -> AuditEntry:
    """Add a note about a player. Raises ValidationError for `text`."""
    text = text.replace("\r\n", "\n").strip()
    if not text:
        raise ValidationError({"text": "The note is empty."})
    if len(text) > MAX_NOTE:
        raise ValidationError({"text": f"A note has {MAX_NOTE:,} characters at most."})
    if "\0" in text:
        raise ValidationError({"text": "A note must not contain the character NUL."})
    player.lock()
    note = PlayerNote.objects.create(
        player=player,
        environment=player.environment,
        text=text,
        author=actor.user,
        author_name=actor.name,
    )
    return _record(AuditAction.PLAYER_NOTE_ADDED, note, actor, reason)


@transaction.atomic
def note_delete(
    player: Player, note_id: uuid.UUID | str, *, actor: Actor, reason: str = ""
) -> AuditEntry | None:
    """Delete a note; None if it does not exist. The caller checks `may_delete` first."""
    note = PlayerNote.objects.select_for_update().filter(player=player, id=note_id).first()
    if note is None:
        return None
    PlayerNote.objects.filter(player=player, id=note_id).delete()
    return _record(AuditAction.PLAYER_NOTE_DELETED, note, actor, reason)


@transaction.atomic
def note_restore(
    player: Player, fields: dict[str, Any], *, actor: Actor, reason: str = ""
) -> AuditEntry | None:
    """Restore a deleted note from the fields of its audit entry; None if it exists."""
    player.lock()
    if PlayerNote.objects.filter(player=player, id=fields["_note_id"]).exists():
        return None
    note = PlayerNote.objects.create(
        player=player,
        id=fields["_note_id"],
        environment=player.environment,
        text=fields["note"],
        author=User.objects.filter(pk=fields["_author_id"]).first(),
        author_name=fields["author"],
        created_at=datetime.fromisoformat(fields["_written_at"]),
    )
    return _record(AuditAction.PLAYER_NOTE_ADDED, note, actor, reason)


def note_fields(note: PlayerNote) -> dict[str, Any]:
    """A note as stored in the audit log."""
    return {
        "note": note.text,
        "author": note.author_name,
        "_note_id": str(note.id),
        "_author_id": note.author_id,
        "_written_at": note.created_at.isoformat(),
    }


def _record(action: AuditAction, note: PlayerNote, actor: Actor, reason: str) -> AuditEntry:
    fields = note_fields(note)
    added = action is AuditAction.PLAYER_NOTE_ADDED
    return audit_record(
        action,
        actor,
        environment=note.player.environment,
        object_id=note.player_id,
        object_name=note.player.external_id,
        before=None if added else fields,
        after=fields if added else None,
        reason=reason,
    )

"""The export and the erasure of one player, from every table that an app has registered."""

import uuid
from typing import Any

import msgspec
from django.db import connection, transaction

from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.models import AuditAction, AuditEntry
from players import aliases, player_data
from players.models import Player
from players.player_data import ERASED, Erasure, PlayerData, by_player_id


def player_export(player: Player) -> dict[str, Any]:
    """The player's row and, by table, the rows about them, as JSON values. The audit log belongs to
    the staff and is left out."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(p) FROM player p WHERE id = %s", [player.pk])
        found = {"player": msgspec.json.decode(cursor.fetchone()[0])}
    for data in player_data.registered():
        if data.export:
            found[data.table] = data.export(player)
    return found


@transaction.atomic
def player_delete(player: Player, *, actor: Actor, reason: str = "") -> dict[str, int]:
    """Erase a player, also from the texts of the audit log. Returns the number of deleted rows by
    table. It cannot be undone; the game may register the player again.

    Counts of events stay, as do reasons that staff wrote about other objects.
    """
    names = [player.external_id, *aliases.lock_for_erasure(player)]
    player = (
        Player.objects.select_for_update(of=("self",))
        .select_related("environment__project")
        .get(pk=player.pk)
    )
    erasure = Erasure(player, [*names, *aliases.former_aliases_of(player)], uuid.uuid4())
    deleted: dict[str, int] = {}
    for data in player_data.registered():
        deleted[data.table] = deleted.get(data.table, 0) + data.erase(erasure)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM player WHERE id = %s", [player.pk])
        deleted["player"] = cursor.rowcount
    deleted = {table: count for table, count in deleted.items() if count}
    audit_record(
        AuditAction.PLAYER_ERASED,
        actor,
        environment=player.environment,
        object_id=erasure.pseudonym,
        object_name=ERASED,
        after=deleted,
        reason=reason,
    )
    return deleted


def _erase_entries(erasure: Erasure) -> int:
    """The audit log keeps that something changed, when and by whom. Entries about one player stay
    together under the pseudonym."""
    AuditEntry.objects.filter(object_type="player", object_id=str(erasure.player.pk)).update(
        object_id=str(erasure.pseudonym), object_name=ERASED, before=None, after=None, reason=""
    )
    return 0


DATA = (
    by_player_id("player_session", order="received_at, digest"),
    by_player_id("purchase", order="received_at, digest"),
    by_player_id("player_alias", order="created_at, external_id"),
    by_player_id("player_note", order="created_at, id"),
    PlayerData("audit_entry", None, _erase_entries),
)

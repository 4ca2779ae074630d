"""Export and erasure of one player, over all tables that the apps have registered."""

import uuid
from typing import Any

import msgspec
from django.db import connection, transaction

from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.core.changes import bump_config_version
from ilara_admin.models import AuditAction, AuditEntry
from players import aliases, late_days, player_data
from players.models import Player
from players.player_data import Erasure, PlayerData, by_player_id, erase_rows
from players.redaction import ERASED, Redaction, identifiers, personal_texts


@transaction.atomic
def player_export(player: Player, *, actor: Actor, reason: str = "") -> dict[str, Any]:
    """The player's row and the player's rows in other tables, by table, as JSON values. Excludes
    the audit log, which records the actions of staff, and now this export."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(p) FROM player p WHERE id = %s", [player.pk])
        found = {"player": msgspec.json.decode(cursor.fetchone()[0])}
    for data in player_data.registered():
        if data.export:
            found[data.table] = data.export(player)
    audit_record(
        AuditAction.PLAYER_EXPORTED,
        actor,
        environment=player.environment,
        object_id=player.pk,
        object_name=player.external_id,
        after={"rows": {table: len(rows) for table, rows in found.items() if table != "player"}},
        reason=reason,
    )
    return found


@transaction.atomic
def player_delete(player: Player, *, actor: Actor, reason: str = "") -> dict[str, int]:
    """Erase a player, and what names the player in the audit log, reasons and rules. Returns the
    number of deleted rows by table. Cannot be undone; the game may register the player again.

    Event counts remain, and what the game stored with other players, such as a list of friends.
    """
    names = [player.external_id, *aliases.lock_for_erasure(player)]
    player = (
        Player.objects.select_for_update(of=("self",))
        .select_related("environment__project")
        .get(pk=player.pk)
    )
    names += aliases.former_aliases_of(player)
    late_days.mark_player(player)
    erasure = Erasure(player, names, _identifiers(player, names), uuid.uuid4())
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
        reason=Redaction(erasure.identifiers).text(reason),
    )
    if erasure.changed:
        bump_config_version(player.environment)
    return deleted


def _identifiers(player: Player, names: list[str]) -> list[str]:
    """What identifies the player in a text, now and before changes by staff."""
    found: list[object] = [
        *names,
        player.email,
        player.device_id,
        *personal_texts(player.attributes),
    ]
    entries = AuditEntry.objects.filter(object_type="player", object_id=str(player.pk))
    for sides in entries.values_list("before", "after"):
        for side in sides:
            found += [(side or {}).get(name) for name in ("email", "device_id")]
            found += personal_texts((side or {}).get("attributes"))
    return identifiers(player.pk, found)


def _erase_entries(erasure: Erasure) -> int:
    """Keep the action, time and actor of each entry about the player. All get the same pseudonym.
    Remove the player's names from entries about other objects."""
    AuditEntry.objects.filter(object_type="player", object_id=str(erasure.player.pk)).update(
        object_id=str(erasure.pseudonym), object_name=ERASED, before=None, after=None, reason=""
    )
    # Another player may have the same e-mail or device id, which undo needs.
    unique = identifiers(erasure.player.pk, erasure.names)
    here, params = "environment_id = %s AND ", [erasure.player.environment_id]
    for names, others in ((erasure.identifiers, "object_type <> 'player'"), (unique, "true")):
        redaction = Redaction(names)
        redaction.rows("audit_entry", ("before", "after", "reason"), here + others, params)
        # A flag and a segment have keys, which staff chose and others refer to.
        unkeyed = f"{here}{others} AND object_type NOT IN ('flag', 'segment')"
        redaction.rows("audit_entry", ("object_name",), unkeyed, params)
    return 0


def _erase_requests(erasure: Erasure) -> int:
    """Remove the player's names from change requests. One that named the player can no longer be
    applied: its changes are not those that were approved."""
    redaction, params = Redaction(erasure.identifiers), [erasure.player.environment_id]
    here = "environment_id = %s"
    redaction.rows("change_request", ("items", "title", "reason"), here, params)
    of_these = f"request_id IN (SELECT id FROM change_request WHERE {here})"
    redaction.rows("change_approval", ("comment",), of_these, params)
    return 0


DATA = (
    by_player_id("player_session", "session", order="received_at, digest"),
    by_player_id("purchase", "purchase", order="received_at, digest"),
    by_player_id("player_alias", "linked id", order="created_at, external_id"),
    by_player_id("player_note", "note", order="created_at, id"),
    # The values are in the player's row.
    PlayerData("player_value", None, erase_rows("player_value")),
    PlayerData("audit_entry", None, _erase_entries),
    PlayerData("change_request", None, _erase_requests),
)

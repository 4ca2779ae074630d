"""All that is known of one player: as a document, and gone.

The tables of other apps are named here and not imported: they lie above this one, and a player who
asks for their data, or for its end, means all of it.
"""

import uuid
from typing import Any, NamedTuple

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.models import AuditAction, AuditEntry
from players import aliases
from players.models import Player, player_id_for


class Held(NamedTuple):
    """A table that keeps rows of players, and what puts them into an order."""

    table: str
    order: str


HELD = (
    Held("player_session", "received_at, digest"),
    Held("purchase", "received_at, digest"),
    Held("event", "received_at, id"),
    Held("player_alias", "created_at, external_id"),
    Held("player_note", "created_at, id"),
    Held("flag_override", "flag_id"),
    Held("segment_member", "segment_id, excluded"),
    Held("segment_former_member", "change_id"),
)
# Digests of ids that clients sent; they say nothing to anybody.
WITHOUT_CONTENT = ("event_receipt",)
ERASED = "erased player"


def player_export(player: Player) -> dict[str, Any]:
    """What we hold of a player, for the player: the row, and the rows of each table that has some,
    as JSON values. The audit log is the staff's own and stays out."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(p) FROM player p WHERE id = %s", [player.pk])
        found = {"player": _json(cursor)}
        for table, order in HELD:
            cursor.execute(
                f"""SELECT coalesce(jsonb_agg(to_jsonb(held) - 'digest' ORDER BY {order}), '[]')
                    FROM {table} held WHERE player_id = %s""",
                [player.pk],
            )
            found[table] = _json(cursor)
    return found


def _json(cursor: CursorWrapper) -> Any:
    """The one value of the answer; Django leaves decoding to whoever reads it."""
    return msgspec.json.decode(cursor.fetchone()[0])


@transaction.atomic
def player_delete(player: Player, *, actor: Actor, reason: str = "") -> dict[str, int]:
    """Erase a player, and whatever says who they were from the audit log. Returns how many rows of
    each table are gone. Nothing brings the player back; the game may register them anew.

    Counts of events stay: they say nothing of anybody. So do reasons that staff wrote elsewhere.
    """
    names = [player.external_id, *aliases.take(player)]
    player = (
        Player.objects.select_for_update(of=("self",))
        .select_related("environment__project")
        .get(pk=player.pk)
    )
    names += aliases.former_aliases_of(player)
    gone: dict[str, int] = {}
    with connection.cursor() as cursor:
        _leave_lists(player, cursor)
        for table in (*(held.table for held in HELD), *WITHOUT_CONTENT):
            cursor.execute(f"DELETE FROM {table} WHERE player_id = %s", [player.pk])
            gone[table] = cursor.rowcount
        cursor.execute(
            "DELETE FROM event_rejected WHERE environment_id = %s AND player = ANY(%s)",
            [player.environment_id, _as_sent(player, names)],
        )
        gone["event_rejected"] = cursor.rowcount
        cursor.execute("DELETE FROM player WHERE id = %s", [player.pk])
        gone["player"] = cursor.rowcount
        nobody = _forget_who(player, names, cursor)
    audit_record(
        AuditAction.PLAYER_ERASED,
        actor,
        environment=player.environment,
        object_id=nobody,
        object_name=ERASED,
        after={table: count for table, count in gone.items() if count},
        reason=reason,
    )
    return gone


def _as_sent(player: Player, names: list[str]) -> list[str]:
    """What a refused event may call a player: their id, or one of their names where the game sent
    that for the id."""
    namespace = player.environment.namespace
    return [*names, *(str(player_id_for(namespace, name)) for name in names)]


def _leave_lists(player: Player, cursor: CursorWrapper) -> None:
    """Take the player off the sizes of their segments' lists. Segments are locked before their
    members, as by everybody who writes lists."""
    cursor.execute(
        """SELECT id FROM segment
           WHERE id IN (SELECT segment_id FROM segment_member WHERE player_id = %s)
           ORDER BY id FOR UPDATE""",
        [player.pk],
    )
    cursor.execute(
        """UPDATE segment SET included = segment.included - on_lists.included,
                              excluded = segment.excluded - on_lists.excluded
           FROM (SELECT segment_id, count(*) FILTER (WHERE NOT excluded) AS included,
                        count(*) FILTER (WHERE excluded) AS excluded
                 FROM segment_member WHERE player_id = %s GROUP BY 1) on_lists
           WHERE segment.id = on_lists.segment_id""",
        [player.pk],
    )


def _forget_who(player: Player, names: list[str], cursor: CursorWrapper) -> uuid.UUID:
    """That something was changed, when and by whom stays in the audit log; of whom, and what they
    were like, does not. Entries about one player still belong together, by the id returned, which
    leads nowhere."""
    nobody = uuid.uuid4()
    AuditEntry.objects.filter(object_type="player", object_id=str(player.pk)).update(
        object_id=str(nobody), object_name=ERASED, before=None, after=None, reason=""
    )
    values: dict[str, Any] = {
        "environment": player.environment_id,
        "names": names,
        "erased": ERASED,
    }
    for column in ("before", "after"):
        # Overrides and lists name the player in entries about flags and segments.
        cursor.execute(
            f"""UPDATE audit_entry
                SET {column} = jsonb_set({column}, '{{player}}', to_jsonb(%(erased)s::text))
                WHERE environment_id = %(environment)s AND object_type = 'flag'
                  AND {column}->>'player' = ANY(%(names)s)""",
            values,
        )
        cursor.execute(
            f"""UPDATE audit_entry
                SET {column} = jsonb_set({column}, '{{ids}}', ({column}->'ids') - %(names)s::text[])
                WHERE environment_id = %(environment)s AND object_type = 'segment'
                  AND {column}->'ids' ?| %(names)s""",
            values,
        )
    return nobody

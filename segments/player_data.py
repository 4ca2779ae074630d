"""Player data in the tables of segments, for export, erasure and linking."""

import uuid

from django.db import connection

from players.models import Player
from players.player_data import (
    Erasure,
    PlayerData,
    by_player_id,
    erase_rows,
    export_rows,
    move_rows,
)

_delete_members = erase_rows("segment_member")


def _lock_segments(player_id: uuid.UUID) -> None:
    """Lock order: segments before their members, as in all writes to lists."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT id FROM segment
               WHERE id IN (SELECT segment_id FROM segment_member WHERE player_id = %s)
               ORDER BY id FOR NO KEY UPDATE""",
            [player_id],
        )


def _erase_members(erasure: Erasure) -> int:
    _lock_segments(erasure.player.pk)
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE segment SET included = segment.included - on_lists.included,
                                  excluded = segment.excluded - on_lists.excluded
               FROM (SELECT segment_id, count(*) FILTER (WHERE NOT excluded) AS included,
                            count(*) FILTER (WHERE excluded) AS excluded
                     FROM segment_member WHERE player_id = %s GROUP BY 1) on_lists
               WHERE segment.id = on_lists.segment_id""",
            [erasure.player.pk],
        )
    return _delete_members(erasure)


def _move_members(alias_id: uuid.UUID, player: Player) -> None:
    _lock_segments(alias_id)
    columns = "segment_id, excluded, change_id"
    present = move_rows("segment_member", columns, alias_id, player, external_id=player.external_id)
    with connection.cursor() as cursor:
        for segment_id, excluded, _ in present:
            size = "excluded" if excluded else "included"
            cursor.execute(f"UPDATE segment SET {size} = {size} - 1 WHERE id = %s", [segment_id])


def _move_former_members(alias_id: uuid.UUID, player: Player) -> None:
    columns = "change_id, added_by"
    move_rows("segment_former_member", columns, alias_id, player, external_id=player.external_id)


def _erase_entries(erasure: Erasure) -> int:
    """Remove the ids from audit entries of small list changes, which contain them."""
    with connection.cursor() as cursor:
        for column in ("before", "after"):
            cursor.execute(
                f"""UPDATE audit_entry
                    SET {column} = jsonb_set({column}, '{{ids}}',
                                             ({column}->'ids') - %(names)s::text[])
                    WHERE environment_id = %(environment)s AND object_type = 'segment'
                      AND {column}->'ids' ?| %(names)s""",
                {"environment": erasure.player.environment_id, "names": erasure.names},
            )
    return 0


DATA = (
    PlayerData(
        "segment_member",
        export_rows("segment_member", "segment_id, excluded"),
        _erase_members,
        _move_members,
    ),
    by_player_id("segment_former_member", order="change_id", move=_move_former_members),
    PlayerData("audit_entry", None, _erase_entries),
)

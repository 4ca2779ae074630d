"""Player data in the tables of segments, for export, erasure and linking."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db import connection

from players.player_data import (
    Erasure,
    LinkedRows,
    PlayerData,
    by_player_id,
    erase_rows,
    export_rows,
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


def _resize(row: Mapping[str, Any], step: int) -> None:
    size = "excluded" if row["excluded"] else "included"
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE segment SET {size} = {size} + %s WHERE id = %s", [step, row["segment_id"]]
        )


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
        LinkedRows(lock=_lock_segments, resize=_resize),
    ),
    by_player_id("segment_former_member", order="change_id", linked=LinkedRows(expire=True)),
    PlayerData("audit_entry", None, _erase_entries),
)

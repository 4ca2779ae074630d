"""Player data in the tables of segments, for export, erasure and linking."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db import connection

from players.models import Player, PlayerAlias, player_id_for
from players.player_data import Erasure, LinkedRows, PlayerData, by_player_id, export_rows
from players.redaction import Redaction
from segments.lists.csv_reader import blank
from segments.models import ListState, Segment, SegmentListChange


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
    """Also entries by what identifies the player, such as the player's id, if no other player has
    it as external id."""
    ids = [erasure.player.pk, *_entered_as(erasure)]
    for player_id in ids:
        _lock_segments(player_id)
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE segment SET included = segment.included - on_lists.included,
                                  excluded = segment.excluded - on_lists.excluded
               FROM (SELECT segment_id, count(*) FILTER (WHERE NOT excluded) AS included,
                            count(*) FILTER (WHERE excluded) AS excluded
                     FROM segment_member WHERE player_id = ANY(%s) GROUP BY 1) on_lists
               WHERE segment.id = on_lists.segment_id""",
            [ids],
        )
        cursor.execute("DELETE FROM segment_former_member WHERE player_id = ANY(%s)", [ids])
        cursor.execute("DELETE FROM segment_member WHERE player_id = ANY(%s)", [ids])
        return int(cursor.rowcount)


def _entered_as(erasure: Erasure) -> list[uuid.UUID]:
    spellings = {
        *erasure.identifiers, str(erasure.player.pk).upper(), erasure.player.pk.hex.upper(),
    }  # fmt: skip
    namespace = erasure.player.environment.namespace
    ids = {player_id_for(namespace, text) for text in spellings} - {erasure.player.pk}
    others = Player.objects.filter(pk__in=ids).values_list("pk", flat=True)
    linked = PlayerAlias.objects.filter(pk__in=ids).exclude(player=erasure.player)
    return sorted(ids - {*others, *linked.values_list("pk", flat=True)})


def _resize(row: Mapping[str, Any], step: int) -> None:
    size = "excluded" if row["excluded"] else "included"
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE segment SET {size} = {size} + %s WHERE id = %s", [step, row["segment_id"]]
        )


def _erase_in_segments(erasure: Erasure) -> int:
    """Remove the player from the values of rules, and from what staff wrote."""
    environment = erasure.player.environment
    segments = dict(Segment.objects.filter(environment=environment).values_list("key", "pk"))
    redaction, ids = Redaction(erasure.identifiers, keys=segments), [list(segments.values())]
    texts = ("reason", "file_name", "problem")
    redaction.rows("segment_list_change", texts, "segment_id = ANY(%s)", ids)
    if redaction.rows("segment", ("name", "description", "rule"), "id = ANY(%s)", ids):
        erasure.changed.add("segment")
    return 0


def _erase_in_uploads(erasure: Erasure) -> int:
    """Blank the player's line in files that wait to be imported."""
    environment = erasure.player.environment
    waiting = SegmentListChange.objects.filter(
        state=ListState.RUNNING, segment__environment=environment
    )
    for change in waiting.select_for_update(of=("self",)).order_by("pk"):
        pieces = list(change.pieces.order_by("number"))
        data = b"".join(bytes(piece.data) for piece in pieces)
        blanked = blank(data, {*erasure.identifiers, *erasure.names})
        if blanked != data:
            for piece in pieces:
                piece.data, blanked = blanked[: len(piece.data)], blanked[len(piece.data) :]
                piece.save(update_fields=["data"])
    return 0


DATA = (
    PlayerData(
        "segment_member",
        export_rows("segment_member", "segment_id, excluded"),
        _erase_members,
        LinkedRows(lock=_lock_segments, resize=_resize),
        noun="segment list row",
    ),
    by_player_id(
        "segment_former_member",
        "former segment list row",
        order="change_id",
        linked=LinkedRows(expire=True),
    ),
    PlayerData("segment", None, _erase_in_segments),
    PlayerData("segment_list_piece", None, _erase_in_uploads),
)

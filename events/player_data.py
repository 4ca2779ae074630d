"""Player data in the tables of events, for export and erasure."""

from django.db import connection

from players.models import player_id_for
from players.player_data import Erasure, PlayerData, by_player_id, erase_rows


def _erase_rejected(erasure: Erasure) -> int:
    """Rejected events store the id as sent: a player id in any case, or an external id."""
    namespace = erasure.player.environment.namespace
    ids = [str(player_id_for(namespace, name)) for name in erasure.names]
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM event_rejected
               WHERE environment_id = %s AND (player = ANY(%s) OR lower(player) = ANY(%s))""",
            [erasure.player.environment_id, erasure.names, ids],
        )
        return int(cursor.rowcount)


DATA = (
    by_player_id("event", order="received_at, id"),
    # Not exported: it holds only digests of event ids.
    PlayerData("event_receipt", None, erase_rows("event_receipt")),
    PlayerData("event_rejected", None, _erase_rejected),
)

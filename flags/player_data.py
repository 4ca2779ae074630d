"""What flags store about a player."""

import uuid

from django.db import connection

from players.models import Player
from players.player_data import ERASED, Erasure, PlayerData, by_player_id, move_rows


def _move_overrides(alias_id: uuid.UUID, player: Player) -> None:
    columns = "flag_id, variant, expires_at, author_name, created_at"
    move_rows("flag_override", columns, alias_id, player)


def _erase_entries(erasure: Erasure) -> int:
    """Overrides name their player in the audit log."""
    with connection.cursor() as cursor:
        for column in ("before", "after"):
            cursor.execute(
                f"""UPDATE audit_entry
                    SET {column} = jsonb_set({column}, '{{player}}', to_jsonb(%(erased)s::text))
                    WHERE environment_id = %(environment)s AND object_type = 'flag'
                      AND {column}->>'player' = ANY(%(names)s)""",
                {
                    "environment": erasure.player.environment_id,
                    "names": erasure.names,
                    "erased": ERASED,
                },
            )
    return 0


DATA = (
    by_player_id("flag_override", order="flag_id", move=_move_overrides),
    PlayerData("audit_entry", None, _erase_entries),
)

"""Export, erasure and linking of the player data of flags."""

from django.db import connection

from players.player_data import ERASED, Erasure, LinkedRows, PlayerData, by_player_id


def _erase_entries(erasure: Erasure) -> int:
    """Remove the player from audit entries of overrides."""
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
    by_player_id("flag_override", order="flag_id", linked=LinkedRows()),
    PlayerData("audit_entry", None, _erase_entries),
)

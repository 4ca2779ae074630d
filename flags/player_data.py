"""Export, erasure and linking of the player data of flags."""

from django.db import connection

from flags.models import Flag, FlagImpact
from players.player_data import Erasure, LinkedRows, PlayerData, by_player_id
from players.redaction import Redaction, like_patterns

COLUMNS = ("document", "name", "description", "owner", "tags", "links")


def _erase_in_revisions(erasure: Erasure) -> int:
    """Remove the player from reasons, details, and the values of rules."""
    environment = erasure.player.environment
    flags = dict(Flag.objects.filter(environment=environment).values_list("key", "pk"))
    redaction, ids = Redaction(erasure.identifiers, keys=flags), [list(flags.values())]
    # The order of locks is that of a change of a flag.
    if redaction.rows("flag", COLUMNS, "id = ANY(%s)", ids):
        erasure.changed.add("flag")
    FlagImpact.objects.filter(flag__environment=environment).delete()  # its drafts may name players
    redaction.rows("flag_revision", (*COLUMNS, "reason"), "flag_id = ANY(%s)", ids)
    _erase_in_overrides(redaction, list(flags.values()))
    return 0


def _erase_in_overrides(redaction: Redaction, flags: list[int]) -> None:
    """Remove the player from the reasons of other players' overrides."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT reason, player_id, flag_id FROM flag_override
               WHERE flag_id = ANY(%s) AND reason ILIKE ANY(%s)
               ORDER BY flag_id, player_id FOR NO KEY UPDATE""",
            [flags, like_patterns(redaction.names)],
        )
        cursor.executemany(
            "UPDATE flag_override SET reason = %s WHERE player_id = %s AND flag_id = %s",
            [(redaction.text(reason), *key) for reason, *key in cursor.fetchall()],
        )


METRIC_TEXTS = ("name", "description", "owner", "conditions")
EXPERIMENT_TEXTS = ("name", "hypothesis", "owner", "population", "decision_reason", "evidence")


def _erase_in_experiments(erasure: Erasure) -> int:
    """Remove the player from what staff wrote about metrics and experiments, and from the values of
    their rules."""
    redaction, params = Redaction(erasure.identifiers), [erasure.player.environment_id]
    here = "environment_id = %s"
    redaction.rows("metric", METRIC_TEXTS, here, params)
    redaction.rows("experiment_group", ("name",), here, params)
    redaction.rows("experiment", EXPERIMENT_TEXTS, here, params)
    return 0


DATA = (
    by_player_id("flag_override", "flag override", order="flag_id", linked=LinkedRows()),
    # Only registered players are exposed, so no rows move when an id is linked.
    by_player_id("exposure", "exposure", order="exposed_at, experiment_id"),
    PlayerData("flag_revision", None, _erase_in_revisions),
    PlayerData("experiment", None, _erase_in_experiments),
)

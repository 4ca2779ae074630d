"""Export, erasure and linking of the player data of flags."""

from flags.models import Flag
from ilara_admin.core.changes import bump_config_version
from players.player_data import Erasure, LinkedRows, PlayerData, by_player_id
from players.redaction import Redaction

TEXTS = ("name", "description", "owner", "reason")


def _erase_in_revisions(erasure: Erasure) -> int:
    """Remove the player from reasons, descriptions, and the values of rules."""
    environment = erasure.player.environment
    flags = Flag.objects.filter(environment=environment).values_list("pk", flat=True)
    words, values = Redaction(erasure.identifiers), Redaction(erasure.identifiers, only_values=True)
    of_flags, ids = "flag_id = ANY(%s)", [list(flags)]
    words.rows("flag_revision", TEXTS, of_flags, ids)
    values.rows("flag_revision", ("document",), of_flags, ids)
    words.rows("flag", TEXTS[:3], "id = ANY(%s)", ids)
    if values.rows("flag", ("document",), "id = ANY(%s)", ids):
        bump_config_version(environment)
    return 0


DATA = (
    by_player_id("flag_override", order="flag_id", linked=LinkedRows()),
    PlayerData("flag_revision", None, _erase_in_revisions),
)

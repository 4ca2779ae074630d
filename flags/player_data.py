"""Export, erasure and linking of the player data of flags."""

from flags.models import Flag, FlagImpact
from players.player_data import Erasure, LinkedRows, PlayerData, by_player_id
from players.redaction import Redaction

COLUMNS = ("document", "name", "description", "owner")


def _erase_in_revisions(erasure: Erasure) -> int:
    """Remove the player from reasons, descriptions, and the values of rules."""
    environment = erasure.player.environment
    flags = dict(Flag.objects.filter(environment=environment).values_list("key", "pk"))
    redaction, ids = Redaction(erasure.identifiers, keys=flags), [list(flags.values())]
    # The order of locks is that of a change of a flag.
    if redaction.rows("flag", COLUMNS, "id = ANY(%s)", ids):
        erasure.changed.add("flag")
    FlagImpact.objects.filter(flag__environment=environment).delete()  # its drafts may name players
    redaction.rows("flag_revision", (*COLUMNS, "reason"), "flag_id = ANY(%s)", ids)
    return 0


DATA = (
    by_player_id("flag_override", order="flag_id", linked=LinkedRows()),
    PlayerData("flag_revision", None, _erase_in_revisions),
)

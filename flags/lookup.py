"""Finding the player that flags are asked about, with what is set for them."""

import uuid
from collections.abc import Mapping
from datetime import datetime

import msgspec
from django.db.models import Q

from flags.models import FlagOverride
from ilara_admin.api import ApiRequest, run_one
from players.lookup import known
from players.record import COLUMNS, PlayerRow

# Continues ENV_SQL; $4 is the player.
FIND = f"""
SELECT env.config_version, env.now, {COLUMNS},
       (SELECT jsonb_object_agg(o.flag_id, o.variant) FROM flag_override o
        WHERE o.player_id = p.id AND (o.expires_at IS NULL OR o.expires_at > env.now))
FROM env LEFT JOIN player p ON p.id = $4 AND p.environment_id = env.id"""


def find_player_with_overrides(
    request: ApiRequest, player_id: uuid.UUID
) -> tuple[PlayerRow, Mapping[int, str]]:
    """The player, and variants by flag id, in one statement; 404 if there is no such player."""
    *row, overrides = run_one(request, FIND, [player_id])
    player = known(tuple(row))
    return player, msgspec.json.decode(overrides, type=dict[int, str]) if overrides else {}


def overrides_of(player_id: uuid.UUID, now: datetime) -> dict[int, FlagOverride]:
    """What is in force for a player, by flag id, as the dashboard shows it."""
    live = Q(expires_at=None) | Q(expires_at__gt=now)
    return {item.flag_id: item for item in FlagOverride.objects.filter(live, player_id=player_id)}


def variants_of(overrides: Mapping[int, FlagOverride]) -> dict[int, str]:
    """The same as evaluation wants it."""
    return {flag_id: override.variant for flag_id, override in overrides.items()}

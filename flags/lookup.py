"""Finding the player that flags are asked about, with what is set for them."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from django.db.models import Q

from flags.engine.evaluation import EvaluationContext
from flags.models import FlagOverride
from ilara_admin.api.dispatch import ApiRequest
from players.statements import BY_ID
from segments.language.parser import EventCount
from segments.lookup import find_subject

FLAG_NOT_FOUND = "Flag not found"

OVERRIDES = """(SELECT jsonb_object_agg(o.flag_id, o.variant) FROM flag_override o
    WHERE o.player_id = p.id AND (o.expires_at IS NULL OR o.expires_at > env.now))"""


def find_evaluation_context(
    request: ApiRequest,
    player_id: uuid.UUID,
    event_counts: Iterable[EventCount],
    context: Mapping[str, Any] | None,
    by: str = BY_ID,
) -> EvaluationContext:
    """The player as flags are asked about them, in one statement; 404 if there is none. For `by`
    see find_subject."""
    player, subject, (overrides,) = find_subject(
        request, player_id, event_counts, context, [OVERRIDES], by
    )
    decoded = msgspec.json.decode(overrides, type=dict[int, str]) if overrides else {}
    return EvaluationContext(str(player.id), subject, decoded, request.now)


def overrides_of(player_id: uuid.UUID, now: datetime) -> dict[int, FlagOverride]:
    """What is in force for a player, by flag id, as the dashboard shows it."""
    live = Q(expires_at=None) | Q(expires_at__gt=now)
    return {item.flag_id: item for item in FlagOverride.objects.filter(live, player_id=player_id)}


def variants_of(overrides: Mapping[int, FlagOverride]) -> dict[int, str]:
    """The same as evaluation wants it."""
    return {flag_id: override.variant for flag_id, override in overrides.items()}

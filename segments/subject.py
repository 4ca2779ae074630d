"""A player as the subject of rules."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from players.lifecycle import Thresholds
from players.record import PlayerRow, facts_of
from segments.rules import Subject


def subject_of(
    player: PlayerRow,
    thresholds: Thresholds,
    now: datetime,
    context: Mapping[str, Any] | None = None,
) -> Subject:
    """`context` overrides attributes for this one evaluation; nothing of it is stored."""
    attributes = {**player.attributes, **context} if context else player.attributes
    return Subject(attributes, facts_of(player, thresholds, now), now)

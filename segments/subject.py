"""Builds the subject of rules from a player row."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from players.churn_model.risk import Parameters
from players.lifecycle import Thresholds
from players.record import PlayerRow, builtin_fields_of
from segments.language.compiler import Subject
from segments.language.parser import EventCount

NO_LISTS: Mapping[int, bool] = {}
NO_COUNTS: Mapping[EventCount, int] = {}


def subject_of(
    player: PlayerRow,
    thresholds: Thresholds,
    parameters: Parameters,
    now: datetime,
    context: Mapping[str, Any] | None = None,
    lists: Mapping[int, bool] = NO_LISTS,
    counts: Mapping[EventCount, int] = NO_COUNTS,
) -> Subject:
    """`context` overrides attributes for this evaluation only; it is not stored."""
    attributes = {**player.attributes, **context} if context else player.attributes
    return Subject(
        attributes, builtin_fields_of(player, thresholds, parameters, now), now, lists, counts
    )

"""A player as the subject of rules."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from players.churn_model.risk import Parameters
from players.lifecycle import Thresholds
from players.record import PlayerRow, facts_of
from segments.language.compiler import Subject
from segments.language.parser import Behaviour

NO_LISTS: Mapping[int, bool] = {}
NO_COUNTS: Mapping[Behaviour, int] = {}


def subject_of(
    player: PlayerRow,
    thresholds: Thresholds,
    parameters: Parameters,
    now: datetime,
    context: Mapping[str, Any] | None = None,
    lists: Mapping[int, bool] = NO_LISTS,
    counts: Mapping[Behaviour, int] = NO_COUNTS,
) -> Subject:
    """`context` overrides attributes for this one evaluation; nothing of it is stored."""
    attributes = {**player.attributes, **context} if context else player.attributes
    return Subject(attributes, facts_of(player, thresholds, parameters, now), now, lists, counts)

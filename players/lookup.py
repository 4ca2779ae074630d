"""Finding the player that a request is about."""

import uuid

from ilara_admin.api.dispatch import ApiRequest, run_one
from ilara_admin.api.errors import not_found
from ilara_admin.core.db import Row
from ilara_admin.models import Environment
from players import statements
from players.models import Player
from players.record import PlayerRow, player_of

NOT_FOUND = "Player not found"


def find_player(request: ApiRequest, player_id: uuid.UUID) -> PlayerRow:
    """The player of this environment, in one statement; 404 if there is none."""
    return player_or_404(run_one(request, statements.FIND, [player_id]))


def stored_player(environment: Environment, player_id: uuid.UUID) -> PlayerRow | None:
    """The player as the dashboard reads it, outside any request of the API."""
    row = Player.objects.of(environment).filter(pk=player_id).values_list(*PlayerRow._fields)
    found = row.first()
    return None if found is None else PlayerRow._make(found)


def player_or_404(row: Row) -> PlayerRow:
    """The player that a statement returned; 404 if it found none."""
    if row[0] is None:
        raise not_found(NOT_FOUND)
    return player_of(row)

"""The players that the ids in a file or a form stand for."""

import re
from collections.abc import Iterable, Sequence
from uuid import UUID

from ilara_admin.models import Environment
from players import aliases
from players.models import Player, player_id_for
from segments.lists.csv_reader import PLAYER_ID, CsvRow

STRANGER = "is the id of no player here. If it is the game's own id, name the column external_id"
UUID_TEXT = re.compile(
    "[0-9a-f]{8}(-?)[0-9a-f]{4}\\1[0-9a-f]{4}\\1[0-9a-f]{4}\\1[0-9a-f]{12}", re.I
)
PLAYER_ID_VERSION = 5  # as player_id_for computes it


def players_named(environment: Environment, external_ids: Iterable[str]) -> list[tuple[UUID, str]]:
    """The players of external ids, with their canonical external ids. Call it inside a chunk, which
    prevents new aliases. An id that no player has as external id may be a player's id."""
    named = [(player_id_for(environment.namespace, each), each) for each in external_ids]
    canonical = aliases.canonical([player_id for player_id, _ in named])
    by_player_id = _by_player_id(environment, named)
    return [
        canonical.get(player_id) or by_player_id.get(each) or (player_id, each)
        for player_id, each in named
    ]


def _by_player_id(
    environment: Environment, named: Sequence[tuple[UUID, str]]
) -> dict[str, tuple[UUID, str]]:
    """The player whose id a text is, by text, unless another player has it as external id."""
    wanted = {each: UUID(each) for _, each in named if UUID_TEXT.fullmatch(each)}
    if not wanted:
        return {}
    ids = [*wanted.values(), *(player_id for player_id, each in named if each in wanted)]
    players = Player.objects.filter(environment=environment, pk__in=ids)
    found = dict(players.values_list("pk", "external_id"))
    taken = {each for player_id, each in named if player_id in found}
    return {
        each: (player_id, found[player_id])
        for each, player_id in wanted.items()
        if player_id in found and each not in taken
    }


def without_strangers(
    environment: Environment, batch: Sequence[CsvRow]
) -> tuple[list[CsvRow], list[tuple[UUID, str]]]:
    """The lines of a file, and the players of the valid ones. In a column of player ids, an id of
    Ilara's kind that no player here has comes from another environment or an erased player."""
    valid = [line for line in batch if not line.problem]
    rows = players_named(environment, (line.external_id for line in valid))
    suspects = {
        player_id
        for line, (player_id, external_id) in zip(valid, rows, strict=True)
        if line.column == PLAYER_ID
        and external_id == line.external_id
        and UUID_TEXT.fullmatch(external_id)
        and UUID(external_id).version == PLAYER_ID_VERSION
    }
    if not suspects:
        return list(batch), rows
    suspects -= set(Player.objects.filter(pk__in=suspects).values_list("pk", flat=True))
    strangers = {
        line.number
        for line, (player_id, _) in zip(valid, rows, strict=True)
        if player_id in suspects
    }
    lines = [
        line._replace(problem=STRANGER) if line.number in strangers else line for line in batch
    ]
    return lines, [row for row in rows if row[0] not in suspects]

"""What the apps store about a player. Each app registers its tables, so that export, erasure and
linking name no table of another app."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from django.db import connection

from players.models import Player

type Row = tuple[Any, ...]

ERASED = "erased player"


@dataclass(frozen=True, slots=True)
class Erasure:
    """`names` are the external ids that mean the player or meant nobody else. `pseudonym` replaces
    the player's id where something about them stays."""

    player: Player
    names: list[str]
    pseudonym: uuid.UUID


@dataclass(frozen=True, slots=True)
class PlayerData:
    """`export` returns a player's rows as JSON values; None leaves the table out of the export.
    `erase` returns how many rows it deleted. `move` gives the rows stored under an alias's own id
    to its player, whose own rows win; None where rows exist for registered players only."""

    table: str
    export: Callable[[Player], Any] | None
    erase: Callable[[Erasure], int]
    move: Callable[[uuid.UUID, Player], None] | None = None


_registered: list[PlayerData] = []


def register(*data: PlayerData) -> None:
    _registered.extend(data)


def registered() -> tuple[PlayerData, ...]:
    """In the order of the apps, so that all callers lock rows in the same order."""
    return tuple(_registered)


# --- Tables with a column player_id ---------------------------------------------------------------


def export_rows(table: str, order: str) -> Callable[[Player], Any]:
    """All columns but `digest`, a hash of an id that the client chose."""

    def export(player: Player) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(
                f"""SELECT coalesce(jsonb_agg(to_jsonb(t) - 'digest' ORDER BY {order}), '[]')
                    FROM {table} t WHERE player_id = %s""",
                [player.pk],
            )
            return msgspec.json.decode(cursor.fetchone()[0])

    return export


def erase_rows(table: str) -> Callable[[Erasure], int]:
    def erase(erasure: Erasure) -> int:
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {table} WHERE player_id = %s", [erasure.player.pk])
            return int(cursor.rowcount)

    return erase


def move_rows(
    table: str, columns: str, alias_id: uuid.UUID, player: Player, **changed: Any
) -> list[Row]:
    """Move rows from an alias's own id to its player, with the `changed` columns. Returns the
    `columns` of those that the player had already.

    Where players are distributed a row cannot change its player, so it is deleted and inserted.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {table} WHERE player_id = %s RETURNING {columns}", [alias_id])
        rows = cursor.fetchall()
        names = ", ".join(["player_id", *changed, columns])
        present = []
        for row in rows:
            values = [player.pk, *changed.values(), *row]
            marks = ", ".join(["%s"] * len(values))
            cursor.execute(
                f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING", values
            )
            if not cursor.rowcount:
                present.append(row)
    return present


def by_player_id(
    table: str, *, order: str, move: Callable[[uuid.UUID, Player], None] | None = None
) -> PlayerData:
    """A table whose rows are exported in this order and deleted by `player_id`."""
    return PlayerData(table, export_rows(table, order), erase_rows(table), move)

"""Registry of player data. Each app registers its tables for export, erasure and linking, so that
no app needs to know the tables of another."""

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
    """`names` are the player's external id and aliases, and former aliases that no player uses now.
    `pseudonym` replaces the player's id in rows that remain."""

    player: Player
    names: list[str]
    pseudonym: uuid.UUID


@dataclass(frozen=True, slots=True)
class PlayerData:
    """`export` returns a player's rows as JSON values; None excludes the table. `erase` returns the
    number of deleted rows. `move` moves rows stored under an alias's id to its player, whose own
    rows win; None if only registered players have rows."""

    table: str
    export: Callable[[Player], Any] | None
    erase: Callable[[Erasure], int]
    move: Callable[[uuid.UUID, Player], None] | None = None


_registered: list[PlayerData] = []


def register(*data: PlayerData) -> None:
    _registered.extend(data)


def registered() -> tuple[PlayerData, ...]:
    """In app order, so that all callers lock rows in the same order."""
    return tuple(_registered)


# --- Tables with a column player_id ---------------------------------------------------------------


def export_rows(table: str, order: str) -> Callable[[Player], Any]:
    """Exports all columns except `digest`, a hash of the client's id."""

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
    """Move rows from an alias's id to its player and set the `changed` columns. Returns the
    `columns` of rows that the player already had.

    In a distributed table a row cannot change its player, so it is deleted and inserted.
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

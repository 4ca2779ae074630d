"""Registry of player data. Each app registers its tables for export, erasure and linking, so that
no app needs to know the tables of another."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.db import connection

from players.models import Player


@dataclass(frozen=True, slots=True)
class Erasure:
    """`names` are the player's external id and aliases, and former aliases that no player uses now.
    `identifiers` are these, the id in its spellings, and e-mails, device ids and names, also former
    ones. `pseudonym` replaces the player's id in rows that remain. `changed` collects the tables of
    documents that requests read, so that they are loaded again."""

    player: Player
    names: list[str]
    identifiers: list[str]
    pseudonym: uuid.UUID
    changed: set[str] = field(default_factory=set)


def _do_nothing(*args: Any) -> None:
    pass


@dataclass(frozen=True, slots=True)
class LinkedRows:
    """`lock` takes the locks that precede locks on the rows of a player id. `resize` is called with
    -1 for each row that both the linked id and the player had, and with 1 when the link is undone.
    Rows that `expire` are not compared before an undo."""

    lock: Callable[[uuid.UUID], None] = _do_nothing
    resize: Callable[[Mapping[str, Any], int], None] = _do_nothing
    expire: bool = False


@dataclass(frozen=True, slots=True)
class PlayerData:
    """`export` returns a player's rows as JSON values; None excludes the table. `erase` returns the
    number of deleted rows. `linked` is None if only registered players have rows; else rows stored
    under an id move to the player when the id is linked. `noun` names a row for staff; "" if the
    table has no rows by player id, so that what will be deleted is known only afterwards."""

    table: str
    export: Callable[[Player], Any] | None
    erase: Callable[[Erasure], int]
    linked: LinkedRows | None = None
    noun: str = ""


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


def count_rows(player: Player) -> list[tuple[str, int]]:
    """The noun and the number of the player's rows in each table with a noun; tables without rows
    are left out."""
    named = [data for data in registered() if data.noun]
    counts = ", ".join(
        f"(SELECT count(*) FROM {data.table} WHERE player_id = %(player)s)" for data in named
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {counts}", {"player": player.pk})
        found = cursor.fetchone()
    return [(data.noun, count) for data, count in zip(named, found, strict=True) if count]


def by_player_id(
    table: str, noun: str, *, order: str, linked: LinkedRows | None = None
) -> PlayerData:
    """A table whose rows are exported in this order and deleted by `player_id`."""
    return PlayerData(table, export_rows(table, order), erase_rows(table), linked, noun)

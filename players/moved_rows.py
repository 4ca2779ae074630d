"""Rows stored under a linked id: linking moves them to the player, undo moves them back."""

import uuid
from collections import Counter
from typing import Any

import msgspec
from django.db import connection
from django.db.backends.utils import CursorWrapper

from players.models import PlayerAlias
from players.player_data import LinkedRows, registered

type Moved = dict[str, list[list[Any]]]  # by table: the original row, whether it was inserted


def _tables() -> dict[str, LinkedRows]:
    return {data.table: data.linked for data in registered() if data.linked}


def take_over(alias: PlayerAlias) -> Moved:
    """Move rows from an alias's id to its player, whose own rows win. Returns the rows.

    In a distributed table a row cannot change its player, so it is deleted and inserted.
    """
    moved: Moved = {}
    with connection.cursor() as cursor:
        for table, linked in _tables().items():
            linked.lock(alias.pk)
            rows = _delete(cursor, table, alias.pk)
            if rows:
                moved[table] = [
                    [row, _insert(cursor, table, _of_player(row, alias))] for row in rows
                ]
    _resize(moved, -1)
    return moved


def give_back(alias: PlayerAlias, moved: Moved) -> None:
    """Undo take_over. Rows that changed or were deleted since are not restored."""
    tables = _tables()
    with connection.cursor() as cursor:
        for table, rows in moved.items():
            tables[table].lock(alias.player_id)
            for row, inserted in rows:
                if not inserted or _delete(cursor, table, alias.player_id, _of_player(row, alias)):
                    _insert(cursor, table, row)
    _resize(moved, 1)


def counts(moved: Moved) -> dict[str, int]:
    """The number of moved rows by table, without tables whose rows expire."""
    tables = _tables()
    return {table: len(rows) for table, rows in moved.items() if not tables[table].expire}


def unchanged(alias: PlayerAlias, moved: Moved) -> dict[str, int]:
    """The number of rows unchanged since take_over, by table."""
    found: Counter[str] = Counter(dict.fromkeys(counts(moved), 0))
    with connection.cursor() as cursor:
        for table in found:
            for row, inserted in moved[table]:
                wanted = _json(_of_player(row, alias))
                cursor.execute(
                    f"SELECT FROM {table} t WHERE player_id = %s AND to_jsonb(t) = %s",
                    [alias.player_id, wanted],
                )
                found[table] += cursor.rowcount if inserted else 1
    return dict(found)


def _resize(moved: Moved, step: int) -> None:
    tables = _tables()
    for table, rows in moved.items():
        for row, inserted in rows:
            if not inserted:
                tables[table].resize(row, step)


def _of_player(row: dict[str, Any], alias: PlayerAlias) -> dict[str, Any]:
    own = {"player_id": str(alias.player_id), "external_id": alias.player.external_id}
    return {name: own.get(name, value) for name, value in row.items()}


def _delete(
    cursor: CursorWrapper, table: str, player_id: uuid.UUID, row: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    cursor.execute(
        f"""DELETE FROM {table} t WHERE player_id = %s AND (%s::jsonb IS NULL OR to_jsonb(t) = %s)
            RETURNING to_jsonb(t)""",
        [player_id, *[_json(row) if row else None] * 2],
    )
    return [msgspec.json.decode(text) for (text,) in cursor.fetchall()]


def _insert(cursor: CursorWrapper, table: str, row: dict[str, Any]) -> bool:
    cursor.execute(
        f"""INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, %s)
            ON CONFLICT DO NOTHING""",
        [_json(row)],
    )
    return bool(cursor.rowcount)


def _json(row: dict[str, Any]) -> str:
    return msgspec.json.encode(row).decode()

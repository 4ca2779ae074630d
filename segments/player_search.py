"""Players who match a rule, in the order of an index, with a bounded amount of work.

The players are walked in the order of the list, a chunk at a time, and tested while they are read.
So a page is fast where many match: it ends after a few rows. Where few match, no index could help
for every attribute, and an index on what events and PATCH change would make each of them slower. A
page therefore ends after MOST players or SEARCH_SECONDS, says how many were looked at, and where to
continue. Nothing is passed over: an export walks all players.

Segments are tested by the SQL of their rules and lists on the same players, so that the answer is
that of the API now, not that of the last count.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from ilara_admin.core.db import Row
from segments.language.sql import SqlQuery
from segments.sizes import (
    CHUNK_SIZE,
    IN_ENVIRONMENT,
    SEARCH_SECONDS,
    SMALL_CHUNK_SIZE,
    RuleQuery,
    columns_of,
    is_cheap,
    matching,
)

MOST = 20_000
PAGE_SIZE = 50
# The first chunk: few, so that PostgreSQL plans for a page and not for all players.
FIRST_CHUNK_SIZE = 4 * PAGE_SIZE
# The others of a page: the time is looked at after each.
PAGE_CHUNK_SIZE = 2_000
EVERYONE = SqlQuery("", "", "true", {}, True, {}, {})


class OrderKey(NamedTuple):
    """A column of an index, and its direction in an order."""

    column: str
    type: str
    descending: bool

    @property
    def sql(self) -> str:
        return f'p.{self.column} COLLATE "C"' if self.type == "text" else f"p.{self.column}"

    @property
    def order(self) -> str:
        return f"{self.sql} {'DESC' if self.descending else 'ASC'}"


type OrderKeys = tuple[OrderKey, ...]

# By the name of the order: the keys as their index has them. The last one is unique. The index
# player_first_seen lacks the id, which only matters for players first seen in one microsecond.
ORDERS: Mapping[str, OrderKeys] = {
    "id": (OrderKey("external_id", "text", False),),
    "-seen": (OrderKey("last_active_on", "date", True), OrderKey("id", "uuid", False)),
    "-first": (OrderKey("first_seen_at", "timestamptz", True), OrderKey("id", "uuid", True)),
}
BY_ID: OrderKeys = (OrderKey("id", "uuid", False),)


def keys_of(order: str) -> OrderKeys:
    """The keys of an order by name; a name of the other direction reverses all of them."""
    if order in ORDERS:
        return ORDERS[order]
    other = order[1:] if order.startswith("-") else f"-{order}"
    return backwards(ORDERS[other])


def backwards(keys: OrderKeys) -> OrderKeys:
    return tuple(key._replace(descending=not key.descending) for key in keys)


class Place(NamedTuple):
    """A player's place in any of the orders."""

    id: UUID
    external_id: str
    first_seen_at: datetime
    last_active_on: date

    def at(self, keys: OrderKeys) -> "PlayerPosition":
        return tuple(_text(getattr(self, key.column)) for key in keys)


# The values of the keys, as texts that PostgreSQL reads. Of the first key alone, see _few.
type PlayerPosition = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """What an index narrows: the start of the external id, the days last active, both included,
    and the times after which players were first seen or returned. Players outside need not match
    the rule; those inside are tested."""

    prefix: str = ""
    since: date | None = None
    until: date | None = None
    first_after: datetime | None = None
    returned_after: datetime | None = None

    def conditions(self, keys: OrderKeys) -> tuple[list[str], dict[str, Any]]:
        """SQL and parameters. The days count only in their own order: with another one PostgreSQL
        might sort all players of these days."""
        by_day = keys[0].column == "last_active_on"
        like = self.prefix.translate(_LIKE) + "%" if self.prefix else None
        rows = (
            ("prefix", 'p.external_id COLLATE "C" LIKE %(prefix)s', like),
            ("since", "p.last_active_on >= %(since)s", self.since if by_day else None),
            ("until", "p.last_active_on <= %(until)s", self.until if by_day else None),
            ("first_after", "p.first_seen_at > %(first_after)s", self.first_after),
            ("returned_after", "p.returned_at > %(returned_after)s", self.returned_after),
        )
        found = [row for row in rows if row[2] is not None]
        return [sql for _, sql, _ in found], {name: value for name, _, value in found}


_LIKE = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


@dataclass(frozen=True, slots=True)
class Search:
    """`query` is None for everyone."""

    environment_id: int
    query: RuleQuery | None
    keys: OrderKeys
    scope: Scope = field(default_factory=Scope)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """`end` is where to continue, None if there are no more. If the search ended before it found a
    page, `looked` is the number of players that it looked at, else None."""

    places: list[Place]
    end: PlayerPosition | None
    looked: int | None = None


def search(search: Search, after: PlayerPosition | None, size: int = PAGE_SIZE) -> SearchResult:
    """The next players, up to `size`."""
    until, looked = monotonic() + SEARCH_SECONDS, 0
    found: list[Place] = []
    for chunk in walk(search, after, size + 1):
        found += chunk.places
        looked += chunk.size
        if len(found) > size:
            return SearchResult(found[:size], found[size - 1].at(search.keys))
        if chunk.end is not None and (looked >= MOST or monotonic() > until):
            return SearchResult(found, chunk.end, looked)
    return SearchResult(found, None)


class PlayerChunk(NamedTuple):
    """The matching players among the next `size`, and where they end; None at the end of all
    players, and then `size` is an upper bound."""

    places: list[Place]
    size: int
    end: PlayerPosition | None


def walk(
    search: Search, after: PlayerPosition | None, most: int | None = None
) -> Iterator[PlayerChunk]:
    """All players that match, a chunk at a time. The last chunk is the one that has `most` of them;
    its `end` is None, and the caller must not rely on it."""
    sql = EVERYONE if search.query is None else search.query.sql_query(one_by_one=True)
    whole = CHUNK_SIZE if most is None else PAGE_CHUNK_SIZE
    whole = whole if is_cheap(sql) else SMALL_CHUNK_SIZE
    size = whole if most is None else FIRST_CHUNK_SIZE
    while True:
        few = _few(search, after, size)
        places = _matching(search, sql, few, most)
        if most is not None and len(places) >= most:
            yield PlayerChunk(places, size, None)
            return
        chunk = PlayerChunk(places, *_end(search, few, after))
        yield chunk
        if chunk.end is None:
            return
        after, size = chunk.end, whole


# --- Statements -----------------------------------------------------------------------------------


class Few(NamedTuple):
    """A sub-select of up to `size` players, which have one value of the first key if `is_part`."""

    sql: str
    params: Mapping[str, Any]
    order: str
    size: int
    is_part: bool


def _few(search: Search, after: PlayerPosition | None, size: int) -> Few:
    """The next players after a position.

    Where the directions of two keys differ, as of the days last active and the ids, no comparison
    of rows says what follows, and PostgreSQL would sort the union of the rest of a day and the
    other days. So the rest of a day is a separate chunk, and a position without the second key is
    the end of its day.
    """
    keys = search.keys
    conditions, params = search.scope.conditions(keys)
    is_part = False
    if after is not None:
        params |= {f"after_{number}": text for number, text in enumerate(after)}
        values = [f"%(after_{number})s::{key.type}" for number, key in enumerate(keys)]
        signs = ["<" if key.descending else ">" for key in keys]
        if len(after) == 1:
            conditions.append(f"{keys[0].sql} {signs[0]} {values[0]}")
        elif signs[0] == signs[1]:
            row = ", ".join(key.sql for key in keys)
            conditions.append(f"({row}) {signs[0]} ({', '.join(values)})")
        else:
            is_part = True
            conditions.append(f"{keys[0].sql} = {values[0]}")
            conditions.append(f"{keys[1].sql} {signs[1]} {values[1]}")
    order = ", ".join(key.order for key in keys[is_part:])
    where = " AND ".join((IN_ENVIRONMENT, *conditions))
    sql = f"(SELECT p.* FROM player p WHERE {where} ORDER BY {order} LIMIT {size})"
    return Few(sql, params, order, size, is_part)


def _matching(search: Search, sql: SqlQuery, few: Few, most: int | None) -> list[Place]:
    columns = ", ".join(f"p.{name}" for name in Place._fields) if sql.exact else columns_of(sql)
    limit = f"LIMIT {most:d}" if most is not None and sql.exact else ""
    rows = _rows(
        search,
        f"""WITH few AS {few.sql}{sql.ctes} SELECT {columns}
            FROM few p {sql.joins} WHERE {sql.where} ORDER BY {few.order} {limit}""",
        {**sql.params, **few.params},
    )
    if sql.exact:
        return [Place._make(row) for row in rows]
    assert search.query is not None
    return [
        Place(player.id, player.external_id, player.first_seen_at, player.last_active_on)
        for player in matching(search.query, sql, rows)
    ]


def _end(
    search: Search, few: Few, after: PlayerPosition | None
) -> tuple[int, PlayerPosition | None]:
    """The number of the players, and the place of the last one; None if there are no more."""
    columns = ", ".join(key.sql for key in search.keys)
    last = f"""SELECT {columns} FROM {few.sql} p
        ORDER BY {few.order} OFFSET {few.size - 1} LIMIT 1"""
    for row in _rows(search, last, few.params):
        return few.size, tuple(map(_text, row))
    if not few.is_part:
        return few.size, None
    assert after is not None
    [(number,)] = _rows(search, f"SELECT count(*) FROM {few.sql} p", few.params)
    return number, after[:1]


def _rows(search: Search, sql: str, params: Mapping[str, Any]) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, {**params, "environment": search.environment_id})
        rows: list[Row] = cursor.fetchall()
        return rows


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)

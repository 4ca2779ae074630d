"""Finds past events, newest first, at a bounded cost.

The events of a name or a player have indexes by time. All others are read by id: ids are drawn in
order, and a statement takes MARGIN at most from its `received_at` to its last id, so a time range
is turned into a range of ids by bisection, with this margin.

A filter by a property has no index: one search looks at LOOKED_EVENTS at most, and returns how far
it got.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple

from events import log_reader
from events.log_reader import EARLIEST, Filter, LogEntry
from ilara_admin.core import db
from ilara_admin.core.limits import API

LOOKED_EVENTS = 20_000
LOOKED_SECONDS = 0.05  # after which no further chunk is read
FIRST_CHUNK = 1_000
# For a larger part of its range, PostgreSQL would rather sort all of it.
LARGEST_CHUNK = 4_000
MARGIN = timedelta(seconds=API.statement + 4)
DAY = timedelta(days=1)
BISECTED = 256  # ids between the bounds that a bisection returns


class TimeRange(NamedTuple):
    """A time range of arrival; `until` is exclusive, None is open."""

    since: datetime | None = None
    until: datetime | None = None


ALL_TIME = TimeRange()


class Position(NamedTuple):
    """An event that a search has reached, and may be continued after."""

    id: int
    at: datetime

    @property
    def text(self) -> str:
        """For URLs; see position_of."""
        return f"{self.id}-{(self.at - EARLIEST) // timedelta(microseconds=1)}"


def position_of(text: str) -> Position | None:
    """The position with this text, or None if it is not one."""
    found = re.fullmatch(r"(\d{1,18})-(\d{1,17})", text, re.ASCII)
    if found is None:
        return None
    try:
        return Position(int(found[1]), EARLIEST + timedelta(microseconds=int(found[2])))
    except OverflowError:
        return None


class FoundEvents(NamedTuple):
    """Matching events, newest first. `looked_to` is None if there are no further ones."""

    entries: list[LogEntry]
    looked_to: Position | None


def search(
    environment_id: int, wanted: Filter, span: TimeRange, count: int, before: Position | None = None
) -> FoundEvents:
    """The newest `count` matching events of a time range, after those up to `before`."""
    until = monotonic() + LOOKED_SECONDS
    entries: list[LogEntry] = []
    looked = 0
    # One more shows whether there are further ones.
    for chunk in chunks(environment_id, wanted, span, count + 1, before):
        entries += chunk.entries
        looked += chunk.looked
        if len(entries) > count or (len(entries) == count and chunk.looked_to):
            last = entries[count - 1]
            return FoundEvents(entries[:count], Position(last.id, last.event.received_at))
        if chunk.looked_to is None or looked >= LOOKED_EVENTS or monotonic() > until:
            return FoundEvents(entries, chunk.looked_to)
    return FoundEvents(entries, None)


class EventChunk(NamedTuple):
    """The matches among `looked` events, newest first. `looked_to` is None in the last chunk."""

    entries: list[LogEntry]
    looked: int
    looked_to: Position | None


def chunks(
    environment_id: int, wanted: Filter, span: TimeRange, count: int, before: Position | None = None
) -> Iterator[EventChunk]:
    """All matching events of a time range, newest first. `count` is the size of a chunk without a
    filter by a property; with one, chunks grow while few events match."""
    by_time = wanted.event_name is not None or wanted.player_id is not None
    bounds = (None, None) if by_time else _id_bounds(environment_id, span)
    size = count if wanted.where is None else FIRST_CHUNK
    while True:
        chunk = _chunk(environment_id, wanted, span, bounds, before, size, by_time=by_time)
        yield chunk
        if chunk.looked_to is None:
            return
        before = chunk.looked_to
        if wanted.where is not None and 4 * len(chunk.entries) < chunk.looked:
            size = LARGEST_CHUNK


def _chunk(
    environment_id: int,
    wanted: Filter,
    span: TimeRange,
    bounds: tuple[int | None, int | None],
    before: Position | None,
    size: int,
    *,
    by_time: bool,
) -> EventChunk:
    params: list[Any] = []

    def bind(value: Any) -> str:
        params.append(value)
        return f"${len(params)}"

    conditions: list[tuple[str, Any]] = [("environment_id =", environment_id)]
    conditions += [("id >", bounds[0]), ("id <", bounds[1])]
    exact: list[tuple[str, Any]] = [("received_at >=", span.since), ("received_at <", span.until)]
    if by_time:
        conditions += exact
    else:
        # Whole days choose the partitions. PostgreSQL takes times and ids to be independent: with
        # the exact times it would expect few rows, and sort all of the range.
        conditions += [("received_at >=", span.since and _midnight(span.since))]
        conditions += [("received_at <", span.until and _midnight(span.until) + DAY)]
    conditions += [("name =", wanted.event_name), ("player_id =", wanted.player_id)]
    if before is not None and not by_time:
        conditions += [("id <", before.id)]
    where = [f"{sql} {bind(value)}" for sql, value in conditions if value is not None]
    if before is not None and by_time:
        where.append(f"(received_at, id) < ({bind(before.at)}::timestamptz, {bind(before.id)})")
    order = "received_at DESC, id DESC" if by_time else "id DESC"
    hits = [] if by_time else [f"{sql} {bind(value)}" for sql, value in exact if value is not None]
    if wanted.where is not None:
        hits.append(wanted.where.sql(bind))
    hit = " AND ".join(hits) or "true"
    row = db.fetch_one(
        f"""WITH looked AS MATERIALIZED (
                SELECT id, received_at, {hit} AS hit, row_number() OVER (ORDER BY {order}) AS place
                FROM event WHERE {" AND ".join(where)} ORDER BY {order} LIMIT {size:d})
            SELECT last.place, last.id, last.received_at,
                   ARRAY(SELECT id FROM looked WHERE hit ORDER BY place),
                   (SELECT min(received_at) FROM looked WHERE hit)
            FROM (SELECT place, id, received_at FROM looked ORDER BY place DESC LIMIT 1) last""",
        params,
        safe_to_repeat=True,
    )
    if row is None:
        return EventChunk([], 0, None)
    looked, last_id, last_at, ids, since = row
    entries = (
        {entry.id: entry for entry in log_reader.of_ids(environment_id, ids, since)} if ids else {}
    )
    found = [entries[id] for id in ids if id in entries]
    return EventChunk(found, looked, Position(last_id, last_at) if looked == size else None)


def _midnight(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def count_after(environment_id: int, wanted: Filter, after: int, limit: int) -> tuple[int, bool]:
    """How many events after the id `after` match, among the first `limit` of the name and player;
    and whether there are more of these."""
    params: list[Any] = []

    def bind(value: Any) -> str:
        params.append(value)
        return f"${len(params)}"

    conditions: list[tuple[str, Any]] = [("environment_id =", environment_id), ("id >", after)]
    conditions += [("name =", wanted.event_name), ("player_id =", wanted.player_id)]
    where = [f"{sql} {bind(value)}" for sql, value in conditions if value is not None]
    hit = "true" if wanted.where is None else wanted.where.sql(bind)
    row = db.fetch_one(
        f"""SELECT count(*) FILTER (WHERE hit), count(*)
            FROM (SELECT {hit} AS hit FROM event
                  WHERE {" AND ".join(where)} LIMIT {limit:d}) looked""",
        params,
        safe_to_repeat=True,
    )
    count, looked = row or (0, 0)
    return count, looked == limit


# $1 environment, $2 a time. An event before `low` arrived before that time, or shortly after it; an
# event from `high` on arrived at that time or later.
BISECT_SQL = f"""
WITH RECURSIVE bisection(low, high) AS (
    SELECT (SELECT id FROM event WHERE environment_id = $1 ORDER BY id LIMIT 1) - 1,
           (SELECT id FROM event WHERE environment_id = $1 ORDER BY id DESC LIMIT 1) + 1
    UNION ALL
    SELECT CASE WHEN probe.received_at < $2 THEN probe.id ELSE low END,
           CASE WHEN probe.received_at < $2 THEN high
                ELSE coalesce(probe.id, (low + high) / 2 + 1) END
    FROM bisection LEFT JOIN LATERAL (
        SELECT id, received_at FROM event
        WHERE environment_id = $1 AND id > (low + high) / 2 AND id < high
        ORDER BY id LIMIT 1) probe ON true
    WHERE high - low > {BISECTED})
SELECT low, high FROM bisection ORDER BY high - low LIMIT 1"""


def _id_bounds(environment_id: int, span: TimeRange) -> tuple[int | None, int | None]:
    """Ids between which all events of a time range lie: both exclusive, None is open."""
    after = below = None
    if span.since is not None:
        after, _ = _bisected(environment_id, max(span.since, EARLIEST + MARGIN) - MARGIN)
    if span.until is not None:
        _, below = _bisected(environment_id, span.until + MARGIN)
    return after, below


def _bisected(environment_id: int, at: datetime) -> tuple[int | None, int | None]:
    row = db.fetch_one(BISECT_SQL, [environment_id, at], safe_to_repeat=True)
    return (None, None) if row is None else (row[0], row[1])

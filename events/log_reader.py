"""Reads the event log in id order, for the stream and the dashboard."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from events.properties import PropertyFilter, decoded
from events.schemas import Status, StreamedEvent
from ilara_admin.core import db

PAGE_ROWS = 500
EXAMPLE_EVENTS = 100
EXAMPLE_CHARACTERS = 100
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
# `received_at` is when the statement began, its ids are drawn later. No statement takes longer.
SLACK = timedelta(hours=1)


class Filter(NamedTuple):
    """A field that is None matches every event."""

    event_name: str | None = None
    player_id: UUID | None = None
    where: PropertyFilter | None = None

    def matches(self, event: StreamedEvent) -> bool:
        return (
            self.event_name in (None, event.event_name)
            and self.player_id in (None, event.player_id)
            and (self.where is None or self.where.matches(decoded(event.properties)))
        )


EVERYTHING = Filter()


class LogEntry(NamedTuple):
    """An event in the log: its id, the event, and the event as JSON."""

    id: int
    event: StreamedEvent
    json: bytes


class LogPage(NamedTuple):
    """`last_id` is the last row scanned, matching or not. Later rows arrived after `since`."""

    entries: list[LogEntry]
    last_id: int
    since: datetime


def newest(environment_id: int, count: int, wanted: Filter = EVERYTHING) -> list[LogEntry]:
    """The last `count` events, newest first. For a filter by a property, see search.py."""
    return read(environment_id, EARLIEST, _where(wanted), f"id DESC LIMIT {count:d}")


def recent_examples(environment_id: int, name: str, since: datetime) -> dict[tuple[str, str], str]:
    """The newest value of each property and JSON type among the last EXAMPLE_EVENTS events of a
    name after `since`, as text."""
    rows = db.fetch_all(
        f"""SELECT item.key, jsonb_typeof(item.value),
                   (array_agg(left(item.value #>> '{{}}', {EXAMPLE_CHARACTERS})
                              ORDER BY recent.received_at DESC))[1]
            FROM (SELECT properties, received_at FROM event
                  WHERE environment_id = $1 AND name = $2 AND received_at > $3
                  ORDER BY received_at DESC LIMIT {EXAMPLE_EVENTS}) recent,
                 jsonb_each(recent.properties) item
            GROUP BY 1, 2""",
        [environment_id, name, since],
        safe_to_repeat=True,
    )
    return {(key, type): "null" if text is None else text for key, type, text in rows}


def of_ids(environment_id: int, ids: list[int], since: datetime) -> list[LogEntry]:
    return read(environment_id, since, [("id = ANY", ids)])


def page(environment_id: int, after: int, since: datetime, wanted: Filter) -> LogPage | None:
    """The matching events among the PAGE_ROWS rows after `after`, or None if there are no rows.

    Rows are limited before they are filtered, so a filter for a rare event stays fast.
    """
    end = db.fetch_one(
        f"""SELECT id, received_at FROM (
                SELECT id, received_at FROM event
                WHERE environment_id = $1 AND id > $2 AND received_at >= $3
                ORDER BY id LIMIT {PAGE_ROWS}) page
            ORDER BY id DESC LIMIT 1""",
        [environment_id, after, since],
        safe_to_repeat=True,
    )
    if end is None:
        return None
    last_id, received_at = end
    conditions = [("id >", after), ("id <=", last_id), *_where(wanted)]
    entries = read(environment_id, since, conditions)
    if wanted.where is not None:
        entries = [entry for entry in entries if wanted.matches(entry.event)]
    return LogPage(entries, last_id, received_at - SLACK)


def _where(wanted: Filter) -> list[tuple[str, Any]]:
    pairs = [("name =", wanted.event_name), ("player_id =", wanted.player_id)]
    return [(sql, value) for sql, value in pairs if value is not None]


def read(
    environment_id: int,
    since: datetime,
    conditions: Iterable[tuple[str, Any]],
    order: str = "id",
) -> list[LogEntry]:
    """The events that arrived since then and meet all conditions, such as ("id >", 5)."""
    params: list[Any] = [environment_id, since]
    sql = """SELECT id, event_id, player_id, name, occurred_at, received_at, session_id, properties
             FROM event WHERE environment_id = $1 AND received_at >= $2"""
    for condition, value in conditions:
        params.append(value)
        sql += f" AND {condition} (${len(params)})"
    rows = db.fetch_all(f"{sql} ORDER BY {order}", params, safe_to_repeat=True)
    return [_entry(*row) for row in rows]


def _entry(id: int, *columns: Any) -> LogEntry:
    event = event_of(*columns)
    return LogEntry(id, event, msgspec.json.encode(event))


def event_of(
    event_id: str, player_id: UUID, name: str, occurred_at: datetime, received_at: datetime,
    session_id: str | None, properties: str,
) -> StreamedEvent:  # fmt: skip
    """A row as shown by the API. `properties` is JSON text."""
    return StreamedEvent(
        event_id=event_id,
        player_id=player_id,
        event_name=name,
        timestamp=occurred_at.astimezone(UTC),
        received_at=received_at.astimezone(UTC),
        status=Status.ACCEPTED,
        session_id=session_id,
        properties=msgspec.Raw(properties.encode()),
    )

"""A player's timeline: sessions, purchases and events, merged, newest first.

One statement reads a page from the three tables, each by its index on player and time.
"""

import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Any

import msgspec
from django.core import signing
from django.db import connection

from players.event_log import LOGGED_EVENTS

PAGE_SIZE = 25
BRIEF_LENGTH = 120
LATE_FROM = timedelta(minutes=1)
_json_text = json.JSONEncoder(ensure_ascii=False).encode


class TimelineKind(IntEnum):
    """At equal times, higher values come first."""

    SESSION = 1
    PURCHASE = 2
    EVENT = 3


class TimelineSession(msgspec.Struct, frozen=True):
    session_id: str | None
    happened_at: datetime
    duration_seconds: int | None

    @property
    def duration(self) -> str:
        """ "1 h 5 min" or "40 s"; "" if unknown."""
        if self.duration_seconds is None:
            return ""
        minutes, seconds = divmod(self.duration_seconds, 60)
        hours, minutes = divmod(minutes, 60)
        if hours:
            return f"{hours} h {minutes} min"
        return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


class TimelinePurchase(msgspec.Struct, frozen=True):
    transaction_id: str | None
    product_id: str | None
    amount: Decimal
    currency: str
    counted: bool
    verified: bool
    happened_at: datetime
    refunded_at: datetime | None


class TimelineEvent(msgspec.Struct, frozen=True):
    name: str
    session_id: str | None
    properties: dict[str, Any]
    happened_at: datetime

    @property
    def brief(self) -> str:
        """ "level 24, stars 3", cut to one line."""
        return ", ".join(
            f"{name} {value if isinstance(value, str) else _json_text(value)}"
            for name, value in self.properties.items()
        )[:BRIEF_LENGTH]


_DETAIL: dict[TimelineKind, Any] = {
    TimelineKind.SESSION: TimelineSession,
    TimelineKind.PURCHASE: TimelinePurchase,
    TimelineKind.EVENT: TimelineEvent,
}


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """`late` is the client's time if it differs from the server's by LATE_FROM or more."""

    kind: TimelineKind
    at: datetime
    tie: str
    detail: TimelineSession | TimelinePurchase | TimelineEvent

    @property
    def late(self) -> datetime | None:
        happened_at = self.detail.happened_at
        return happened_at if abs(self.at - happened_at) >= LATE_FROM else None


@dataclass(frozen=True, slots=True)
class TimelinePage:
    """`older` is the cursor of the next page, "" on the last page."""

    entries: list[TimelineEntry]
    older: str


# Per kind: the table, a tie-breaker for equal times, and the arguments of jsonb_build_object.
_SOURCES = {
    TimelineKind.SESSION: (
        "player_session",
        "encode(digest, 'hex') COLLATE \"C\"",
        "'session_id', session_id, 'happened_at', started_at, 'duration_seconds', duration_seconds",
    ),
    TimelineKind.PURCHASE: (
        "purchase",
        "encode(digest, 'hex') COLLATE \"C\"",
        """'transaction_id', transaction_id, 'product_id', product_id, 'amount', amount::text,
           'currency', currency, 'counted', counted, 'verified', verified,
           'happened_at', received_at, 'refunded_at', refunded_at""",
    ),
    TimelineKind.EVENT: (
        "event",
        "lpad(id::text, 20, '0') COLLATE \"C\"",
        """'name', name, 'session_id', session_id, 'properties', properties,
           'happened_at', occurred_at""",
    ),
}


def timeline(
    player_id: uuid.UUID,
    *,
    kind: TimelineKind | None = None,
    event_name: str = "",
    before: str = "",
) -> TimelinePage:
    """The newest page, or the page after the cursor `before`."""
    cursor = _decode(player_id, before)
    kinds = [kind] if kind else list(TimelineKind)
    parts = " UNION ALL ".join(
        _part(each, older=cursor is not None, named=bool(event_name)) for each in kinds
    )
    params = {
        "player": player_id, "name": event_name, "logged": list(LOGGED_EVENTS),
        "limit": PAGE_SIZE + 1, **(cursor or {}),
    }  # fmt: skip
    with connection.cursor() as db:
        db.execute(
            f"""SELECT * FROM ({parts}) AS found
                ORDER BY at DESC, kind DESC, tie DESC LIMIT %(limit)s""",
            params,
        )
        rows = db.fetchall()
    entries = [
        TimelineEntry(
            TimelineKind(kind),
            at,
            tie,
            msgspec.json.decode(detail, type=_DETAIL[TimelineKind(kind)]),
        )
        for kind, at, tie, detail in rows[:PAGE_SIZE]
    ]
    more = len(rows) > PAGE_SIZE
    return TimelinePage(entries, _encode(player_id, entries[-1]) if more else "")


def _part(kind: TimelineKind, *, older: bool, named: bool) -> str:
    table, tie, fields = _SOURCES[kind]
    where = "player_id = %(player)s"
    if kind is TimelineKind.EVENT:
        # Sessions and purchases are also logged as events; read them from their own tables, which
        # keep them longer.
        where += " AND name = %(name)s" if named else " AND name <> ALL(%(logged)s)"
    if older:
        # The index scan starts at the first comparison.
        where += f""" AND received_at <= %(at)s::timestamptz
            AND (received_at, {kind:d}, {tie}) < (%(at)s::timestamptz, %(kind)s, %(tie)s)"""
    return f"""(
        SELECT {kind:d} AS kind, received_at AS at, {tie} AS tie,
               jsonb_build_object({fields})::text AS detail
        FROM {table} WHERE {where}
        ORDER BY received_at DESC, tie DESC LIMIT %(limit)s)"""


def _signer(player_id: uuid.UUID) -> signing.Signer:
    return signing.Signer(salt=f"timeline:{player_id}")


def _encode(player_id: uuid.UUID, last: TimelineEntry) -> str:
    return _signer(player_id).sign_object([last.at.isoformat(), last.kind, last.tie])


def _decode(player_id: uuid.UUID, cursor: str) -> dict[str, Any] | None:
    """The query parameters in a cursor. None if the signature is invalid."""
    try:
        at, kind, tie = _signer(player_id).unsign_object(cursor)
    except signing.BadSignature:
        return None
    return {"at": at, "kind": kind, "tie": tie}

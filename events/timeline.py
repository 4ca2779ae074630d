"""A player's timeline: sessions, purchases, events, exposures and what staff did, merged, newest
first.

One statement reads a page from the tables, each by an index on player and time. What staff did is
in the audit log: the entries about the player, and those about flags and segments that name it.
Exposures are registered by the app that has their table.
"""

import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Any, NamedTuple

import msgspec
from django.core import signing
from django.db import connection

from ilara_admin.core.structs import decoder
from players.event_log import LOGGED_EVENTS

PAGE_SIZE = 50
BRIEF_LENGTH = 200
SEARCHED = 5_000  # events of a player that one page looks through
LATE_FROM = timedelta(minutes=1)
_json_text = json.JSONEncoder(ensure_ascii=False).encode


class TimelineKind(IntEnum):
    """At equal times, higher values come first."""

    SESSION = 1
    PURCHASE = 2
    EVENT = 3
    STAFF = 4
    EXPOSURE = 5


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


class TimelineAction(msgspec.Struct, frozen=True):
    """An entry of the audit log, by its id."""

    entry_id: int
    happened_at: datetime


class TimelineExposure(msgspec.Struct, frozen=True):
    """The first evaluation into a variant of an experiment, by its key and name."""

    key: str
    name: str
    variant: str
    overridden: bool
    happened_at: datetime


type EntryDetail = (
    TimelineSession | TimelinePurchase | TimelineEvent | TimelineAction | TimelineExposure
)

_DETAIL: dict[TimelineKind, Any] = {
    TimelineKind.SESSION: TimelineSession,
    TimelineKind.PURCHASE: TimelinePurchase,
    TimelineKind.EVENT: TimelineEvent,
    TimelineKind.STAFF: TimelineAction,
    TimelineKind.EXPOSURE: TimelineExposure,
}


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    kind: TimelineKind
    at: datetime
    tie: str
    detail: EntryDetail

    @property
    def late(self) -> datetime | None:
        """The client's time if it differs from the server's by LATE_FROM or more. A session may be
        reported at its start or at its end."""
        happened_at = self.detail.happened_at
        times = [happened_at]
        if isinstance(self.detail, TimelineSession) and self.detail.duration_seconds:
            times.append(happened_at + timedelta(seconds=self.detail.duration_seconds))
        is_late = all(abs(self.at - each) >= LATE_FROM for each in times)
        return happened_at if is_late else None


@dataclass(frozen=True, slots=True)
class TimelinePage:
    """`older` is the cursor of the next page, "" on the last page. `searched_to` is the time of the
    last event that a search looked at if it stopped there, after SEARCHED events."""

    entries: list[TimelineEntry]
    older: str
    searched_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class TimelineFilter:
    """What to show: entries that arrived from `since` until before `until`. An event name or a
    `text` in the properties, in any case, finds only events."""

    kind: TimelineKind | None = None
    event_name: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def searches(self) -> bool:
        return bool(self.event_name or self.text)

    @property
    def kinds(self) -> list[TimelineKind]:
        if self.searches:
            return [TimelineKind.EVENT]
        return [self.kind] if self.kind else list(TimelineKind)


EVERYTHING = TimelineFilter()


class TimelineSource(NamedTuple):
    """A table, its time, a tie-breaker for equal times, the arguments of jsonb_build_object, and
    the condition."""

    kind: TimelineKind
    table: str
    at: str
    tie: str
    fields: str
    where: str


_DIGEST = "encode(digest, 'hex') COLLATE \"C\""
_ID = "lpad(id::text, 20, '0') COLLATE \"C\""
_ENTRY = "'entry_id', id, 'happened_at', created_at"
_OWN = "player_id = %(player)s"
_sources = [
    TimelineSource(
        TimelineKind.SESSION,
        "player_session",
        "received_at",
        _DIGEST,
        "'session_id', session_id, 'happened_at', started_at, 'duration_seconds', duration_seconds",
        _OWN,
    ),
    TimelineSource(
        TimelineKind.PURCHASE,
        "purchase",
        "received_at",
        _DIGEST,
        """'transaction_id', transaction_id, 'product_id', product_id, 'amount', amount::text,
           'currency', currency, 'counted', counted, 'verified', verified,
           'happened_at', received_at, 'refunded_at', refunded_at""",
        _OWN,
    ),
    # Sessions and purchases are also logged as events; they come from their own tables, which keep
    # them longer.
    TimelineSource(
        TimelineKind.EVENT,
        "event",
        "received_at",
        _ID,
        """'name', name, 'session_id', session_id, 'properties', properties,
           'happened_at', occurred_at""",
        f"{_OWN} AND name <> ALL(%(logged)s)",
    ),
    # The conditions of these two are those of the indexes audit_player_time and audit_names_player.
    TimelineSource(
        TimelineKind.STAFF,
        "audit_entry",
        "created_at",
        _ID,
        _ENTRY,
        """object_type = 'player' AND object_id = %(player)s::text
           AND action <> 'player.data_seen'""",
    ),
    # OFFSET 0, because an index on the environment looks better than it is.
    TimelineSource(
        TimelineKind.STAFF,
        """(SELECT * FROM audit_entry
            WHERE action IN ('flag.overridden', 'flag.override_removed', 'flag.overrides_replaced',
                             'segment.list_changed')
              AND (jsonb_path_query_array(coalesce(before, '[]'), '$.**{0 to 2}.player')
                   || jsonb_path_query_array(coalesce(after, '[]'), '$.**{0 to 2}.player')
                   || jsonb_path_query_array(coalesce(after, '[]'), '$.ids[*]'))
                  ?| ARRAY(SELECT external_id FROM player WHERE id = %(player)s
                           UNION ALL SELECT external_id FROM player_alias
                           WHERE player_id = %(player)s)
            OFFSET 0) AS naming""",
        "created_at",
        _ID,
        _ENTRY,
        "environment_id = (SELECT environment_id FROM player WHERE id = %(player)s)",
    ),
]


def register_source(source: TimelineSource) -> None:
    """Add a table. Its columns may refer to `%(player)s`, the id of the player."""
    _sources.append(source)


def timeline(
    player_id: uuid.UUID, wanted: TimelineFilter = EVERYTHING, *, before: str = ""
) -> TimelinePage:
    """The newest page, or the page after the cursor `before`."""
    cursor = _decode(player_id, before)
    sources = [source for source in _sources if source.kind in wanted.kinds]
    part = _searched if wanted.searches else _part
    parts = " UNION ALL ".join(part(each, wanted, cursor is not None) for each in sources)
    params = {
        "player": player_id, "name": wanted.event_name, "text": wanted.text.lower(),
        "since": wanted.since, "until": wanted.until, "logged": list(LOGGED_EVENTS),
        "limit": PAGE_SIZE + 1, "searched": SEARCHED, **(cursor or {}),
    }  # fmt: skip
    with connection.cursor() as db:
        db.execute(
            f"""SELECT * FROM ({parts}) AS found
                ORDER BY at DESC, kind DESC, tie DESC LIMIT %(limit)s""",
            params,
        )
        rows = db.fetchall()
    entries = [_entry(*row[:4]) for row in rows[:PAGE_SIZE] if row[3]]
    if len(rows) > PAGE_SIZE:
        return TimelinePage(entries, _encode(player_id, *rows[PAGE_SIZE - 1][:3]))
    if rows and rows[-1][4]:
        return TimelinePage(entries, _encode(player_id, *rows[-1][:3]), rows[-1][1])
    return TimelinePage(entries, "")


def _entry(kind: int, at: datetime, tie: str, detail: str) -> TimelineEntry:
    found = TimelineKind(kind)
    return TimelineEntry(found, at, tie, decoder(_DETAIL[found]).decode(detail))


def _part(source: TimelineSource, wanted: TimelineFilter, older: bool) -> str:
    return f"""(
        SELECT {source.kind:d} AS kind, {source.at} AS at, {source.tie} AS tie,
               jsonb_build_object({source.fields})::text AS detail, false AS is_last
        FROM {source.table} WHERE {source.where} {_range(source, wanted, older)}
        ORDER BY {source.at} DESC, tie DESC LIMIT %(limit)s)"""


def _searched(source: TimelineSource, wanted: TimelineFilter, older: bool) -> str:
    """Looks through SEARCHED events at most, as no index finds a name or a text of one player. The
    last of so many comes without a detail if it is not what is wanted."""
    found = "name = %(name)s" if wanted.event_name else "name <> ALL(%(logged)s)"
    if wanted.text:
        found += " AND strpos(lower(properties::text), %(text)s) > 0"
    return f"""(
        SELECT {source.kind:d} AS kind, at, tie,
               CASE WHEN is_found THEN jsonb_build_object({source.fields})::text END AS detail,
               place = %(searched)s AS is_last
        FROM (SELECT *, {found} AS is_found,
                     row_number() OVER (ORDER BY at DESC, tie DESC) AS place
              FROM (SELECT *, {source.at} AS at, {source.tie} AS tie FROM {source.table}
                    WHERE {_OWN} {_range(source, wanted, older)}
                    ORDER BY at DESC, tie DESC LIMIT %(searched)s) AS newest) AS searched
        WHERE is_found OR place = %(searched)s
        ORDER BY at DESC, tie DESC LIMIT %(limit)s)"""


def _range(source: TimelineSource, wanted: TimelineFilter, older: bool) -> str:
    conditions = ""
    if wanted.since:
        conditions += f" AND {source.at} >= %(since)s"
    if wanted.until:
        conditions += f" AND {source.at} < %(until)s"
    if older:
        # The index scan starts at the first comparison.
        conditions += f""" AND {source.at} <= %(at)s::timestamptz
            AND ({source.at}, {source.kind:d}, {source.tie})
                < (%(at)s::timestamptz, %(kind)s, %(tie)s)"""
    return conditions


def _signer(player_id: uuid.UUID) -> signing.Signer:
    return signing.Signer(salt=f"timeline:{player_id}")


def _encode(player_id: uuid.UUID, kind: int, at: datetime, tie: str) -> str:
    return _signer(player_id).sign_object([at.isoformat(), kind, tie])


def _decode(player_id: uuid.UUID, cursor: str) -> dict[str, Any] | None:
    """The query parameters in a cursor. None if the signature is invalid."""
    try:
        at, kind, tie = _signer(player_id).unsign_object(cursor)
    except signing.BadSignature:
        return None
    return {"at": at, "kind": kind, "tie": tie}

"""Stores events: validates each, then inserts the new ones and commits in one statement.

The response is sent after the commit, so an acknowledged event survives a crash of the server.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

import msgspec

from events.models import INSERT_EVENT
from events.schemas import MAX_PROPERTIES, RESERVED_PREFIX, BatchedEvent
from ilara_admin.api.bodies import checked_struct, digest_of, parse_moment
from ilara_admin.api.dispatch import ApiRequest, run_one
from ilara_admin.api.errors import invalid
from ilara_admin.core import metrics
from ilara_admin.core.names import is_plain_name, name_problem
from players.statements import seen

MAX_EVENT_BYTES = 64 * 1024
SEEN_AGAIN_AFTER = "1 minute"
# A wrong time zone is off by at most a day, and a clock that was never set shows 1970. Within these
# bounds a wrong clock is accepted: the client's time is stored next to the server's.
MAX_AHEAD = timedelta(days=1)
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
# A request may be on its way for this long: a difference up to it, between the sender's clock and
# the arrival, says nothing about the clock, and correcting it would shift the event by the transit.
TRANSIT = timedelta(seconds=60)


class Prepared(msgspec.Struct, frozen=True):
    """A validated event. `player_id` is a UUID in lower case. `digest` is None if the client sent
    no id, `properties` and `happened_at` if it sent none."""

    player_id: str
    digest: bytes | None
    event_id: str
    name: str
    session_id: str | None
    properties: msgspec.Raw | None
    happened_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What became of the events: the positions of those of unknown players and of duplicates; the
    others are stored. `repeats` are the positions of duplicates that follow an event with the same
    id in the same request, with the position of that one."""

    received_at: datetime
    unknown: AbstractSet[int]
    duplicates: AbstractSet[int]
    repeats: Mapping[int, int]


def read_event(data: Any) -> BatchedEvent:
    """One item of a batch, validated like a request body; errors are relative to the item."""
    if not isinstance(data, dict):
        raise invalid("An event must be an object")
    return checked_struct(data, BatchedEvent)


def prepare(
    event: BatchedEvent, sent_at: datetime | None = None, idempotency_key: str | None = None
) -> Prepared:
    """Check what the struct does not. Raises ApiError naming the field."""
    name = event.event_name
    if not is_plain_name(name) and (problem := name_problem(name)):
        raise invalid(f"event_name {problem}", "event_name")
    if name.startswith(RESERVED_PREFIX):
        raise invalid(f"Names that begin with {RESERVED_PREFIX} are reserved", "event_name")
    happened_at = None
    if event.timestamp is not None:
        happened_at = parse_moment(event.timestamp, "timestamp")
        _check_timestamp(happened_at, sent_at)
    properties = None if event.properties is None else _properties(event.properties)
    client_id = event.event_id or idempotency_key
    return Prepared(
        player_id=event.player_id.lower(),
        digest=None if client_id is None else digest_of(client_id),
        event_id=client_id or f"evt_{token_hex(16)}",
        name=name,
        session_id=event.session_id,
        properties=properties,
        happened_at=happened_at,
    )


def _properties(given: dict[str, Any]) -> msgspec.Raw:
    if len(given) > MAX_PROPERTIES:
        raise invalid(f"An event may have at most {MAX_PROPERTIES} properties", "properties")
    text = msgspec.json.encode(given)
    if len(text) > MAX_EVENT_BYTES:
        limit = MAX_EVENT_BYTES // 1024
        raise invalid(f"The properties of an event may take at most {limit} KiB", "properties")
    return msgspec.Raw(text)


def properties_text(event: Prepared) -> str | None:
    return None if event.properties is None else bytes(event.properties).decode()


def _check_timestamp(moment: datetime, sent_at: datetime | None) -> None:
    now = datetime.now(UTC)
    age = (sent_at or now) - moment
    if age < -MAX_AHEAD:
        clock = "sent_at" if sent_at else "the server's clock"
        raise invalid(f"timestamp is more than 24 hours ahead of {clock}", "timestamp")
    if now - age < EARLIEST:
        raise invalid("timestamp is before 1971: the device's clock is not set", "timestamp")


def occurred_at(event: Prepared, received_at: datetime, sent_at: datetime | None) -> datetime:
    """When the event happened, as the statements compute it."""
    if event.happened_at is None:
        return received_at
    skew = received_at - sent_at if sent_at else timedelta()
    if timedelta() <= skew <= TRANSIT:
        skew = timedelta()
    return event.happened_at + skew


def _occurred_at(happened_at: str, sent_at: str) -> str:
    """SQL for occurred_at()."""
    skew = f"env.now - {sent_at}::timestamptz"
    return f"""coalesce({happened_at} + CASE
               WHEN {skew} NOT BETWEEN interval '0' AND interval '{TRANSIT.total_seconds()} seconds'
               THEN {skew} ELSE interval '0' END, env.now)"""


# The terms of TRACK and of BATCH. Conditions of players are on `p`.


def _found(which: str) -> str:
    return f"""found AS (
    SELECT p.id FROM player p, env WHERE {which} AND p.environment_id = env.id AND env.open)"""


def _fresh(source: str) -> str:
    """The receipts that did not exist."""
    return f"""fresh AS (
    INSERT INTO event_receipt (player_id, digest, received_at)
    {source}
    ON CONFLICT DO NOTHING RETURNING player_id, digest)"""


def _stored(columns: Sequence[str], sent_at: str, source: str) -> str:
    player_id, event_id, name, session_id, properties, happened_at = columns
    return f"""stored AS (
    {INSERT_EVENT}
    SELECT {player_id}, env.now, env.id, {event_id}, {name}, {session_id},
           coalesce({properties}::jsonb, '{{}}'),
           {_occurred_at(happened_at, sent_at)}
    FROM env, {source})"""


def _touched(which: str, at_risk_days: str, churned_days: str) -> str:
    """Marks players as seen who were not within the last minute. A player that another transaction
    has locked is skipped, because that transaction updates it."""
    return f"""locked AS (
    SELECT p.id FROM player p
    WHERE {which} AND p.environment_id = $1
      AND p.last_seen_at < statement_timestamp() - interval '{SEEN_AGAIN_AFTER}'
    FOR NO KEY UPDATE SKIP LOCKED)
, touched AS (
    UPDATE player p SET {seen("env.now", at_risk_days, churned_days)}
    FROM env WHERE {which} AND p.id IN (SELECT id FROM locked) AND env.open)"""


def _track(accepted: str) -> str:
    """The statement for one event. `accepted` is the term that has a row if the event is new.

    $4 player, $5 event_id, $6 name, $7 session_id, $8 properties, $9 happened_at, $10 sent_at,
    $11 at_risk_days, $12 churned_days, $13 digest if the event has an id.
    """
    receipt = _fresh("SELECT found.id, $13, env.now FROM found, env")
    columns = ("$4", "$5", "$6", "$7", "$8", "$9::timestamptz")
    return f""", {_found("p.id = $4")}
{f", {receipt}" if accepted == "fresh" else ""}
, {_stored(columns, "$10", accepted)}
, {_touched("p.id = $4", "$11", "$12")}
SELECT env.config_version, env.now, EXISTS (SELECT FROM found), EXISTS (SELECT FROM {accepted})
FROM env"""


TRACK = _track("found")
TRACK_ONCE = _track("fresh")  # for an event with an id

# $4 the players, $5 the events as JSON: objects with the fields of Prepared, without repeats,
# $6 sent_at, $7 at_risk_days, $8 churned_days. Returns the positions, from 1, of the events of
# unknown players and of those stored before.
#
# JSON takes a tenth of the time that psycopg needs for arrays. The plan is the same for any number
# of events, so PostgreSQL keeps it: it would count the players in $4 outside of a sub-select. A
# column with IN is always hashed, whereas a condition with IN may become a join that compares every
# pair.
#
# Two batches cannot deadlock: receipts are inserted in a fixed order, and locked players skipped.
_PLAYERS = "p.id = ANY ((SELECT $4::uuid[])::uuid[])"
_NEW_RECEIPTS = """SELECT player_id, digest, env.now FROM sent, env
    WHERE known AND digest IS NOT NULL ORDER BY player_id, digest"""
_COLUMNS = ("player_id", "event_id", "name", "session_id", "properties", "happened_at")
BATCH = f""", {_found(_PLAYERS)}
, sent AS (
    SELECT position, player_id, decode(digest, 'base64') AS digest, event_id, name, session_id,
           properties, happened_at, player_id IN (SELECT id FROM found) AS known
    FROM ROWS FROM (json_to_recordset($5) AS (
        player_id uuid, digest text, event_id text, name text, session_id text, properties json,
        happened_at timestamptz)) WITH ORDINALITY
        AS t(player_id, digest, event_id, name, session_id, properties, happened_at, position))
, {_fresh(_NEW_RECEIPTS)}
, checked AS (
    SELECT *, digest IS NULL OR (player_id, digest) IN (SELECT player_id, digest FROM fresh)
        AS accepted
    FROM sent WHERE known)
, {
    _stored(
        [f"checked.{name}" for name in _COLUMNS], "$6", "checked WHERE accepted ORDER BY position"
    )
}
, {_touched(_PLAYERS, "$7", "$8")}
SELECT env.config_version, env.now, ARRAY(SELECT position FROM sent WHERE NOT known),
       ARRAY(SELECT position FROM checked WHERE NOT accepted)
FROM env"""

_ONLY_EVENT: AbstractSet[int] = frozenset({0})
_NO_EVENT: AbstractSet[int] = frozenset()


def store(request: ApiRequest, event: Prepared, sent_at: datetime | None) -> StoreResult:
    """Store one event in one statement."""
    snapshot = request.snapshot
    params = [
        event.player_id,
        event.event_id,
        event.name,
        event.session_id,
        properties_text(event),
        event.happened_at,
        sent_at,
        snapshot.at_risk_days,
        snapshot.churned_days,
    ]
    if event.digest is None:
        known, accepted = run_one(request, TRACK, params, safe_to_repeat=False)
    else:
        known, accepted = run_one(request, TRACK_ONCE, [*params, event.digest])
    if accepted:
        metrics.ACCEPTED.inc()
    elif known:
        metrics.DUPLICATE.inc()
    return StoreResult(
        request.now.astimezone(UTC),
        unknown=_NO_EVENT if known else _ONLY_EVENT,
        duplicates=_ONLY_EVENT if known and not accepted else _NO_EVENT,
        repeats={},
    )


def store_batch(
    request: ApiRequest, events: Sequence[Prepared], sent_at: datetime | None
) -> StoreResult:
    """Store the new ones of the events in one statement. An id that occurs twice is stored once."""
    first: dict[tuple[str, bytes], int] = {}
    rows: list[int] = []
    repeats: dict[int, int] = {}
    for index, event in enumerate(events):
        if event.digest is not None:
            original = first.setdefault((event.player_id, event.digest), index)
            if original != index:
                repeats[index] = original
                continue
        rows.append(index)
    sent = [events[index] for index in rows]
    unknown, duplicates = run_one(
        request,
        BATCH,
        [
            f"{{{','.join({event.player_id for event in sent})}}}",
            msgspec.json.encode(sent).decode(),
            sent_at,
            request.snapshot.at_risk_days,
            request.snapshot.churned_days,
        ],
        safe_to_repeat=all(event.digest is not None for event in sent),
    )
    of_unknown = {rows[position - 1] for position in unknown}
    stored_before = {rows[position - 1] for position in duplicates}
    for index, original in repeats.items():
        (of_unknown if original in of_unknown else stored_before).add(index)
    if accepted := len(events) - len(of_unknown) - len(stored_before):
        metrics.ACCEPTED.inc(accepted)
    if stored_before:
        metrics.DUPLICATE.inc(len(stored_before))
    return StoreResult(request.now.astimezone(UTC), of_unknown, stored_before, repeats)

"""Storing events: check each, then one statement that stores what is new and commits.

The reply is sent after the commit, so an acknowledged event survives the death of the server.
"""

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from events.models import INSERT_EVENT
from events.rejections import NONE_REJECTED, REJECT, UNKNOWN_PLAYER, Rejected, reject_params
from events.schemas import MAX_PROPERTIES, RESERVED_PREFIX, BatchedEvent
from ilara_admin.api.bodies import check_moment, check_value, digest_of, to_struct
from ilara_admin.api.dispatch import ApiRequest, run_one
from ilara_admin.api.errors import ApiError, invalid, not_found
from players.statements import seen

MAX_EVENT_BYTES = 64 * 1024
SEEN_AGAIN_AFTER = "1 minute"
# A time zone taken for another is off by a day at most, and a clock that was never set shows 1970.
# Between these, a wrong clock costs no event: its time stands beside that of the server.
MAX_AHEAD = timedelta(days=1)
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An event that is fit to be stored. `digest` is None when the client gave no id, `happened_at`
    when it gave no time."""

    player_id: uuid.UUID
    digest: bytes | None
    event_id: str
    name: str
    session_id: str | None
    properties: str
    happened_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What became of the events handed to `store`, by their position there."""

    received_at: datetime
    known: frozenset[int]
    accepted: frozenset[int]


def read_event(data: Any) -> BatchedEvent:
    """One item of a batch, checked like a body of its own; errors are relative to it."""
    if not isinstance(data, dict):
        raise invalid("An event must be an object")
    for name, value in data.items():
        check_value(value, name, level=2)
    return to_struct(data, BatchedEvent)


def prepare(
    event: BatchedEvent, sent_at: datetime | None = None, idempotency_key: str | None = None
) -> Prepared:
    """Check what the struct cannot say. Raises ApiError naming the field."""
    if event.event_name.startswith(RESERVED_PREFIX):
        raise invalid(f"Names that begin with {RESERVED_PREFIX} are reserved", "event_name")
    if event.timestamp is not None:
        _check_timestamp(event.timestamp, sent_at)
    if event.properties is not None and len(event.properties) > MAX_PROPERTIES:
        raise invalid(f"An event has {MAX_PROPERTIES} properties at most", "properties")
    properties = msgspec.json.encode(event.properties or {})
    if len(properties) > MAX_EVENT_BYTES:
        limit = MAX_EVENT_BYTES // 1024
        raise invalid(f"The properties of an event take {limit} KiB at most", "properties")
    client_id = event.event_id or idempotency_key
    return Prepared(
        player_id=uuid.UUID(event.player_id),
        digest=None if client_id is None else digest_of(client_id),
        event_id=client_id or f"evt_{uuid.uuid4().hex}",
        name=event.event_name,
        session_id=event.session_id,
        properties=properties.decode(),
        happened_at=event.timestamp,
    )


def _check_timestamp(moment: datetime, sent_at: datetime | None) -> None:
    check_moment(moment, "timestamp")
    now = datetime.now(UTC)
    age = (sent_at or now) - moment
    if age < -MAX_AHEAD:
        clock = "sent_at" if sent_at else "the server's clock"
        raise invalid(f"timestamp lies more than 24 hours ahead of {clock}", "timestamp")
    if now - age < EARLIEST:
        raise invalid("timestamp lies before 1971: the clock was never set", "timestamp")


def occurred_at(event: Prepared, received_at: datetime, sent_at: datetime | None) -> datetime:
    """When it happened, as STORE computes it."""
    if event.happened_at is None:
        return received_at
    skew = received_at - sent_at if sent_at else timedelta()
    return (event.happened_at + skew).astimezone(UTC)


# $4 index, $5 player, $6 digest, $7 event_id, $8 name, $9 session_id, $10 properties,
# $11 happened_at (all arrays), $12 at_risk_days, $13 churned_days, $14 sent_at, $15 how often each
# was sent (an array), from $16 on what REJECT needs.
#
# PostgreSQL plans without knowing how long the arrays are. `IN` beside an OR is always hashed; a
# join of `known` and `fresh` might compare each event with each.
#
# The ledger of ids is filled in one order by everybody, so that two batches cannot deadlock. A
# player whose row somebody else holds is not marked as seen: that somebody is doing it.
STORE = f""", input AS (
    SELECT * FROM unnest($4::int[], $5::uuid[], $6::bytea[], $7::text[], $8::text[], $9::text[],
                         $10::text[], $11::timestamptz[], $15::int[])
        AS t(index, player_id, digest, event_id, name, session_id, properties, happened_at, copies))
, known AS (
    SELECT input.* FROM input
    JOIN player p ON p.id = input.player_id
    JOIN env ON env.id = p.environment_id AND env.open)
, fresh AS (
    INSERT INTO event_receipt (player_id, digest, received_at)
    SELECT player_id, digest, env.now FROM known, env WHERE digest IS NOT NULL
    ORDER BY player_id, digest
    ON CONFLICT DO NOTHING RETURNING player_id, digest)
, accepted AS (
    SELECT * FROM known
    WHERE digest IS NULL OR (player_id, digest) IN (SELECT player_id, digest FROM fresh))
, stored AS (
    {INSERT_EVENT}
    SELECT player_id, env.now, env.id, event_id, accepted.name, session_id, properties::jsonb,
           coalesce(happened_at + coalesce(env.now - $14::timestamptz, interval '0'), env.now)
    FROM accepted, env ORDER BY index)
, due AS (
    SELECT p.id FROM player p, env
    WHERE p.id IN (SELECT player_id FROM known)
      AND p.last_seen_at < env.now - interval '{SEEN_AGAIN_AFTER}'
    FOR UPDATE OF p SKIP LOCKED)
, touched AS (
    UPDATE player p SET {seen("env.now", "$12", "$13")}
    FROM env, due WHERE p.id = due.id)
{REJECT}
SELECT env.config_version, env.now,
       ARRAY(SELECT index FROM known), ARRAY(SELECT index FROM accepted)
FROM env"""


def store(
    request: ApiRequest,
    events: Sequence[Prepared],
    rejected: Sequence[Rejected] = (),
    sent_at: datetime | None = None,
) -> StoreResult:
    """Store what is new and note what was rejected, those of unknown players among it, in one
    statement. Within the batch, too, one id counts once."""
    first: dict[tuple[uuid.UUID, bytes], int] = {}
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
    copies = Counter(repeats.values())
    known, accepted = run_one(
        request,
        STORE,
        [
            rows,
            [event.player_id for event in sent],
            [event.digest for event in sent],
            [event.event_id for event in sent],
            [event.name for event in sent],
            [event.session_id for event in sent],
            [event.properties for event in sent],
            [event.happened_at for event in sent],
            request.snapshot.at_risk_days,
            request.snapshot.churned_days,
            sent_at,
            [1 + copies[index] for index in rows],
            *(reject_params(rejected) if rejected else NONE_REJECTED),
        ],
        safe_to_repeat=all(event.digest is not None for event in sent),
    )
    known_set = set(known)
    known_set.update(index for index, original in repeats.items() if original in known_set)
    return StoreResult(request.now.astimezone(UTC), frozenset(known_set), frozenset(accepted))


def unknown_player() -> ApiError:
    return not_found(UNKNOWN_PLAYER)

"""Stores events: validates each, then inserts the new ones and commits in one statement.

The response is sent after the commit, so an acknowledged event survives a crash of the server.
"""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from events.models import INSERT_EVENT
from events.rejections import NONE_REJECTED, REJECT, Rejected, reject_params
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


@dataclass(frozen=True, slots=True)
class Prepared:
    """A validated event. `digest` is None if the client sent no id, `properties` (JSON text) and
    `happened_at` if it sent none."""

    player_id: uuid.UUID
    digest: bytes | None
    event_id: str
    name: str
    session_id: str | None
    properties: str | None
    happened_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoreResult:
    """The result of `store`. `known` and `accepted` are positions in its `events`. `repeats` are
    the positions of events that follow one with the same id, with the position of that one."""

    received_at: datetime
    known: frozenset[int]
    accepted: frozenset[int]
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
        player_id=uuid.UUID(event.player_id),
        digest=None if client_id is None else digest_of(client_id),
        event_id=client_id or f"evt_{uuid.uuid4().hex}",
        name=name,
        session_id=event.session_id,
        properties=properties,
        happened_at=happened_at,
    )


def _properties(given: dict[str, Any]) -> str:
    if len(given) > MAX_PROPERTIES:
        raise invalid(f"An event may have at most {MAX_PROPERTIES} properties", "properties")
    text = msgspec.json.encode(given)
    if len(text) > MAX_EVENT_BYTES:
        limit = MAX_EVENT_BYTES // 1024
        raise invalid(f"The properties of an event may take at most {limit} KiB", "properties")
    return text.decode()


def _check_timestamp(moment: datetime, sent_at: datetime | None) -> None:
    now = datetime.now(UTC)
    age = (sent_at or now) - moment
    if age < -MAX_AHEAD:
        clock = "sent_at" if sent_at else "the server's clock"
        raise invalid(f"timestamp is more than 24 hours ahead of {clock}", "timestamp")
    if now - age < EARLIEST:
        raise invalid("timestamp is before 1971: the device's clock is not set", "timestamp")


def occurred_at(event: Prepared, received_at: datetime, sent_at: datetime | None) -> datetime:
    """When the event happened, as STORE computes it."""
    if event.happened_at is None:
        return received_at
    skew = received_at - sent_at if sent_at else timedelta()
    if timedelta() <= skew <= TRANSIT:
        skew = timedelta()
    return event.happened_at + skew


# $4 index, $5 player, $6 digest, $7 event_id, $8 name, $9 session_id, $10 properties,
# $11 happened_at (all arrays), $12 at_risk_days, $13 churned_days, $14 sent_at, $15 copies sent of
# each event (an array), from $16 on the parameters of REJECT.
#
# PostgreSQL plans without knowing the lengths of the arrays. `IN` with an OR is always hashed; a
# join of `known` and `fresh` might compare every pair of events.
#
# Receipts are inserted in a fixed order, so two batches cannot deadlock. A player row locked by
# another transaction is skipped, because that transaction updates it.
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
           coalesce(
               happened_at + CASE
                   WHEN env.now - $14::timestamptz NOT BETWEEN interval '0'
                       AND interval '{TRANSIT.total_seconds()} seconds'
                   THEN env.now - $14::timestamptz ELSE interval '0' END,
               env.now)
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
    """Store new events and record rejected ones, including those of unknown players, in one
    statement. An id that occurs twice in the batch is stored once."""
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
            [event.properties or "{}" for event in sent],
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
    for counter, number in (
        (metrics.ACCEPTED, len(accepted)),
        (metrics.DUPLICATE, len(known_set) - len(accepted)),
        (metrics.REJECTED, len(rejected) + len(events) - len(known_set)),
    ):
        if number:
            counter.inc(number)
    return StoreResult(
        request.now.astimezone(UTC), frozenset(known_set), frozenset(accepted), repeats
    )

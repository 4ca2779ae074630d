"""Repeated event ids whose content differs. The first event counts; the reply names what differs.

Runs only for duplicates, so that new events need no second query.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from events.ingest import TRANSIT, Prepared, StoreResult, occurred_at, properties_text
from ilara_admin.core import db
from ilara_admin.core.json_equality import json_equal

type Conflicts = dict[int, tuple[str, ...]]  # names of fields, by position of the event

# Each receipt leads to its event by the primary key and time. LATERAL with LIMIT keeps PostgreSQL
# from reading whole partitions.
#
# $1 index, $2 player, $3 digest, $4 event_id, $5 name, $6 session_id, $7 properties, $8 timestamp,
# $9 corrected timestamp (all arrays), $10 the longest transit in seconds, null without `sent_at`,
# $11 now. What was not sent is null. With `sent_at`, a request that arrives again is corrected by
# the time that has passed, too.
_DIFFERING = """
SELECT t.index, array_remove(ARRAY[
    CASE WHEN e.name <> t.name THEN 'event_name' END,
    CASE WHEN e.session_id IS DISTINCT FROM coalesce(t.session_id, e.session_id)
        THEN 'session_id' END,
    CASE WHEN e.properties <> t.properties::jsonb THEN 'properties' END,
    CASE WHEN e.occurred_at <> t.sent
              AND abs(extract(epoch FROM e.occurred_at - t.corrected)) >
                  CASE WHEN $10::float IS NULL THEN 0
                       ELSE $10 + extract(epoch FROM $11::timestamptz - receipt.received_at) END
        THEN 'timestamp' END], NULL)
FROM unnest($1::int[], $2::uuid[], $3::bytea[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::timestamptz[], $9::timestamptz[])
    AS t(index, player_id, digest, event_id, name, session_id, properties, sent, corrected),
LATERAL (
    SELECT r.received_at FROM event_receipt r
    WHERE r.player_id = t.player_id AND r.digest = t.digest LIMIT 1) AS receipt,
LATERAL (
    SELECT * FROM event
    WHERE event.player_id = t.player_id AND event.received_at = receipt.received_at
      AND event.event_id = t.event_id LIMIT 1) AS e
ORDER BY t.index"""


def conflicts_of(
    events: Sequence[Prepared], result: StoreResult, sent_at: datetime | None = None
) -> Conflicts:
    """The differing fields of each duplicate. A field that the repeat did not send is no conflict.

    A repeat within the request is compared with the event it follows, if that was stored now.
    """
    found: Conflicts = {}
    stored_before: list[int] = []
    for index in sorted(result.duplicates):
        original = result.repeats.get(index)
        if original is None or original in result.duplicates:
            stored_before.append(index)
        elif names := _differing(events[index], events[original]):
            found[index] = names
    if stored_before:
        found |= _differing_from_stored(events, stored_before, result.received_at, sent_at)
    return found


def _differing(repeat: Prepared, original: Prepared) -> tuple[str, ...]:
    sent = {
        "event_name": (repeat.name, original.name),
        "session_id": (repeat.session_id, original.session_id),
        "properties": (repeat.properties, original.properties or msgspec.Raw(b"{}")),
        "timestamp": (repeat.happened_at, original.happened_at),
    }
    return tuple(
        name
        for name, (value, first) in sent.items()
        if value is not None
        and value != first
        and not (isinstance(value, msgspec.Raw) and json_equal(_decoded(value), _decoded(first)))
    )


def _decoded(text: object) -> object:
    assert isinstance(text, msgspec.Raw)
    return msgspec.json.decode(text)


def _differing_from_stored(
    events: Sequence[Prepared], indexes: Sequence[int], now: datetime, sent_at: datetime | None
) -> Conflicts:
    repeats = [events[index] for index in indexes]
    corrected = [
        None if event.happened_at is None else occurred_at(event, now, sent_at) for event in repeats
    ]
    rows = db.fetch_all(
        _DIFFERING,
        [
            list(indexes),
            [UUID(event.player_id) for event in repeats],
            [event.digest for event in repeats],
            [event.event_id for event in repeats],
            [event.name for event in repeats],
            [event.session_id for event in repeats],
            [properties_text(event) for event in repeats],
            [event.happened_at for event in repeats],
            corrected,
            TRANSIT.total_seconds() if sent_at else None,
            now,
        ],
        safe_to_repeat=True,
    )
    return {index: tuple(names) for index, names in rows if names}

"""Rejected events, stored for KEPT_DAYS with the reason so that staff can debug what a game sends.
They are stored after the valid events of the same request."""

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec

from events.ingest import Prepared
from ilara_admin.api.dispatch import ApiRequest, run
from ilara_admin.api.errors import ApiError, Code
from ilara_admin.api.json_text import storable
from ilara_admin.core import db, metrics
from players.personal import masked
from players.record import UNKNOWN_PLAYER

KEPT_DAYS = 7
# Enough to recognise an event, and cheaper to store than a valid one.
PAYLOAD_CHARACTERS = 4_096
TEXT_CHARACTERS = 255


class Rejected(NamedTuple):
    """`event_name` and `player` are the sent values, None if they were not text."""

    event_name: str | None
    player: str | None
    code: str
    message: str
    field: str | None
    payload: str


def rejected(data: Any, error: ApiError) -> Rejected:
    """A row for the decoded event `data` and its error."""
    sent = data if isinstance(data, dict) else {}
    return Rejected(
        _text(sent.get("event_name")),
        _text(sent.get("player_id")),
        error.code,
        _text(error.message) or "",
        _text(error.field),
        _payload(data)[:PAYLOAD_CHARACTERS],
    )


def _payload(data: Any) -> str:
    """The event as JSON, and what is no JSON in it as it was sent: NaN, half a surrogate pair."""
    try:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        return "(nested too deep to be shown)"
    return storable(text[:PAYLOAD_CHARACTERS])


def without_personal(payload: str, personal: Collection[str]) -> str:
    """A stored payload with the values of the `personal` properties masked; "" if it cannot be
    read, such as one that is truncated."""
    try:
        sent = json.loads(payload)
    except (ValueError, RecursionError):
        return ""
    if isinstance(sent, dict) and isinstance(sent.get("properties"), dict):
        sent["properties"] = masked(sent["properties"], personal)
    return json.dumps(sent, ensure_ascii=False, separators=(",", ":"))


def _text(value: object) -> str | None:
    """Text truncated and without what PostgreSQL cannot store: NUL and lone surrogates. None if it
    is not text."""
    if not isinstance(value, str):
        return None
    text = storable(value[:TEXT_CHARACTERS])[:TEXT_CHARACTERS]
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


def of_unknown_player(event: Prepared) -> Rejected:
    """A row for a valid event whose player is unknown."""
    sent = {
        "player_id": event.player_id,
        "event_name": event.name,
        "event_id": event.event_id,
        "session_id": event.session_id,
        "timestamp": event.happened_at and event.happened_at.isoformat(),
        "properties": event.properties and msgspec.json.decode(event.properties),
    }
    given = {name: value for name, value in sent.items() if value is not None}
    payload = json.dumps(given, ensure_ascii=False)[:PAYLOAD_CHARACTERS]
    return Rejected(event.name, event.player_id, Code.NOT_FOUND, UNKNOWN_PLAYER, None, payload)


# $1 environment, then the columns from event_name on as arrays.
_INSERT = """
INSERT INTO event_rejected
    (environment_id, received_at, event_name, player, code, message, field, payload)
SELECT e.id, statement_timestamp(), t.* FROM environment e,
    unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) AS t
WHERE e.id = $1 RETURNING id"""


def record(request: ApiRequest, rejections: Sequence[Rejected]) -> None:
    """Store at least one rejected event.

    A separate statement, as the table is not keyed by player and few requests need it. It does not
    restart the request, which may have stored events.
    """
    if not request.confirmed:
        run(request, "SELECT config_version, now FROM env")
    columns = [list(column) for column in zip(*rejections, strict=True)]
    db.fetch_all(_INSERT, [request.snapshot.environment_id, *columns], safe_to_repeat=True)
    metrics.REJECTED.inc(len(rejections))

"""Events that were refused, kept for a while with the reason, so that staff can see what a game
sends wrongly. They are noted by the statement that stores the good ones of the same request."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ilara_admin.api.errors import ApiError

KEPT_DAYS = 7
# Enough to recognise an event by, and little enough that bad ones cost less than good ones.
PAYLOAD_CHARACTERS = 4_096
TEXT_CHARACTERS = 255
UNKNOWN_PLAYER = "Player not found"


class Rejected(NamedTuple):
    """`event_name` and `player` are what was sent in their places, None if that was no text."""

    event_name: str | None
    player: str | None
    code: str
    message: str
    field: str | None
    payload: str


def rejected(data: Any, error: ApiError) -> Rejected:
    """The event `data`, plain as it was decoded, and what was wrong with it."""
    sent = data if isinstance(data, dict) else {}
    payload = msgspec.json.encode(data)[: 4 * PAYLOAD_CHARACTERS].decode(errors="ignore")
    return Rejected(
        _text(sent.get("event_name")),
        _text(sent.get("player_id")),
        error.code,
        _text(error.message) or "",
        _text(error.field),
        payload[:PAYLOAD_CHARACTERS],
    )


def _text(value: object) -> str | None:
    """PostgreSQL keeps no text with NUL."""
    if not isinstance(value, str):
        return None
    return value[:TEXT_CHARACTERS].replace("\0", "\N{SYMBOL FOR NULL}")


# Continues the terms `env`, `input` and `known` of STORE. $16 event_name, $17 player, $18 code,
# $19 message, $20 field, $21 payload (all arrays).
REJECT = f""", refused AS (
    INSERT INTO event_rejected
        (environment_id, received_at, event_name, player, code, message, field, payload)
    SELECT env.id, env.now, t.* FROM env, unnest(
        $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[]) AS t
    WHERE env.open
    UNION ALL
    SELECT env.id, env.now, input.name, input.player_id::text, 'NOT_FOUND', '{UNKNOWN_PLAYER}',
           NULL,
           left(jsonb_strip_nulls(jsonb_build_object(
               'player_id', input.player_id, 'event_name', input.name, 'event_id', input.event_id,
               'session_id', input.session_id, 'timestamp', input.happened_at,
               'properties', input.properties::jsonb))::text, {PAYLOAD_CHARACTERS})
    FROM env, input, generate_series(1, input.copies)
    WHERE env.open AND index NOT IN (SELECT index FROM known))"""


NONE_REJECTED: list[list[Any]] = [[] for _ in Rejected._fields]


def reject_params(items: Sequence[Rejected]) -> list[list[Any]]:
    """What REJECT needs for at least one item; NONE_REJECTED for none."""
    return [list(column) for column in zip(*items, strict=True)]

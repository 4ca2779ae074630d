"""Rejected events, stored for KEPT_DAYS with the reason so that staff can debug what a game sends.
The statement that stores the valid events of the same request inserts them."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ilara_admin.api.errors import ApiError
from ilara_admin.api.json_text import storable
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


def _text(value: object) -> str | None:
    """Text truncated and without what PostgreSQL cannot store: NUL and lone surrogates. None if it
    is not text."""
    if not isinstance(value, str):
        return None
    text = storable(value[:TEXT_CHARACTERS])[:TEXT_CHARACTERS]
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


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
    """The parameters of REJECT for at least one item. Use NONE_REJECTED for none."""
    return [list(column) for column in zip(*items, strict=True)]

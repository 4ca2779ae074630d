"""One event, which has its own statement, has the results of a batch. PostgreSQL keeps the plans of
both statements."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from events.models import Event, RejectedEvent
from ilara_admin.core import db
from ilara_admin.models import Environment
from players.models import Player
from tests.api_client import EVENTS, Api, Reply
from tests.factories import make_environment, make_player

UNKNOWN = "550e8400-e29b-41d4-a716-446655440000"
HOUR = timedelta(hours=1)
LONG_AGO = "2026-01-25T15:30:00.123456+01:00"

# What is sent before, the event, and the time of sending, if not now.
KINDS: dict[str, tuple[dict[str, Any] | None, dict[str, Any], timedelta | None]] = {
    "without an id": (None, {}, None),
    "with an id": (None, {"event_id": "e-1"}, None),
    "with everything": (
        None,
        {
            "event_id": "é-1",
            "session_id": 's-"1"\\',
            "timestamp": LONG_AGO,
            "properties": {"a": [1, None, {"b": 2**63 - 1}], "c": 1.5, "d": "\n😀"},
        },
        None,
    ),
    "in upper case": (None, {"event_id": "e-1", "player_id": "upper"}, None),
    "sent just now": (None, {"timestamp": LONG_AGO}, timedelta()),
    "with a clock behind": (None, {"timestamp": "2001-01-01T00:00:00Z"}, -10_000 * HOUR),
    "repeated": ({"event_id": "e-1"}, {"event_id": "e-1"}, None),
    "repeated differently": (
        {"event_id": "e-1", "properties": {"n": 1}},
        {"event_id": "e-1", "properties": {"n": 2}, "session_id": "s", "timestamp": LONG_AGO},
        None,
    ),
    "of an unknown player": (None, {"event_id": "e-1", "player_id": UNKNOWN}, None),
    "of another environment": (None, {"player_id": "foreign", "properties": {"n": 1}}, None),
}


def results(
    api: Api, environment: Environment, kind: str, *, batch: bool
) -> tuple[Any, Any, Any, Any]:
    """The result that the reply states, the stored events, the rejections and the player."""
    before, fields, sent = KINDS[kind]
    seen = datetime.now(UTC) - HOUR
    player = make_player(environment, f"p-{batch}", first_seen_at=seen, last_seen_at=seen)
    foreign = make_player(make_environment(slug="test"), f"p-{batch}")
    event = {"player_id": str(player.id), "event_name": "start", **fields}
    replaced = {"upper": str(player.id).upper(), "foreign": str(foreign.id)}
    event["player_id"] = replaced.get(event["player_id"], event["player_id"])
    if before is not None:
        assert api.post(EVENTS, {**event, **dict.fromkeys(fields), **before}).status == 201
    clock = {} if sent is None else {"sent_at": (datetime.now(UTC) + sent).isoformat()}
    if batch:
        reply = api.post(f"{EVENTS}/batch", {"events": [event], **clock})
    else:
        reply = api.post(EVENTS, {**event, **clock})
    events = [
        (
            "generated" if row.event_id.startswith("evt_") else row.event_id,
            row.name,
            row.session_id,
            row.properties,
            row.occurred_at if "timestamp" in fields and not (sent or before) else None,
            round((row.received_at - row.occurred_at) / HOUR),
            row.environment_id,
        )
        for row in Event.objects.filter(player_id__in=[player.id, foreign.id])
    ]
    rejections = [
        (row.event_name, row.code, row.message, row.field, "event_id" in row.payload)
        for row in RejectedEvent.objects.filter(player__in=[UNKNOWN, str(foreign.id)])
    ]
    RejectedEvent.objects.all().delete()
    after = Player.objects.get(pk=player.pk)
    touched = (after.last_seen_at > seen, after.active_days)
    return (status_of(reply), reply.headers.get("X-Ilara-Conflict")), events, rejections, touched


def status_of(reply: Reply) -> str:
    """What became of the only event."""
    if reply.status not in (200, 201):
        return "rejected"
    if "status" in reply.data:
        return str(reply.data["status"])
    return "accepted" if reply.data["accepted"] else "duplicate"


@pytest.mark.parametrize("kind", KINDS)
def test_one_event__has_the_results_of_a_batch(
    kind: str, public_api: Api, environment: Environment
) -> None:
    one = results(public_api, environment, kind, batch=False)
    assert one == results(public_api, environment, kind, batch=True)
    rejected = "player" in kind or "environment" in kind
    assert one[0][0] == (
        "duplicate" if "repeated" in kind else "rejected" if rejected else "accepted"
    )
    assert (one[0][1] is not None) == (kind == "repeated differently")
    assert (len(one[1]), len(one[2]), one[3][0]) == ((0, 1, False) if rejected else (1, 0, True))


@pytest.mark.parametrize("with_ids", [True, False])
def test_plans__are_made_once(with_ids: bool, public_api: Api, environment: Environment) -> None:
    """After the five times that PostgreSQL tries it, for any number of events."""
    players = [make_player(environment, f"p{number}") for number in range(20)]
    with connection.cursor() as cursor:
        cursor.execute(OTHERS, [environment.pk])  # with few players, any plan is cheap
    forget_plans()

    def event(number: int) -> dict[str, Any]:
        sent = {"player_id": str(players[number % 20].id), "event_name": "start"}
        return {**sent, "event_id": f"e-{number}"} if with_ids else sent

    for number in range(12):
        assert public_api.post(EVENTS, event(number)).status == 201
        size = 2 if number < 11 else 200
        events = [event(1_000 * (1 + number) + each) for each in range(size)]
        assert public_api.post(f"{EVENTS}/batch", {"events": events}).data["accepted"] == size
    ran = plans()
    assert [sum(counts) for counts in ran] == [12, 12]
    for custom, generic in ran:
        assert (custom <= 5, generic >= 7) == (True, True)


OTHERS = """
INSERT INTO player (id, environment_id, external_id, first_seen_at, last_seen_at, last_active_on,
    active_since)
SELECT gen_random_uuid(), %s, n, now(), now(), now(), now() FROM generate_series(1, 5000) n;
ANALYZE player"""


def forget_plans() -> None:
    """PostgreSQL compares with the plans that it has made, here for other tests with less data."""
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    raw = db.of_thread().connection
    assert raw
    raw.statements.names.clear()


def plans() -> list[tuple[int, int]]:
    """Custom and generic plans of each prepared statement that stores events."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(custom_plans)::int, sum(generic_plans)::int"
            " FROM pg_prepared_statements WHERE statement LIKE '%INSERT INTO event (%'"
            " GROUP BY statement"
        )
        return [(custom, generic) for custom, generic in cursor.fetchall()]

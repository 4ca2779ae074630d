"""Rejected events are stored with their reason; other failures are not."""

import re
from typing import Any

import msgspec
import pytest
from django.db import connection

from events import rejections, tasks
from events.models import Event, RejectedEvent
from ilara_admin.core import projects
from ilara_admin.models import Environment, Tier
from players.models import Player
from tests.api_client import EVENTS, Api
from tests.factories import ACTOR

UNKNOWN = "550e8400-e29b-41d4-a716-446655440000"


@pytest.fixture
def body(player: Player) -> dict[str, Any]:
    return {"player_id": str(player.id), "event_name": "start"}


def stored_rejections() -> list[tuple[str | None, str | None, str, str | None]]:
    rows = RejectedEvent.objects.order_by("id")
    return list(rows.values_list("event_name", "player", "code", "field"))


def test_rejected_event__is_stored_with_its_reason(
    body: dict[str, Any], public_api: Api, environment: Environment
) -> None:
    sent = {**body, "properties": {"n": 10**400}}
    message = public_api.post(EVENTS, sent).error["message"]
    row = RejectedEvent.objects.get()
    assert (row.environment, row.event_name, row.player) == (
        environment, "start", body["player_id"]
    )  # fmt: skip
    assert (row.code, row.message, row.field) == ("VALIDATION_ERROR", message, "properties.n")
    assert row.payload.startswith('{"player_id":')
    assert str(10**400) in row.payload


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (b"NaN", "NaN"),
        (b"-1e999", "-Infinity"),
        (rb'"\ud83d"', r'"\ud83d"'),
        (b'"caf\xe9"', r'"caf\udce9"'),
        (b"1" * 5_000, "Infinity"),
        (rb'"\u0000"', r'"\u0000"'),
    ],
)
def test_what_no_other_reader_accepts__rejects_its_event_and_is_stored(
    text: bytes, stored: str, body: dict[str, Any], public_api: Api
) -> None:
    good = msgspec.json.encode(body)
    bad = good[:-1] + b',"properties":{"n":' + text + b"}}"
    reply = public_api.post(
        f"{EVENTS}/batch", b'{"events":[' + b",".join([good, bad, good]) + b"]}"
    )
    assert reply.data["accepted"] == 2
    rejection = reply.data["rejected"][0]
    assert (rejection["index"], rejection["field"]) == (1, "properties.n")
    assert rejection["message"].startswith("properties.n must ")
    assert public_api.post(EVENTS, bad).error["details"][0]["field"] == "properties.n"
    rows = RejectedEvent.objects.order_by("id")
    assert [row.field for row in rows] == ["properties.n"] * 2
    assert all(f'{{"n":{stored}}}' in row.payload for row in rows)


def test_name_that_is_not_unicode__is_stored_readable(
    body: dict[str, Any], public_api: Api
) -> None:
    sent = msgspec.json.encode(body).replace(b'"start"', rb'"st\ud83drt"')
    assert public_api.post(EVENTS, sent).error["details"][0]["field"] == "event_name"
    assert RejectedEvent.objects.get().event_name == r"st\ud83drt"
    key = msgspec.json.encode(body)[:-1] + rb',"\ud83d":1}'
    reply = public_api.post(f"{EVENTS}/batch", b'{"events":[' + key + b"]}")
    assert reply.error["details"][0]["field"] == r"events[0].\ud83d"


@pytest.mark.parametrize(
    ("bad", "place"),
    [
        (b'{"player_id": x}', "events[1].player_id"),
        (b'{"a": 1 "b"}', "events[1].a"),
        (b'{"a": "\x01"}', "events[1].a"),
        (b'{"a" \xff}', "events[1]"),
        (b'{"a": tru', "events[1].a"),
    ],
)
def test_batch_that_is_not_json__error_names_the_byte_and_the_event(
    bad: bytes, place: str, body: dict[str, Any], public_api: Api
) -> None:
    start = b'{"events":[' + msgspec.json.encode(body) + b","
    reply = public_api.post(f"{EVENTS}/batch", start + bad + b"]}")
    assert reply.error["details"][0]["field"] == "events[1]"
    found = re.search(r"\(byte (\d+), in (.+)\)$", reply.error["message"])
    assert found
    assert found[2] == place
    assert len(start) < int(found[1]) <= len(start + bad)
    assert not Event.objects.exists()


def test_rejected_events_of_a_batch__are_stored(body: dict[str, Any], public_api: Api) -> None:
    events = [body, "text", {**body, "event_name": ""}, {**body, "player_id": UNKNOWN}]
    data = public_api.post(f"{EVENTS}/batch", {"events": events}).data
    assert (data["accepted"], len(data["rejected"])) == (1, 3)
    assert stored_rejections() == [
        (None, None, "VALIDATION_ERROR", None),
        ("", body["player_id"], "VALIDATION_ERROR", "event_name"),
        ("start", UNKNOWN, "NOT_FOUND", None),
    ]
    assert '"event_name": "start"' in RejectedEvent.objects.latest("id").payload


def test_batch_of_invalid_events__is_stored(body: dict[str, Any], public_api: Api) -> None:
    reply = public_api.post(f"{EVENTS}/batch", {"events": [{**body, "player_id": "x"}] * 3})
    assert (reply.status, len(stored_rejections())) == (400, 3)


def test_event_of_an_unknown_player__is_stored(body: dict[str, Any], public_api: Api) -> None:
    assert public_api.post(EVENTS, {**body, "player_id": UNKNOWN}).status == 404
    assert stored_rejections() == [("start", UNKNOWN, "NOT_FOUND", None)]


def test_payload__is_truncated_and_free_of_nul(body: dict[str, Any], public_api: Api) -> None:
    public_api.post(EVENTS, {**body, "event_name": "a\0" * 200, "properties": {"x": "é" * 60_000}})
    row = RejectedEvent.objects.get()
    assert row.event_name
    assert row.event_name.startswith("a\N{SYMBOL FOR NULL}a")
    assert len(row.event_name) == rejections.TEXT_CHARACTERS
    assert len(row.payload) == rejections.PAYLOAD_CHARACTERS


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff", b'{"events": [{"player_id": "'])
def test_unparsable_body__is_not_stored(body: bytes, player: Player, public_api: Api) -> None:
    for path in (EVENTS, f"{EVENTS}/batch"):
        assert public_api.post(path, body).status == 400
    assert (stored_rejections(), Event.objects.count()) == ([], 0)


def test_valid_and_duplicate_events__are_not_stored(body: dict[str, Any], public_api: Api) -> None:
    for _ in range(2):
        public_api.post(EVENTS, {**body, "event_id": "e-1"})
    assert stored_rejections() == []


def test_request_with_a_refused_key__is_not_stored(body: dict[str, Any], player: Player) -> None:
    for token in (None, "pk_live_x"):
        assert Api(token).post(EVENTS, {**body, "event_name": ""}).status == 401
    assert stored_rejections() == []


def test_batch_over_the_rate_limit__is_not_stored(
    body: dict[str, Any], public_api: Api, environment: Environment
) -> None:
    projects.project_update(environment.project, tier=Tier.FREE, actor=ACTOR)
    batch = {"events": [body] * 30 + ["bad"]}
    assert public_api.post(f"{EVENTS}/batch", batch).status == 200
    assert public_api.post(f"{EVENTS}/batch", batch).status == 429
    assert (Event.objects.count(), len(stored_rejections())) == (30, 1)


def test_rejections__are_deleted_after_a_week(body: dict[str, Any], public_api: Api) -> None:
    for _ in range(2):
        public_api.post(EVENTS, {**body, "event_name": ""})
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE event_rejected SET received_at = now() - interval '7 days 1 minute'
               WHERE id = (SELECT min(id) FROM event_rejected)"""
        )
    tasks.delete_old("event_rejected", rejections.KEPT_DAYS)
    assert len(stored_rejections()) == 1

"""Tracking one event."""

from datetime import UTC, datetime
from typing import Any

import pytest

from events.models import Event
from ilara_admin.models import Environment
from players.models import Player
from tests.api_client import EVENTS, Api
from tests.factories import make_player
from tests.inputs import inputs


@pytest.fixture
def body(player: Player) -> dict[str, Any]:
    return {"player_id": str(player.id), "event_name": "level_complete"}


def test_event__is_stored_as_sent(
    body: dict[str, Any], public_api: Api, environment: Environment
) -> None:
    sent = {
        **body,
        "event_id": "e-1",
        "session_id": "s-1",
        "timestamp": "2026-01-25T15:30:00.123456+01:00",
        "properties": {"level": 5, "nested": {"a": [1, None]}, "big": 2**63 - 1},
    }
    data = public_api.post(EVENTS, sent).data
    event = Event.objects.get()
    assert str(event.player_id) == body["player_id"]
    assert (event.environment_id, event.event_id, event.name) == (
        environment.pk,
        "e-1",
        "level_complete",
    )
    assert (event.session_id, event.properties) == ("s-1", sent["properties"])
    assert event.occurred_at == datetime(2026, 1, 25, 14, 30, 0, 123456, UTC)
    assert data["timestamp"] == "2026-01-25T14:30:00.123456Z"
    assert datetime.fromisoformat(data["received_at"]) == event.received_at


def test_event_without_a_time__occurred_on_arrival(body: dict[str, Any], public_api: Api) -> None:
    data = public_api.post(EVENTS, body).data
    assert data["timestamp"] == data["received_at"]
    event = Event.objects.get()
    assert event.occurred_at == event.received_at
    assert (event.session_id, event.properties) == (None, {})


def test_event_without_an_id__gets_a_stored_id(body: dict[str, Any], public_api: Api) -> None:
    first, second = (public_api.post(EVENTS, body).data for _ in range(2))
    assert first["event_id"] != second["event_id"]
    assert first["status"] == second["status"] == "accepted"
    stored = set(Event.objects.values_list("event_id", flat=True))
    assert stored == {first["event_id"], second["event_id"]}


def test_repeated_event__is_a_duplicate_and_not_stored(
    body: dict[str, Any], public_api: Api
) -> None:
    sent = {**body, "event_id": "e-1", "properties": {"n": 1}}
    assert public_api.post(EVENTS, sent).data["status"] == "accepted"
    again = public_api.post(EVENTS, {**sent, "properties": {"n": 2}})
    assert (again.status, again.data["status"]) == (201, "duplicate")
    assert again.headers["X-Ilara-Conflict"] == "properties"
    assert again.data["event_id"] == "e-1"
    assert Event.objects.get().properties == {"n": 1}


def test_event_id__is_unique_per_player_only(
    body: dict[str, Any], public_api: Api, environment: Environment
) -> None:
    other = {**body, "player_id": str(make_player(environment, "other").id)}
    for sent in (body, other):
        assert public_api.post(EVENTS, {**sent, "event_id": "e-1"}).data["status"] == "accepted"


def test_idempotency_key__replaces_a_missing_id_only(body: dict[str, Any], public_api: Api) -> None:
    def send(**fields: str) -> tuple[str, str]:
        data = public_api.post(EVENTS, {**body, **fields}, idempotency_key="k-1").data
        return data["event_id"], data["status"]

    assert send() == ("k-1", "accepted")
    assert send() == ("k-1", "duplicate")
    assert send(event_id="e-2") == ("e-2", "accepted")


@pytest.mark.parametrize("name", ["a", "x" * 128, "Level Complete!", "ünï/cödé 😀", "ilara", "NaN"])
def test_name_with_any_characters__is_accepted(
    name: str, body: dict[str, Any], public_api: Api
) -> None:
    assert public_api.post(EVENTS, {**body, "event_name": name}).data["event_name"] == name
    assert Event.objects.get().name == name


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"event_name": ""}, "event_name"),
        ({"event_name": "x" * 129}, "event_name"),
        ({"event_name": "a\tb"}, "event_name"),
        ({"event_name": "a\n"}, "event_name"),
        ({"event_name": "ilara.flag"}, "event_name"),
        ({"event_name": None}, "event_name"),
        ({"event_id": "x" * 129}, "event_id"),
        ({"event_id": 7}, "event_id"),
        ({"session_id": 7}, "session_id"),
        ({"properties": []}, "properties"),
        ({"properties": {f"p{number}": 1 for number in range(256)}}, "properties"),
        ({"properties": {"big": "x" * 65_536}}, "properties"),
        ({"properties": {"n": 10**400}}, "properties.n"),
        ({"timestamp": 5}, "timestamp"),
        ({"player_id": None}, "player_id"),
    ],
)
def test_invalid_field__is_refused_and_nothing_is_stored(
    fields: dict[str, Any], field: str, body: dict[str, Any], public_api: Api
) -> None:
    reply = public_api.post(EVENTS, {**body, **fields})
    assert (reply.status, reply.error["details"][0]["field"]) == (400, field)
    assert not Event.objects.exists()


def test_properties_at_the_limits__are_stored(body: dict[str, Any], public_api: Api) -> None:
    properties = {f"p{number:03}": "x" * 245 for number in range(255)}
    assert public_api.post(EVENTS, {**body, "properties": properties}).status == 201
    assert Event.objects.get().properties == properties


def test_null__is_the_same_as_absent(body: dict[str, Any], public_api: Api) -> None:
    empty = dict.fromkeys(["event_id", "session_id", "properties", "timestamp"])
    assert public_api.post(EVENTS, {**body, **empty}).data["status"] == "accepted"


def test_empty_text__is_the_same_as_absent(body: dict[str, Any], public_api: Api) -> None:
    empty = dict.fromkeys(["event_id", "session_id", "timestamp", "sent_at"], "")
    first, second = (public_api.post(EVENTS, {**body, **empty}, idempotency_key="") for _ in "ab")
    assert first.data["status"] == second.data["status"] == "accepted"
    assert {event.session_id for event in Event.objects.all()} == {None}
    batch = {"events": [{**body, **empty}] * 2, "sent_at": ""}
    assert public_api.post(f"{EVENTS}/batch", batch).data["accepted"] == 2
    reply = public_api.post(EVENTS, {**body, "properties": ""})
    assert reply.error["details"][0]["field"] == "properties"


@pytest.mark.parametrize("given", inputs("names"), ids=lambda given: given["about"])
def test_name__needs_something_to_see_and_no_space_outside(
    given: dict[str, Any], body: dict[str, Any], public_api: Api
) -> None:
    reply = public_api.post(EVENTS, {**body, "event_name": given["name"]})
    assert reply.status == (201 if given["fine"] else 400)
    if not given["fine"]:
        assert reply.error["details"][0]["field"] == "event_name"
        batch = {"events": [body, {**body, "event_name": given["name"]}]}
        rejected = public_api.post(f"{EVENTS}/batch", batch).data["rejected"]
        assert [(item["index"], item["field"]) for item in rejected] == [(1, "event_name")]


def test_missing_fields__are_named(body: dict[str, Any], public_api: Api) -> None:
    for name in body:
        sent = {key: value for key, value in body.items() if key != name}
        assert public_api.post(EVENTS, sent).error["message"] == f"{name} is required"


def test_event_of_an_unknown_player__leaves_no_receipt(
    body: dict[str, Any], public_api: Api, environment: Environment
) -> None:
    Player.objects.all().delete()
    sent = {**body, "event_id": "e-1"}
    assert public_api.post(EVENTS, sent).status == 404
    make_player(environment)
    assert public_api.post(EVENTS, sent).data["status"] == "accepted"

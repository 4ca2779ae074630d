"""Repeated event ids whose content differs: the first counts, the reply names what differs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from events.models import Event
from ilara_admin.models import Environment
from players.models import Player
from tests.api_client import EVENTS, Api
from tests.factories import make_player

BATCH = f"{EVENTS}/batch"
FIRST: dict[str, Any] = {
    "event_name": "start",
    "event_id": "e-1",
    "session_id": "s-1",
    "properties": {"a": 1, "b": [4.99, {"c": None}]},
    "timestamp": "2026-05-31T12:00:00Z",
}
EQUAL: list[dict[str, Any]] = [
    {},
    {"properties": {"b": [4.990, {"c": None}], "a": 1.0}},
    {"timestamp": "2026-05-31T14:00:00.000000+02:00"},
    {"properties": None, "session_id": None, "timestamp": None},
    {"properties": None, "session_id": "", "timestamp": ""},
]
OTHER: list[tuple[dict[str, Any], list[str]]] = [
    ({"event_name": "stop"}, ["event_name"]),
    ({"session_id": "s-2"}, ["session_id"]),
    ({"properties": {"a": 1}}, ["properties"]),
    ({"properties": {}}, ["properties"]),
    ({"properties": {"a": True, "b": [4.99, {"c": None}]}}, ["properties"]),
    ({"timestamp": "2026-05-31T12:00:00.000001Z"}, ["timestamp"]),
    (
        {
            "event_name": "x",
            "session_id": "y",
            "properties": {},
            "timestamp": "2026-05-30T12:00:00Z",
        },
        ["event_name", "session_id", "properties", "timestamp"],
    ),
]


@pytest.fixture
def first(player: Player) -> dict[str, Any]:
    return {"player_id": str(player.id), **FIRST}


def names(reply: Any) -> list[str]:
    header = reply.headers.get("X-Ilara-Conflict")
    return header.split(", ") if header else []


@pytest.mark.parametrize("again", EQUAL)
def test_repeat_of_equal_value__is_no_conflict(
    again: dict[str, Any], first: dict[str, Any], public_api: Api
) -> None:
    assert names(public_api.post(EVENTS, first)) == []
    repeat = public_api.post(EVENTS, {**first, **again})
    assert (repeat.data["status"], names(repeat)) == ("duplicate", [])
    for events in (
        [{**first, **again}] * 2,
        [{**first, "event_id": "e-2"}, {**first, **again, "event_id": "e-2"}],
    ):
        reply = public_api.post(BATCH, {"events": events})
        assert (reply.data["conflicts"], names(reply)) == ([], [])


@pytest.mark.parametrize(("again", "fields"), OTHER)
def test_repeat_with_other_content__names_the_fields(
    again: dict[str, Any], fields: list[str], first: dict[str, Any], public_api: Api
) -> None:
    public_api.post(EVENTS, first)
    repeat = public_api.post(EVENTS, {**first, **again})
    assert (repeat.data["status"], names(repeat)) == ("duplicate", fields)
    assert set(repeat.data) == {
        "event_id", "player_id", "event_name", "timestamp", "received_at", "status"
    }  # fmt: skip
    assert Event.objects.get().name == "start"


@pytest.mark.parametrize(("again", "fields"), OTHER)
def test_repeat_in_a_batch__is_listed_by_index_and_field(
    again: dict[str, Any], fields: list[str], first: dict[str, Any], public_api: Api
) -> None:
    public_api.post(EVENTS, first)
    new = {**first, "event_id": "e-2"}
    invalid = {**first, "event_name": ""}
    # Of the stored event, of the one before it in the batch, and after a repeat of the stored one.
    events = [
        invalid, {**first, **again}, new, {**new, **again}, new, first, {**first, **again},
    ]  # fmt: skip
    reply = public_api.post(BATCH, {"events": events})
    assert (reply.data["accepted"], reply.data["duplicates"]) == (1, 5)
    assert reply.data["conflicts"] == [
        {"index": index, "field": field} for index in (1, 3, 6) for field in fields
    ]
    assert names(reply) == fields
    assert Event.objects.count() == 2


def test_repeat_that_differs_from_the_batch_but_not_from_the_store__is_no_conflict(
    first: dict[str, Any], public_api: Api
) -> None:
    public_api.post(EVENTS, first)
    reply = public_api.post(BATCH, {"events": [{**first, "event_name": "stop"}, first]})
    assert reply.data["conflicts"] == [{"index": 0, "field": "event_name"}]


def test_field_that_the_first_did_not_have__is_a_conflict(player: Player, public_api: Api) -> None:
    bare = {"player_id": str(player.id), "event_name": "start", "event_id": "e-1"}
    full = {**bare, **FIRST}
    wanted = ["session_id", "properties", "timestamp"]
    public_api.post(EVENTS, bare)
    assert names(public_api.post(EVENTS, full)) == wanted
    other = {"event_id": "e-2"}
    assert (
        names(public_api.post(BATCH, {"events": [{**bare, **other}, {**full, **other}]})) == wanted
    )


def test_big_numbers__are_compared_as_stored(first: dict[str, Any], public_api: Api) -> None:
    body = {**first, "properties": {"n": 2**64 + 1, "m": 1e308, "k": 5e-324}}
    for _ in range(2):
        assert names(public_api.post(EVENTS, body)) == []
    assert names(public_api.post(BATCH, {"events": [body, body]})) == []


def test_same_id_of_another_player__is_another_event(
    first: dict[str, Any], environment: Environment, public_api: Api
) -> None:
    other = {**first, "player_id": str(make_player(environment, "other").id), "event_name": "stop"}
    reply = public_api.post(BATCH, {"events": [first, other]})
    assert (reply.data["accepted"], reply.data["conflicts"]) == (2, [])


@pytest.mark.parametrize("skew", [timedelta(), timedelta(seconds=-2), timedelta(days=400)])
def test_retry_of_a_corrected_event__is_no_conflict(
    skew: timedelta, first: dict[str, Any], public_api: Api
) -> None:
    """Each try has its own sent_at, so the corrected times differ by the transit."""

    def send(seconds: float, happened: datetime) -> list[str]:
        sent_at = datetime.now(UTC) - skew - timedelta(seconds=seconds)
        body = {**first, "timestamp": happened.isoformat(), "sent_at": sent_at.isoformat()}
        return names(public_api.post(EVENTS, body))

    happened = datetime.now(UTC) - skew - timedelta(hours=1)
    assert [send(seconds, happened) for seconds in (0, 1, 20)] == [[], [], []]
    assert send(0, happened - timedelta(minutes=10)) == ["timestamp"]


def test_only_duplicates__need_a_second_query(first: dict[str, Any], public_api: Api) -> None:
    public_api.post(EVENTS, {**first, "event_id": "e-0"})
    queries = []
    for events in ([first, {**first, "event_id": "e-2"}], [first] * 3):
        with CaptureQueriesContext(connection) as context:
            public_api.post(BATCH, {"events": events})
        queries.append(len(context))
    assert queries == [1, 2]


def test_header__may_be_read_by_browsers(first: dict[str, Any], public_api: Api) -> None:
    reply = public_api.post(EVENTS, first)
    assert "X-Ilara-Conflict" in reply.headers["Access-Control-Expose-Headers"]

"""Tracking batches: each event gets a result, and every event is accounted for."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.models import Event, RejectedEvent
from ilara_admin.models import Environment
from players.models import Player
from tests.api_client import EVENTS, Api, Reply
from tests.factories import make_environment, make_player

EXAMPLE_ID = "550e8400-e29b-41d4-a716-446655440000"


def send(api: Api, events: Any) -> Reply:
    return api.post(f"{EVENTS}/batch", {"events": events})


def event(player: Player, **fields: Any) -> dict[str, Any]:
    return {"player_id": str(player.id), "event_name": "start", **fields}


def test_1000_events_with_one_invalid__store_999(player: Player, public_api: Api) -> None:
    events = [event(player, properties={"n": number}) for number in range(1_000)]
    events[500]["event_name"] = ""
    data = send(public_api, events).data
    assert (data["accepted"], data["duplicates"]) == (999, 0)
    assert data["rejected"] == [
        {
            "index": 500,
            "code": "VALIDATION_ERROR",
            "message": "event_name must have at least 1 character",
            "field": "event_name",
        }
    ]
    stored = Event.objects.order_by("id").values_list("properties__n", flat=True)
    assert list(stored) == [number for number in range(1_000) if number != 500]


def test_events_of_a_batch__have_one_time_and_keep_their_order(
    player: Player, public_api: Api
) -> None:
    send(public_api, [event(player, event_id=f"e-{number}") for number in range(50)])
    stored = list(Event.objects.order_by("id").values_list("event_id", "received_at"))
    assert [event_id for event_id, _ in stored] == [f"e-{number}" for number in range(50)]
    assert len({received_at for _, received_at in stored}) == 1


def test_each_error__has_its_index_code_and_field(player: Player, public_api: Api) -> None:
    events = [
        event(player),
        "text",
        None,
        event(player, player_id="uuid-1"),
        event(player, player_id=EXAMPLE_ID),
        {"player_id": str(player.id)},
        event(player, properties={"a": {"b": "\0"}}),
        event(player, timestamp="now"),
        event(player, event_name="ilara.x"),
        event(player, properties={"n": 10**400}),
    ]
    data = send(public_api, events).data
    assert data["accepted"] == 1
    errors = [(item["index"], item["code"], item["field"]) for item in data["rejected"]]
    bad = "VALIDATION_ERROR"
    assert errors == [
        (1, bad, None),
        (2, bad, None),
        (3, bad, "player_id"),
        (4, "NOT_FOUND", None),
        (5, bad, "event_name"),
        (6, bad, "properties.a.b"),
        (7, bad, "timestamp"),
        (8, bad, "event_name"),
        (9, bad, "properties.n"),
    ]


def test_event_nested_too_deep__does_not_affect_others(player: Player, public_api: Api) -> None:
    deep: Any = "bottom"
    for _ in range(300):
        deep = [deep]
    data = send(public_api, [event(player), event(player, properties={"a": deep})]).data
    assert (data["accepted"], len(data["rejected"])) == (1, 1)
    assert "nests deeper" in data["rejected"][0]["message"]


def test_batch_of_invalid_events__is_400(player: Player, public_api: Api) -> None:
    reply = send(public_api, [event(player, event_name=""), event(player, player_id="x")])
    assert reply.status == 400
    message = "event_name must have at least 1 character"
    assert reply.error["message"] == f"Every event was rejected. The first error: {message}"
    assert reply.error["details"][0]["field"] == "events[0].event_name"


def test_batch_of_unknown_players__is_400(player: Player, public_api: Api) -> None:
    reply = send(public_api, [event(player, player_id=EXAMPLE_ID)])
    assert (reply.status, reply.error["code"]) == (400, "VALIDATION_ERROR")
    assert reply.error["details"][0]["field"] == "events[0]"


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([], "at least 1 item"),
        ([{}] * 1_001, "at most 1000 items"),
        ({}, "must be an array"),
        (None, "must be an array"),
    ],
)
def test_invalid_batch__is_400(events: Any, text: str, public_api: Api) -> None:
    reply = send(public_api, events)
    assert reply.status == 400
    assert text in reply.error["message"]
    assert reply.error["details"][0]["field"] == "events"


def test_batch_without_events__is_400(public_api: Api) -> None:
    assert public_api.post(f"{EVENTS}/batch", {}).error["message"] == "events is required"


def test_duplicates__within_and_before_the_batch_are_counted(
    player: Player, public_api: Api
) -> None:
    public_api.post(EVENTS, event(player, event_id="e-0"))
    events = [event(player, event_id=event_id) for event_id in ("e-0", "e-1", "e-1", "e-0", "e-2")]
    data = send(public_api, events).data
    assert data == {"accepted": 2, "duplicates": 3, "rejected": [], "conflicts": []}
    assert Event.objects.count() == 3


def test_repeated_batch__is_all_duplicates(player: Player, public_api: Api) -> None:
    events = [event(player, event_id=f"e-{number}") for number in range(10)]
    assert send(public_api, events).data["accepted"] == 10
    data = send(public_api, events).data
    assert data == {"accepted": 0, "duplicates": 10, "rejected": [], "conflicts": []}


def test_same_id_of_two_players__is_two_events(
    player: Player, public_api: Api, environment: Environment
) -> None:
    other = make_player(environment, "other")
    events = [event(player, event_id="e-1"), event(other, event_id="e-1")]
    assert send(public_api, events).data["accepted"] == 2


def test_repeated_event_of_an_unknown_player__is_rejected_each_time(
    player: Player, public_api: Api
) -> None:
    unknown = event(player, player_id=EXAMPLE_ID, event_id="e-1")
    data = send(public_api, [unknown, event(player), unknown]).data
    assert data["accepted"] == 1
    assert [item["index"] for item in data["rejected"]] == [0, 2]
    assert RejectedEvent.objects.count() == 2


def test_player_of_another_environment__is_unknown(player: Player, public_api: Api) -> None:
    stranger = make_player(make_environment(slug="test"))
    data = send(public_api, [event(player), event(stranger)]).data
    assert [item["code"] for item in data["rejected"]] == ["NOT_FOUND"]
    assert not Event.objects.filter(player_id=stranger.id).exists()


def test_unknown_fields_of_the_batch__are_named(player: Player, public_api: Api) -> None:
    body = {"events": [event(player, extra=1)], "build": "1.2"}
    reply = public_api.post(f"{EVENTS}/batch", body)
    assert reply.headers["X-Ilara-Ignored"] == "build"
    assert reply.data["accepted"] == 1


ITEMS = st.lists(
    st.sampled_from(["fresh", "e-1", "e-2", "bad name", "no player", "malformed", "text"]),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(ITEMS, min_size=1, max_size=3))
def test_every_event__is_accounted_for(
    batches: list[list[str]], player: Player, public_api: Api
) -> None:
    kinds: dict[str, Any] = {
        "fresh": event(player),
        "bad name": event(player, event_name=""),
        "no player": event(player, player_id=EXAMPLE_ID),
        "malformed": event(player, player_id="1"),
        "text": "text",
    }
    for batch in batches:
        before = Event.objects.count()
        reply = send(
            public_api, [kinds.get(kind) or event(player, event_id=kind) for kind in batch]
        )
        bad = [i for i, kind in enumerate(batch) if kind in kinds and kind != "fresh"]
        if reply.status == 400:
            assert len(bad) == len(batch)
            assert Event.objects.count() == before
            continue
        data = reply.data
        assert data["accepted"] + data["duplicates"] + len(data["rejected"]) == len(batch)
        assert [item["index"] for item in data["rejected"]] == bad
        assert Event.objects.count() == before + data["accepted"]

"""The client's time of an event: stored next to the server's, bounded, corrected by `sent_at`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events.models import Event
from players.models import Player
from tests.api_client import EVENTS, Api
from tests.inputs import inputs

HOUR = timedelta(hours=1)


@pytest.fixture
def body(player: Player) -> dict[str, Any]:
    return {"player_id": str(player.id), "event_name": "start"}


def ago(distance: timedelta) -> str:
    return (datetime.now(UTC) - distance).isoformat()


def shift(moment: datetime) -> timedelta:
    """How long ago a time is, rounded to minutes."""
    return timedelta(minutes=round((datetime.now(UTC) - moment) / timedelta(minutes=1)))


@pytest.mark.parametrize("distance", [HOUR, 400 * 24 * HOUR, -23 * HOUR])
def test_wrong_clock__is_stored_next_to_the_server_time(
    distance: timedelta, body: dict[str, Any], public_api: Api
) -> None:
    data = public_api.post(EVENTS, {**body, "timestamp": ago(distance)}).data
    event = Event.objects.get()
    assert shift(event.occurred_at) == distance
    assert shift(event.received_at) == timedelta()
    assert datetime.fromisoformat(data["timestamp"]) == event.occurred_at


TIMES = inputs("times")


def test_timestamp_of_any_runtime__is_read(body: dict[str, Any], secret_api: Api) -> None:
    """All examples that are recent, in one batch."""
    examples = {
        example["text"]: datetime.fromisoformat(example["instant"])
        for example in TIMES
        if "1971" < (example["instant"] or "") < datetime.now(UTC).isoformat()
    }
    assert len(examples) > 80
    events = [{**body, "event_id": text, "timestamp": text} for text in examples]
    assert secret_api.post(f"{EVENTS}/batch", {"events": events}).data["rejected"] == []
    stored = dict(Event.objects.values_list("event_id", "occurred_at"))
    assert stored == examples


def test_text_that_is_no_time__is_refused(body: dict[str, Any], secret_api: Api) -> None:
    texts = [example["text"] for example in TIMES if example["instant"] is None and example["text"]]
    events = [body, *({**body, "timestamp": text} for text in texts)]
    rejected = secret_api.post(f"{EVENTS}/batch", {"events": events}).data["rejected"]
    assert [item["index"] for item in rejected] == list(range(1, len(texts) + 1))
    assert {item["field"] for item in rejected} == {"timestamp"}


@pytest.mark.parametrize(
    "sent_at", ["2026-05-31T12:00:00.1234567", "2026-05-31 12:00:00 +0000 UTC"]
)
def test_sent_at_of_any_runtime__is_read(
    sent_at: str, body: dict[str, Any], public_api: Api
) -> None:
    data = public_api.post(EVENTS, {**body, "timestamp": "20260531T1159Z", "sent_at": sent_at}).data
    assert 59 < (datetime.now(UTC) - datetime.fromisoformat(data["timestamp"])).seconds < 90


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        ("2099-01-01T00:00:00Z", "more than 24 hours ahead"),
        ("1970-01-01T00:00:00Z", "before 1971"),
        ("1969-12-31T23:59:59Z", "between the years 1970 and 2099"),
        ("9999-12-31T23:59:59Z", "between the years 1970 and 2099"),
    ],
)
def test_impossible_timestamp__is_refused(
    timestamp: str, text: str, body: dict[str, Any], public_api: Api
) -> None:
    reply = public_api.post(EVENTS, {**body, "timestamp": timestamp})
    assert (reply.status, reply.error["details"][0]["field"]) == (400, "timestamp")
    assert text in reply.error["message"]
    assert not Event.objects.exists()


def test_timestamp_more_than_a_day_ahead__is_refused(body: dict[str, Any], public_api: Api) -> None:
    reply = public_api.post(EVENTS, {**body, "timestamp": ago(-25 * HOUR)})
    assert "more than 24 hours ahead of the server's clock" in reply.error["message"]
    assert not Event.objects.exists()


@pytest.mark.parametrize("skew", [-30 * 24 * HOUR, 2 * HOUR, 20_000 * 24 * HOUR])
def test_sent_at__corrects_the_clock(
    skew: timedelta, body: dict[str, Any], public_api: Api
) -> None:
    """Whatever the clock shows, the event happened an hour before the request."""
    sent = {"timestamp": ago(skew + HOUR)}
    data = public_api.post(EVENTS, {**body, **sent, "sent_at": ago(skew)}).data
    batch = {"events": [{**body, **sent}, body], "sent_at": ago(skew)}
    assert public_api.post(f"{EVENTS}/batch", batch).data["accepted"] == 2
    single, first, second = Event.objects.order_by("id")
    assert datetime.fromisoformat(data["timestamp"]) == single.occurred_at
    assert shift(single.occurred_at) == shift(first.occurred_at) == HOUR
    assert second.occurred_at == second.received_at


def test_event_after_sent_at__is_refused(body: dict[str, Any], public_api: Api) -> None:
    times = {"timestamp": ago(24 * HOUR), "sent_at": ago(50 * HOUR)}
    reply = public_api.post(EVENTS, {**body, **times})
    assert reply.error["message"] == "timestamp is more than 24 hours ahead of sent_at"


@pytest.mark.parametrize("sent_at", ["1960-01-01T00:00:00Z", "2100-01-01T00:00:00Z", "now", 5])
def test_impossible_sent_at__refuses_the_request(
    sent_at: Any, body: dict[str, Any], public_api: Api
) -> None:
    for path, sent in ((EVENTS, body), (f"{EVENTS}/batch", {"events": [body]})):
        reply = public_api.post(path, {**sent, "sent_at": sent_at})
        assert (reply.status, reply.error["details"][0]["field"]) == (400, "sent_at")
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    ("age", "shifted"),
    [(0.5, False), (9, False), (55, False), (70, True), (3600, True), (-5, True), (-3600, True)],
)
def test_plausible_transit__is_not_taken_for_a_wrong_clock(
    age: float, shifted: bool, body: dict[str, Any], public_api: Api
) -> None:
    """A body may take seconds to arrive; its events happened when they say."""
    happened = datetime.now(UTC) - HOUR
    sent_at = datetime.now(UTC) - timedelta(seconds=age)
    sent = {**body, "timestamp": happened.isoformat()}
    data = public_api.post(EVENTS, {**sent, "sent_at": sent_at.isoformat()}).data
    public_api.post(f"{EVENTS}/batch", {"events": [sent], "sent_at": sent_at.isoformat()})
    single, batched = Event.objects.order_by("id")
    assert datetime.fromisoformat(data["timestamp"]) == single.occurred_at
    for event in (single, batched):
        skew = event.received_at - sent_at if shifted else timedelta()
        assert event.occurred_at == happened + skew

"""Sessions: idempotent by id, stored in a ledger."""

from datetime import UTC, datetime
from typing import Any

import pytest

from players.models import Player, PlayerSession
from tests.api_client import PLAYERS, Api


@pytest.fixture
def path(player: Player) -> str:
    return f"{PLAYERS}/{player.id}/session"


def test_sessions_without_an_id__all_count(path: str, public_api: Api) -> None:
    assert [public_api.post(path).data["session_count"] for _ in range(3)] == [1, 2, 3]


def test_session__is_stored_as_sent(path: str, public_api: Api) -> None:
    body = {
        "session_id": "s-1",
        "started_at": "2026-01-01T12:00:00+02:00",
        "duration_seconds": 1800,
    }
    public_api.post(path, body)
    session = PlayerSession.objects.get()
    assert (session.session_id, session.duration_seconds) == ("s-1", 1800)
    assert session.started_at == datetime(2026, 1, 1, 10, tzinfo=UTC)


def test_session_without_a_body__starts_at_the_request(path: str, public_api: Api) -> None:
    public_api.post(path)
    session = PlayerSession.objects.get()
    assert (session.session_id, session.duration_seconds) == (None, None)
    assert session.started_at == session.received_at


def test_repeated_id__changes_only_last_seen_at(path: str, public_api: Api) -> None:
    first = public_api.post(path, {"session_id": "s-1"}).data
    again = public_api.post(path, {"session_id": "s-1", "duration_seconds": 5}).data
    assert again == {**first, "last_seen_at": again["last_seen_at"]}
    assert PlayerSession.objects.get().duration_seconds is None


def test_repeated_id__names_what_differs(path: str, public_api: Api) -> None:
    def conflict(**fields: Any) -> str | None:
        return public_api.post(path, {"session_id": "s-1", **fields}).headers.get(
            "X-Ilara-Conflict"
        )

    start = "2026-01-01T12:00:00Z"
    assert conflict(started_at=start, duration_seconds=60) is None
    assert conflict() is None
    assert conflict(started_at="2026-01-01T14:00:00.000+02:00", duration_seconds=60.0) is None
    assert conflict(duration_seconds=61) == "duration_seconds"
    assert conflict(started_at="2026-01-01T12:00:01Z", duration_seconds=61) == (
        "started_at, duration_seconds"
    )


def test_header__is_used_only_without_an_id(path: str, public_api: Api) -> None:
    public_api.post(path, idempotency_key="k-1")
    public_api.post(path, idempotency_key="k-1")
    assert public_api.post(path, {"session_id": "k-1"}).data["session_count"] == 1
    other = {"session_id": "s-2"}
    assert public_api.post(path, other, idempotency_key="k-1").data["session_count"] == 2


def test_id__is_unique_per_player_only(path: str, public_api: Api) -> None:
    public_api.post(path, {"session_id": "s-1"})
    other = f"{PLAYERS}/{public_api.register('other')['id']}/session"
    assert public_api.post(other, {"session_id": "s-1"}).data["session_count"] == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"session_id": "x" * 129}, "session_id"),
        ({"session_id": 5}, "session_id"),
        ({"started_at": "2026-01-32"}, "started_at"),
        ({"started_at": "1950-01-01T00:00:00Z"}, "started_at"),
        ({"duration_seconds": -1}, "duration_seconds"),
        ({"duration_seconds": 31_536_001}, "duration_seconds"),
        ({"duration_seconds": 1.5}, "duration_seconds"),
    ],
)
def test_invalid_field__is_refused(body: Any, field: str, path: str, public_api: Api) -> None:
    reply = public_api.post(path, body)
    assert (reply.status, reply.error["details"][0]["field"]) == (400, field)
    assert not PlayerSession.objects.exists()


def test_duration_60_0__is_a_whole_number(path: str, public_api: Api) -> None:
    assert public_api.post(path, b'{"duration_seconds": 60.0}').status == 200
    assert PlayerSession.objects.get().duration_seconds == 60
    message = public_api.post(path, {"duration_seconds": 1.5}).error["message"]
    assert message == "duration_seconds must be a whole number"


def test_invalid_idempotency_key__is_refused(path: str, public_api: Api) -> None:
    key = "x" * 129
    reply = public_api.post(path, idempotency_key=key)
    assert (reply.status, reply.error["details"][0]["field"]) == (400, "Idempotency-Key")
    assert public_api.post(path, {"session_id": "s-1"}, idempotency_key=key).status == 400


def test_empty_ids_and_times__count_as_absent(path: str, public_api: Api) -> None:
    body = {"session_id": "", "started_at": ""}
    counts = [public_api.post(path, body, idempotency_key="").data["session_count"] for _ in "ab"]
    assert counts == [1, 2]
    assert public_api.post(path, {"session_id": ""}, idempotency_key="k").data["session_count"] == 3
    assert public_api.post(path, {"session_id": "k"}).data["session_count"] == 3

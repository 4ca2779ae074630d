"""Tests of the Python client that need no Ilara server."""

import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any

import pytest

from ilara_admin.apidocs.clients import FOLDER
from tests.homes import wait_until

PLAYER = "550e8400-e29b-41d4-a716-446655440000"
NOWHERE = "http://127.0.0.1:9"  # the discard port, where nothing listens


@pytest.fixture(scope="module")
def ilara() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("ilara", FOLDER / "ilara.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["ilara"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["ilara"]


@contextmanager
def replying(data: Any) -> Iterator[tuple[str, list[Any]]]:
    """The address of a server that replies to POST with `data`, and the bodies it received."""
    bodies: list[Any] = []

    class Replying(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"success": True, "data": data}).encode())

        def log_message(self, *_: object) -> None:
            """Not logged."""

    with served_by(Replying) as address:
        yield address, bodies


@contextmanager
def served_by(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=[0.01])
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_pause__is_random_up_to_a_bound_that_doubles_to_a_limit(ilara: ModuleType) -> None:
    for failures, bound in ((1, 0.25), (2, 0.5), (5, 4), (8, 20), (1_000_000, 20)):
        pauses = [ilara.pause(failures) for _ in range(2_000)]
        assert 0 <= min(pauses) < 0.1 * bound
        assert 0.9 * bound < max(pauses) <= bound


def test_pause__is_at_least_retry_after(ilara: ModuleType) -> None:
    assert all(3 <= ilara.pause(9, 3.0) <= 3.25 for _ in range(1_000))


@pytest.mark.parametrize("base_url", ["http://h", "http://h/", "http://h/v1", "http://h/v1/"])
def test_base_url__works_with_and_without_the_version(ilara: ModuleType, base_url: str) -> None:
    with ilara.Ilara(base_url, "key") as client:
        assert client.base_url == "http://h/v1"


def test_base_url_without_a_scheme__is_refused(ilara: ModuleType) -> None:
    with pytest.raises(ValueError, match="base_url must begin with http"):
        ilara.Ilara("localhost:18000", "key")


@pytest.mark.parametrize("key", ["pk_live_abc\n", "", "pk_live_ü"])
def test_invalid_key__is_refused_and_not_shown(ilara: ModuleType, key: str) -> None:
    with pytest.raises(ValueError, match="api_key is empty or has") as caught:
        ilara.Ilara("http://h", key)
    assert "pk_live" not in str(caught.value)


@pytest.mark.parametrize("amount", [4.99, None])
def test_float_amount__is_refused(ilara: ModuleType, amount: Any) -> None:
    with (
        ilara.Ilara(NOWHERE, "key") as client,
        pytest.raises(TypeError, match="a float loses cents"),
    ):
        client.record_purchase(PLAYER, amount)


@pytest.mark.parametrize(
    ("amount", "sent"), [(Decimal("5E+1"), "50"), (Decimal("4.90"), "4.90"), (3, "3"), ("1", "1")]
)
def test_amount__is_sent_as_printed(ilara: ModuleType, amount: Any, sent: str) -> None:
    with replying({}) as (address, bodies), ilara.Ilara(address, "key") as client:
        client.record_purchase(PLAYER, amount)
    assert [body["amount"] for body in bodies] == [sent]


@pytest.mark.parametrize(
    ("value", "default", "fits"),
    [
        (True, False, True), (1, False, False), (True, 1, False), (10, 1, True), (2.5, 1, False),
        (10, 1.5, True), (True, 1.5, False), ("a", "b", True), ("a", 1, False),
        ({}, {"a": 1}, True), ([], {}, False), ([1], [], True), ({"a": 1}, None, True),
        (None, "b", False),
    ],
)  # fmt: skip
def test_flag_value__must_have_the_type_of_the_default(
    ilara: ModuleType, value: Any, default: Any, fits: bool
) -> None:
    with replying({"value": value}) as (address, _), ilara.Ilara(address, "key") as client:
        found = client.flag("key", PLAYER, default)
    wanted = value if fits else default
    assert (type(found), found) == (type(wanted), wanted)


def test_event_that_cannot_be_json__is_refused_by_track(ilara: ModuleType) -> None:
    with ilara.Ilara(NOWHERE, "key") as client:
        with pytest.raises(TypeError):
            client.track(PLAYER, "x", {"when": object()})
        with pytest.raises(ValueError, match="JSON"):
            client.track(PLAYER, "x", {"speed": float("nan")})
    with pytest.raises(RuntimeError, match="closed"):
        client.track(PLAYER, "x")


def test_close_without_a_server__ends_in_time_and_returns_the_loss(
    ilara: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    client = ilara.Ilara(NOWHERE, "key")
    client.track(PLAYER, "x")
    assert client.flush(0.2) == 1
    assert client.close(0.2) == 1
    assert "could not be sent in time: 1" in caplog.text


def test_rejected_events__are_logged_once_per_reason(
    ilara: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    rejected = [
        {"index": index, "code": "NOT_FOUND", "message": "Player not found.", "field": None}
        for index in range(3)
    ]
    receipt = {"accepted": 0, "duplicates": 0, "rejected": rejected}
    with replying(receipt) as (address, _), ilara.Ilara(address, "key") as client:
        for _ in range(3):
            client.track(PLAYER, "x")
        assert client.flush(10) == 0
    assert caplog.text.count("Player not found") == 1


def test_deadline__limits_a_call_with_all_its_attempts(ilara: ModuleType) -> None:
    with (
        ilara.Ilara(NOWHERE, "key", attempts=1_000, deadline=0.3) as client,
        pytest.raises(ilara.NetworkError) as caught,
    ):
        client.get_player(PLAYER)
    assert (caught.value.code, caught.value.status) == ("NETWORK_ERROR", 0)


def test_stream__can_be_closed_between_connections(
    ilara: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    pause = ilara.pause

    def recording_pause(failures: int, least: float) -> Any:
        pauses.append(least)
        return pause(failures, least)

    monkeypatch.setattr(ilara, "pause", recording_pause)

    class Once(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            event = b'{"player_id":"p","event_id":"e"}'
            self.wfile.write(b"retry: 3600000\n\nid: 1\ndata: %s\n\n" % event)

        def log_message(self, *_: object) -> None:
            """Not logged."""

    with served_by(Once) as address, ilara.Ilara(address, "key") as client:
        stream, events = client.stream(), []
        reading = threading.Thread(target=lambda: events.extend(stream))
        reading.start()
        wait_until(lambda: bool(pauses))
        stream.close()
        reading.join(5)
        assert not reading.is_alive()
        assert (stream.last_id, pauses) == ("1", [3600])
        assert [event["event_id"] for event in events] == ["e"]

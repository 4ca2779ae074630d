"""`serve --server granian`: the published API, bodies in chunks, event streams, and a stop."""

import http.client
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

import pytest
from django.conf import settings

from tests.api_client import EVENTS, PLAYERS, HttpApi
from tests.homes import HANG_SECONDS, wait_until
from tests.processes import command_line, parents
from tests.replay import CASES, renamed, replay
from tests.running import Serve, on_embedded_database
from tests.used_homes import UsedHomes

pytestmark = [pytest.mark.slow, on_embedded_database]


@pytest.fixture(scope="module")
def serve(used_homes: UsedHomes) -> Iterator[Serve]:
    with used_homes() as used:
        serve = Serve(used.home, "--server", "granian", "--workers", "1", printed=used.printed)
        yield serve.ready()
        serve.clean_up()


def test_granian__replies_as_published(serve: Serve) -> None:
    assert "buffers" in serve.says("proxy")
    for number, steps in enumerate(CASES.values()):
        replay(renamed(steps, f"granian_{number}"), serve.api("live public"), "$public")


def test_granian__refuses_in_the_envelope(serve: Serve) -> None:
    api = serve.api()
    for reply, status in [
        (HttpApi(serve.address, None).get(f"{PLAYERS}/x"), 401),
        (api.get("/v1/nothing"), 404),
        (api.post(PLAYERS, b"{"), 400),
        (api.post(PLAYERS, b" " * (1024 * 1024 + 1)), 413),
    ]:
        assert (reply.status, reply.error["message"] != "") == (status, True)


def test_granian__reads_bodies_in_chunks(serve: Serve) -> None:
    with closing(client(serve)) as session:
        for _ in range(2):
            headers = {"X-API-Key": serve.says("live public"), "Content-Type": "application/json"}
            body = iter([b'{"external_id": ', b'"chunky"}'])
            session.request("POST", PLAYERS, body, headers, encode_chunked=True)
            response = session.getresponse()
            assert response.status in (200, 201)
            response.read()


def test_granian__forgets_the_open_streams_of_a_killed_process(serve: Serve) -> None:
    def open_streams() -> str:
        text = serve.get("/metrics")[1]
        return next(line for line in text.splitlines() if line.startswith("ilara_open_streams "))

    with closing(client(serve)) as session:
        session.request("GET", f"{EVENTS}/stream", headers={"X-API-Key": serve.says("live secret")})
        session.getresponse().readline()
        assert open_streams() == "ilara_open_streams 1.0"
        os.kill(web_process(serve), signal.SIGKILL)
    wait_until(lambda: answers(serve))
    assert open_streams() == "ilara_open_streams 0.0"


def web_process(serve: Serve) -> int:
    """The process that granian has started for requests."""
    (server,) = (
        pid
        for pid, parent in parents().items()
        if parent == serve.process.pid and "granian" in command_line(pid)
    )
    (process,) = (
        pid
        for pid, parent in parents().items()
        if parent == server and "resource_tracker" not in command_line(pid)
    )
    return process


def answers(serve: Serve) -> bool:
    with suppress(OSError, http.client.HTTPException):
        return serve.get("/healthz")[0] == 200
    return False


def test_granian__serves_others_beside_many_idle_clients(serve: Serve) -> None:
    with ExitStack() as stack:
        for _ in range(2 * settings.ILARA_THREADS):
            idle = stack.enter_context(closing(client(serve)))
            idle.request("GET", "/healthz")
            idle.getresponse().read()
        assert answers(serve)


def test_granian__streams_events_and_stops(serve: Serve) -> None:
    with closing(client(serve)) as session:
        session.request("GET", f"{EVENTS}/stream", headers={"X-API-Key": serve.says("live secret")})
        stream = session.getresponse()
        api = serve.api()
        player = api.register()["id"]
        api.post(EVENTS, {"player_id": player, "event_name": "seen_on_granian"})
        while b"seen_on_granian" not in stream.readline():
            assert not stream.isclosed()
        serve.stop()
        # It ended with a hint instead of being cut off.
        assert stream.read().endswith(b"retry: 1000\n\n")
        assert serve.err == ""


def client(serve: Serve) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", serve.port, timeout=HANG_SECONDS)

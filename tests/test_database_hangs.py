"""PostgreSQL stands still (SIGSTOP): it enforces no timeout, and its kernel still accepts
connections. Everything answers within its limit, and works again soon after SIGCONT."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from ilara_admin.core.limits import API
from tests.api_client import EVENTS, FLAGS, PLAYERS, HttpApi, Reply
from tests.homes import wait_until
from tests.own_database import Game, own_game
from tests.used_homes import UsedHomes

pytestmark = pytest.mark.alone

THREADS = 8
READY_SECONDS = 2.0
BUSY = 1.5  # a machine that is shared by many tests
RECOVERY_SECONDS = 5.0
COOKIE = {"Cookie": f"ilara_session={'a' * 32}"}  # of no session: the page asks the database for it


@pytest.fixture(scope="module")
def game(used_homes: UsedHomes) -> Iterator[Game]:
    with used_homes() as used, own_game(used, ILARA_THREADS=str(THREADS)) as game:
        yield game


def timed(api: HttpApi, method: str, path: str, body: object = None) -> tuple[Reply, float]:
    started = monotonic()
    reply = api.request(method, path, body)
    return reply, monotonic() - started


def test_frozen_database__is_503_in_time_and_recovers(game: Game) -> None:
    player_id = game.api.register()["id"]
    calls = [
        ("GET", f"{PLAYERS}/{player_id}", None),
        ("POST", PLAYERS, {"external_id": "player_123"}),
        ("POST", f"{FLAGS}/evaluate", {"player_id": player_id}),
        ("POST", EVENTS, {"player_id": player_id, "event_name": "x"}),
        ("POST", f"{PLAYERS}/{player_id}/purchase?amount=1", None),
    ]
    with ThreadPoolExecutor(THREADS * 4) as pool:
        # More than one thread of the server gets a connection, and not all of them.
        assert {r.status for r, _ in pool.map(lambda c: timed(game.api, *c), calls)} <= {200, 201}
        keyless = game.server.api(None)
        with game.frozen_database():
            waiting = [pool.submit(timed, game.api, *call) for call in calls]
            for _ in range(2):
                reply, seconds = timed(keyless, "GET", "/readyz")
                assert (reply.status, reply.json["database"]) == (503, False)
                assert seconds < READY_SECONDS
            for each in waiting:
                reply, seconds = each.result()
                assert (reply.status, reply.error["code"]) == (503, "INTERNAL_ERROR")
                assert reply.error["message"].startswith("The database ")
                assert seconds < API.answer + BUSY

            # Now it is known to hang.
            for method, path, body in calls:
                reply, seconds = timed(game.api, method, path, body)
                assert reply.status == 503
                assert seconds < BUSY
            reply, seconds = timed(keyless, "GET", "/readyz")
            assert reply.status == 503
            assert seconds < READY_SECONDS
            page = keyless.request("GET", "/my-game/live/", headers=COOKIE)
            assert page.status == 503
            assert b"takes too long" in page.body
            assert b"Not available right now" in page.body
            assert keyless.get("/healthz").status == 200

        thawed = monotonic()
        wait_until(lambda: game.api.get(f"{PLAYERS}/{player_id}").status == 200)
        assert monotonic() - thawed < RECOVERY_SECONDS
        for reply, _ in pool.map(lambda c: timed(game.api, *c), calls * THREADS):
            assert reply.status in (200, 201), reply.json
        wait_until(lambda: keyless.get("/readyz").status == 200)

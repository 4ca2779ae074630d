"""PostgreSQL stops under a running server and restarts: requests get 503, then work again, and the
log stays small."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import Any

import pytest
from django.conf import settings

from ilara_admin.core import logs, tokens
from ilara_admin.runtime import embedded_postgres
from tests.api_client import EVENTS, FLAGS, PLAYERS, Reply
from tests.homes import kill_server, wait_until
from tests.own_database import Game, own_game
from tests.used_homes import UsedHomes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def game(used_homes: UsedHomes) -> Iterator[Game]:
    with used_homes() as used, own_game(used, ILARA_THREADS="4") as game:
        yield game


def stop(game: Game) -> None:
    embedded_postgres.release(game.home)


def kill(game: Game) -> None:
    kill_server(game.home)
    embedded_postgres.release(game.home)


@pytest.mark.parametrize("end", [stop, kill])
def test_postgresql_that_stops_and_restarts__is_503_and_then_200(
    game: Game, end: Callable[[Game], None]
) -> None:
    player_id = game.api.register()["id"]
    body = {"player_id": player_id}

    def calls() -> list[Reply]:
        return [
            game.api.get(f"{PLAYERS}/{player_id}"),
            game.api.post(PLAYERS, {"external_id": "player_123"}),
            game.api.post(f"{FLAGS}/evaluate", body),
            game.api.post(EVENTS, {**body, "event_name": "x", "event_id": "e-1"}),
            game.api.post(f"{EVENTS}/batch", {"events": [{**body, "event_name": "x"}]}),
            game.api.post(f"{PLAYERS}/{player_id}/purchase?amount=1", idempotency_key="t"),
        ]

    assert {reply.status for reply in calls()} == {200, 201}
    end(game)
    unknown = game.server.api(tokens.new_token("pk", "live")).get(PLAYERS)
    for reply in [unknown, *calls(), *calls()]:
        assert (reply.status, reply.error["code"]) == (503, "INTERNAL_ERROR")
        assert reply.headers["Retry-After"] == "1"
        assert reply.headers["X-Request-Id"]
        assert str(game.home).encode() not in reply.body
    assert game.server.api(None).get("/v1/nothing").status == 404
    assert game.server.api(None).get("/healthz").status == 200
    assert game.server.api(None).get("/readyz").status == 503

    game.start_database()
    # Every thread recovers, including those with an old connection.
    for reply in [reply for _ in range(4) for reply in calls()]:
        assert reply.status in (200, 201), reply.json
    assert game.server.api(None).get("/readyz").status == 200


REQUESTS = 600  # 20 seconds at 100 a second are 2,000
SECONDS = 6


def test_absent_database__is_counted_in_the_log_and_not_repeated(game: Game) -> None:
    """At most 100 KB for 20 s at 100 requests a second."""
    body = {"player_id": game.api.register("ada@example.com")["id"]}
    sleep(2 * logs.REPEAT_SECONDS + 1)  # until earlier failures are reported and forgotten
    before = game.log.stat().st_size
    session = settings.SESSION_COOKIE_NAME
    stop(game)
    started = monotonic()

    def ask(number: int) -> int:
        sleep(max(started + SECONDS * number / REQUESTS - monotonic(), 0))
        if number % 10 == 0:
            return game.api.get("/?q=ada@example.com", cookie=f"{session}={'x' * 32}").status
        return game.api.post(f"{FLAGS}/evaluate", body).status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(REQUESTS)))

    def entries() -> list[dict[str, Any]]:
        return [json.loads(line) for line in game.log.read_text()[before:].splitlines()]

    def counted() -> int:
        failed = [entry for entry in entries() if "OperationalError" in entry.get("error", "")]
        return sum(entry.get("repeated", 1) for entry in failed)

    assert set(statuses) == {503}
    wait_until(lambda: counted() >= REQUESTS)
    assert counted() == REQUESTS
    text = game.log.read_text()[before:]
    assert len(text) < 100_000 * REQUESTS / 2_000
    assert "ada@example.com" not in text
    first = next(entry for entry in entries() if entry.get("route") == f"{FLAGS}/evaluate")
    assert {"time", "level", "request_id", "route", "method", "message", "error"} <= set(first)
    game.start_database()

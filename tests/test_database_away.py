"""PostgreSQL stops under a running server and restarts: requests get 503, then work again."""

from collections.abc import Callable, Iterator

import pytest

from ilara_admin.core import tokens
from ilara_admin.runtime import embedded_postgres
from tests.api_client import EVENTS, FLAGS, PLAYERS, Reply
from tests.homes import kill_server
from tests.own_database import Game, own_game

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def game() -> Iterator[Game]:
    with own_game(ILARA_THREADS="4") as game:
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

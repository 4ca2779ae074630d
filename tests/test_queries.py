"""The number of statements per API call, with the environment in the cache."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ilara_admin.api import environment_cache
from players.aliases import player_alias_link
from players.models import Player
from tests.api_client import EVENTS, FLAGS, PLAYERS, SEGMENTS, Api, Reply
from tests.factories import ACTOR

OFREP = "/ofrep/v1/evaluate/flags"


@pytest.fixture
def player_id(player: Player, public_api: Api) -> str:
    """A player, in a process with the environment in its cache."""
    public_api.get(f"{PLAYERS}/{player.id}")
    return str(player.id)


def queries_of(api: Api, method: str, path: str, body: Any = None) -> tuple[Reply, int]:
    with CaptureQueriesContext(connection) as queries:
        reply = api.request(method, path, body)
    return reply, len(queries)


def test_flag_evaluation__is_one_query(player_id: str, public_api: Api) -> None:
    body = {"player_id": player_id}
    for path in (f"{FLAGS}/new_tutorial/evaluate", f"{FLAGS}/evaluate"):
        reply, queries = queries_of(public_api, "POST", path, body)
        assert (reply.status, queries) == (200, 1)


def test_tracked_event__is_one_query(player_id: str, public_api: Api) -> None:
    body = {"player_id": player_id, "event_name": "start", "event_id": "e-1"}
    reply, queries = queries_of(public_api, "POST", EVENTS, body)
    assert (reply.status, queries) == (201, 1)


def test_batch_of_100_events__is_one_query(player_id: str, public_api: Api) -> None:
    body = {"events": [{"player_id": player_id, "event_name": "start"}] * 100}
    reply, queries = queries_of(public_api, "POST", f"{EVENTS}/batch", body)
    assert (reply.data["accepted"], queries) == (100, 1)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", PLAYERS, {"external_id": "player_123", "attributes": {"level": 1}}),
        ("GET", f"{PLAYERS}/{{id}}", None),
        ("GET", f"{PLAYERS}/external/player_123", None),
        ("PATCH", f"{PLAYERS}/{{id}}", {"email": None}),
        ("POST", f"{PLAYERS}/{{id}}/session", None),
        ("POST", f"{PLAYERS}/{{id}}/purchase?amount=1", None),
        ("GET", f"{PLAYERS}/{{id}}/lifecycle", None),
        ("GET", f"{PLAYERS}/{{id}}/churn-risk", None),
        ("GET", "/v1/segments/player/{id}", None),
    ],
)
def test_other_call__is_one_query(
    method: str, path: str, body: Any, player_id: str, public_api: Api
) -> None:
    reply, queries = queries_of(public_api, method, path.format(id=player_id), body)
    assert (reply.status, queries) == (200, 1)


def test_call_by_an_alias__is_one_query(player_id: str, player: Player, public_api: Api) -> None:
    player_alias_link(player, "guest-7", actor=ACTOR)
    for method, path, body in (
        ("POST", PLAYERS, {"external_id": "guest-7"}),
        ("GET", f"{PLAYERS}/external/guest-7", None),
        ("POST", f"{OFREP}/new_tutorial", {"context": {"targetingKey": "guest-7"}}),
        ("POST", OFREP, {"context": {"targetingKey": "guest-7"}}),
    ):
        reply, queries = queries_of(public_api, method, path, body)
        assert (reply.status, queries) == (200, 1)


def test_segment_evaluation__is_one_query(player_id: str, public_api: Api) -> None:
    path = f"{SEGMENTS}/beta-testers/evaluate"
    reply, queries = queries_of(public_api, "POST", path, {"player_id": player_id})
    assert (reply.status, queries) == (200, 1)


def test_refusal__is_at_most_one_query(player_id: str, public_api: Api) -> None:
    """One statement checks that the refusal comes from the current configuration."""
    for method, path, body in (
        ("POST", EVENTS, b"{"),
        ("GET", PLAYERS, None),
        ("POST", f"{FLAGS}/nothing/evaluate", {"player_id": player_id}),
    ):
        reply, queries = queries_of(public_api, method, path, body)
        assert reply.status in (400, 403, 404)
        assert queries == 1


def test_first_request_of_a_process__looks_up_the_key_and_loads_the_environment(
    player_id: str, public_api: Api
) -> None:
    environment_cache.clear_cache()
    reply, queries = queries_of(public_api, "GET", f"{PLAYERS}/{player_id}")
    assert (reply.status, queries) == (200, 3)

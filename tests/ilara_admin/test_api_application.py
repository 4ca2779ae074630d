"""Calls of the API before Django's handler: the same replies as through it."""

from collections.abc import Mapping
from typing import Any

import pytest
from django.db import connection
from django.test import Client, RequestFactory

from ilara_admin.middleware import api_application
from ilara_admin.models import Environment, KeyKind
from players.models import Player
from tests.api_client import EVENTS, FLAGS, PLAYERS, Api, Reply
from tests.factories import make_key
from tests.ilara_admin.core.test_db import end_connection

pytestmark = pytest.mark.django_db


class Environs(RequestFactory):
    """Makes WSGI environments, which a request of Django would change."""

    def request(self, **request: Any) -> Any:
        return self._base_environ(**request)  # type: ignore[attr-defined]  # Django has it, its stubs do not


class DirectApi(Api):
    """Calls `api_application`."""

    def send(
        self,
        method: str,
        path: str,
        data: bytes,
        content_type: str,
        headers: dict[str, str],
        environ: Mapping[str, Any],
    ) -> Reply:
        sent: Any = Environs(headers=headers).generic(method, path, data, content_type, **environ)
        started: list[Any] = []
        body = api_application(sent, lambda status, headers: started.extend((status, headers)))
        status, received = started
        return Reply(int(status.split()[0]), dict(received), b"".join(body))


@pytest.fixture
def in_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the connection of the test's transaction, as Django's test client does."""
    monkeypatch.setattr(connection, "close_if_unusable_or_obsolete", lambda: None)


@pytest.mark.usefixtures("in_transaction")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", f"{FLAGS}/new_tutorial/evaluate", 200),
        ("POST", f"{FLAGS}/evaluate?explain=maybe", 400),
        ("POST", f"{FLAGS}/no%20flag/evaluate", 404),
        ("POST", "/ofrep/v1/evaluate/flags/new_tutorial", 200),
        ("POST", "/ofrep/v1/evaluate/flag", 404),
        ("GET", f"{PLAYERS}/x", 400),
        ("GET", f"{EVENTS}/", 404),
        ("GET", "/v1/events/%C3%A9v%FFents", 404),
        ("GET", "/v1/openapi.json", 200),
        ("DELETE", EVENTS, 405),
        ("HEAD", EVENTS, 405),
        ("OPTIONS", EVENTS, 204),
    ],
)
def test_reply__is_as_through_django(player: Player, method: str, path: str, status: int) -> None:
    token = make_key(player.environment).token
    body = {"player_id": str(player.pk), "more": 1, "context": {"targetingKey": str(player.pk)}}
    ours, djangos = (
        api(token).request(method, path, body, headers={"x_request_id": "r-1"})
        for api in (DirectApi, Api)
    )
    assert (ours.status, ours.body) == (djangos.status, djangos.body)
    assert dict(ours.headers) == dict(djangos.headers.items())
    assert (ours.status, ours.headers["X-Request-Id"]) == (status, "r-1")


@pytest.mark.django_db(transaction=True)
def test_connection__is_replaced_only_if_it_is_unusable(environment: Environment) -> None:
    api = DirectApi(make_key(environment).token)
    api.register()
    kept = connection.connection
    api.register()
    assert connection.connection is kept
    end_connection()
    api.register()
    connection.set_autocommit(False)  # by code that failed to set it back
    api.register("another")
    assert connection.get_autocommit()
    assert Player.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_stream__is_closed_by_the_server(environment: Environment) -> None:
    token = make_key(environment, KeyKind.SECRET).token
    sent: Any = Environs(headers={"X-API-Key": token}).get(f"{EVENTS}/stream")
    response: Any = api_application(sent, lambda *_: None)
    assert next(iter(response)).startswith(b"retry:")
    response.close()
    assert response.closed


def test_django__answers_calls_without_a_prefix(environment: Environment) -> None:
    reply = Client(headers={"X-API-Key": make_key(environment).token}).get("/players/players/x")
    assert "/v1/players/players/x" in reply.json()["error"]["message"]

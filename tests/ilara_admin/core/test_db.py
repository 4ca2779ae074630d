"""Statements that bypass Django's cursor: prepared once, retried after a lost connection."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import (
    DataError,
    OperationalError,
    close_old_connections,
    connection,
    transaction,
)
from django.urls import reverse

from ilara_admin.core import db
from ilara_admin.core.postgresql.base import DatabaseConnection
from ilara_admin.models import Environment
from players.models import Player
from tests.api_client import EVENTS, FLAGS, PLAYERS, Api
from tests.factories import make_player
from tests.pages import signed_in

pytestmark = pytest.mark.django_db(transaction=True)


def prepared() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        return int(cursor.fetchone()[0])


def end_connection() -> None:
    """Terminate this thread's connection, as a restart of the server does."""
    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


@pytest.mark.parametrize("call", ["register", "get", "evaluate", "track"])
def test_statement_of_100_players__is_prepared_once(
    call: str, public_api: Api, environment: Environment
) -> None:
    ids = [str(make_player(environment, f"p{number}").id) for number in range(100)]
    calls: dict[str, Callable[[str], int]] = {
        "register": lambda pk: public_api.post(PLAYERS, {"external_id": pk}).status,
        "get": lambda pk: public_api.get(f"{PLAYERS}/{pk}").status,
        "evaluate": lambda pk: public_api.post(f"{FLAGS}/evaluate", {"player_id": pk}).status,
        "track": lambda pk: public_api.post(EVENTS, {"player_id": pk, "event_name": "e"}).status,
    }
    connection.close()  # earlier tests may have prepared it
    public_api.get(PLAYERS)  # a refused request loads the environment too
    before = prepared()
    assert {calls[call](player_id) for player_id in ids} <= {200, 201}
    assert prepared() == before + 1


def test_lost_connection__is_replaced_for_every_statement(public_api: Api) -> None:
    player = f"{PLAYERS}/{public_api.register()['id']}"
    end_connection()
    assert public_api.get(player).status == 200
    end_connection()
    assert public_api.post(f"{player}/purchase?amount=1").status == 200
    assert Player.objects.get().purchase_count == 1


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the next statement lose its connection after the check that it is open."""
    fetch_all = DatabaseConnection.fetch_all

    def once(raw: DatabaseConnection, *args: Any) -> Any:
        monkeypatch.setattr(DatabaseConnection, "fetch_all", fetch_all)
        end_connection()
        return fetch_all(raw, *args)

    return lambda: monkeypatch.setattr(DatabaseConnection, "fetch_all", once)


def test_connection_lost_during_a_statement__is_replaced_for_idempotent_statements(
    public_api: Api, losing: Callable[[], None]
) -> None:
    player = f"{PLAYERS}/{public_api.register()['id']}"
    losing()
    assert public_api.get(player).status == 200
    losing()
    reply = public_api.post(f"{player}/purchase", {"amount": 1, "transaction_id": "t-1"})
    assert (reply.status, reply.data["total_revenue"]) == (200, 1)


def test_connection_lost_during_a_statement__is_503_for_other_writes(
    public_api: Api, losing: Callable[[], None]
) -> None:
    path = f"{PLAYERS}/{public_api.register()['id']}/purchase?amount=1"
    losing()
    assert public_api.post(path).status == 503
    assert public_api.post(path).status == 200
    assert Player.objects.get().purchase_count == 1


def test_lost_connection__is_replaced_outside_the_api(public_api: Api) -> None:
    public_api.register()
    end_connection()
    assert db.fetch_all("SELECT 1", []) == [(1,)]
    assert Player.objects.count() == 1


def test_lost_connection__ends_an_open_transaction() -> None:
    with pytest.raises(OperationalError), transaction.atomic():  # noqa: PT012
        db.fetch_all("SELECT 1", [])
        end_connection()
        db.fetch_all("SELECT 1", [], safe_to_repeat=True)
    assert db.fetch_one("SELECT 2", []) == (2,)


def test_error__is_raised_as_djangos() -> None:
    with pytest.raises(DataError):
        db.fetch_all("SELECT 1 / $1::int", [0])


def test_no_row__is_none() -> None:
    assert db.fetch_one("SELECT 1 WHERE false", []) is None


def test_lost_connection__is_replaced_for_a_page() -> None:
    client = signed_in()
    end_connection()
    close_old_connections()  # done by the server before a request, but not by the test client
    assert client.get(reverse("account")).status_code == 200

"""Time limits of database work, on a real connection."""

from collections.abc import Iterator
from dataclasses import replace
from time import monotonic

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django.test import Client

from ilara_admin.core import db, limits, outage
from ilara_admin.core.limits import API, COMMAND, JOB, PAGE, Limits
from ilara_admin.core.postgresql.base import NoAnswer
from players.models import Player
from tests.api_client import PLAYERS, Api
from tests.pages import signed_in, text_of

pytestmark = pytest.mark.django_db(transaction=True)

SHORT = Limits(statement=0.2, lock=0.1, idle_in_transaction=10, answer=5)
IMPATIENT = Limits(statement=0, lock=0, idle_in_transaction=0, answer=0.2)
SLEEP = "SELECT 1 FROM pg_sleep(3)"


@pytest.fixture(autouse=True)
def _limits_of_tests() -> Iterator[None]:
    yield
    limits.set_for_process(COMMAND)
    connection.close()


def of_session() -> list[str]:
    names = list(API.settings)
    columns = ", ".join(f"current_setting('{name}')" for name in names)
    return list(db.fetch_one(f"SELECT {columns}", []) or ())


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (API, ["6s", "5s", "10s"]),
        (PAGE, ["15s", "5s", "30s"]),
        (JOB, ["10min", "30s", "10min"]),
        (COMMAND, ["0", "0", "0"]),
    ],
)
def test_session__has_the_limits_of_the_work(work: Limits, expected: list[str]) -> None:
    limits.set_for_process(work)
    connection.close()
    assert of_session() == expected  # given when connecting
    with limits.using(replace(work, statement=1)):
        assert of_session() == ["1s", *expected[1:]]  # given to an open session
        with transaction.atomic():
            assert of_session() == ["1s", *expected[1:]]
    with transaction.atomic():
        assert of_session() == expected
    assert of_session() == expected


def test_call_that_waits_for_a_lock_too_long__is_503(public_api: Api) -> None:
    player = public_api.register()
    limits.set_for_process(SHORT)
    with psycopg.connect(**connection.get_connection_params()) as other:
        other.execute("SELECT 1 FROM player FOR UPDATE")
        reply = public_api.post(PLAYERS, {"external_id": "player_123", "email": "a@b.c"})
    assert (reply.status, reply.error["code"]) == (503, "INTERNAL_ERROR")
    assert reply.error["message"] == (
        "The database takes too long to answer. Try again in a moment."
    )
    assert public_api.get(f"{PLAYERS}/{player['id']}").data["email"] is None


def test_page_with_a_slow_statement__is_a_503_page(monkeypatch: pytest.MonkeyPatch) -> None:
    client = signed_in(raise_request_exception=False)
    monkeypatch.setattr(limits, "PAGE", SHORT)
    with psycopg.connect(**connection.get_connection_params()) as other:
        other.execute("LOCK TABLE django_session")
        response = client.get("/")
    assert response.status_code == 503
    assert "The database takes too long to answer." in text_of(response)
    assert client.get("/").status_code != 503


@pytest.mark.parametrize("way", ["raw", "orm"])
def test_statement_without_an_answer__ends_in_time_and_is_not_repeated(way: str) -> None:
    def run() -> None:
        if way == "raw":
            db.fetch_all(SLEEP, [], safe_to_repeat=True)
        else:
            Player.objects.raw(SLEEP.replace("1", "*", 1))[0]

    limits.set_for_process(IMPATIENT)
    started = monotonic()
    with pytest.raises(OperationalError) as caught:
        run()
    assert isinstance(caught.value.__cause__, NoAnswer)
    assert monotonic() - started < 1.5
    assert db.fetch_one("SELECT 2", []) == (2,)
    assert not outage.hangs


def test_commit_without_an_answer__ends_in_time() -> None:
    """A deferred trigger runs in the commit."""
    with connection.cursor() as cursor:
        cursor.execute(
            """CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
               CREATE TABLE slow (id int);
               CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED
               FOR EACH ROW EXECUTE FUNCTION slow()"""
        )
    try:
        with (
            limits.using(IMPATIENT),
            pytest.raises(OperationalError, match="did not answer"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute("INSERT INTO slow VALUES (1)")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE slow; DROP FUNCTION slow")


def test_write_without_space__says_so_until_a_probe_writes(
    public_api: Api, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "is_full", False)
    with connection.cursor() as cursor:
        cursor.execute(
            """CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
               CREATE TRIGGER full_disk BEFORE INSERT ON player
               FOR EACH ROW EXECUTE FUNCTION full_disk()"""
        )
    try:
        reply = public_api.post(PLAYERS, {"external_id": "player_123"})
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER full_disk ON player; DROP FUNCTION full_disk")
    assert reply.status == 503
    assert reply.error["message"].startswith("The database has no space left")
    assert outage.is_full
    response = client.get("/readyz")  # its probe finds space
    assert (response.status_code, response.json()["space"]) == (200, True)
    assert "space" not in client.get("/readyz").json()

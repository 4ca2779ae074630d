"""Last use of keys: recorded by requests, written by the background thread."""

from collections.abc import Callable
from time import monotonic

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now
from django.test import RequestFactory

from ilara_admin.api import environment_cache, key_usage
from ilara_admin.core.api_keys import NewKey
from ilara_admin.models import ApiKey, Environment, KeyKind
from tests.api_client import PLAYERS, Api
from tests.factories import make_key
from tests.threads import at_once


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock of the process forward."""
    ahead = [0.0]
    monkeypatch.setattr("ilara_admin.api.key_usage.monotonic", lambda: monotonic() + ahead[0])

    def move(seconds: float) -> None:
        ahead[0] += seconds

    return move


def note(new: NewKey, agent: str = "game-server/1.2 (eu-1)") -> None:
    found = environment_cache.of_token(new.token)
    assert found is not None
    key_usage.note(found[1], RequestFactory().get("/", headers={"user-agent": agent}))


def test_request__is_recorded_and_written_by_the_next_flush(environment: Environment) -> None:
    new = make_key(environment)
    Api(new.token).register()
    assert ApiKey.objects.get(pk=new.key.pk).last_used_at is None
    key_usage.flush()
    assert ApiKey.objects.get(pk=new.key.pk).last_used_at is not None


@pytest.mark.parametrize(("kind", "address"), [(KeyKind.SECRET, "127.0.0.1"), (KeyKind.PUBLIC, "")])
def test_use__has_the_client_and_for_secret_keys_the_address(
    environment: Environment, kind: KeyKind, address: str
) -> None:
    new = make_key(environment, kind)
    note(new)
    note(new, "another/1")  # the first use since the last write stays
    key_usage.flush()
    key = ApiKey.objects.get(pk=new.key.pk)
    assert (key.last_client, key.last_address) == ("game-server/1.2", address)


def test_later_use_by_another_process__stays(
    environment: Environment, later: Callable[[float], None]
) -> None:
    new = make_key(environment)
    note(new)
    later(8)
    ApiKey.objects.filter(pk=new.key.pk).update(last_used_at=Now(), last_client="other/1")
    key_usage.flush()
    assert ApiKey.objects.get(pk=new.key.pk).last_client == "other/1"


def test_refused_request__does_not_count_as_use(environment: Environment) -> None:
    new = make_key(environment)
    assert Api(new.token).get(PLAYERS).status == 403
    key_usage.flush()
    assert ApiKey.objects.get(pk=new.key.pk).last_used_at is None


def test_key_in_constant_use__is_written_once_a_minute(
    environment: Environment, later: Callable[[float], None]
) -> None:
    new = make_key(environment)
    key_id = new.key.pk
    note(new)
    key_usage.flush()
    first = ApiKey.objects.get(pk=key_id).last_used_at
    assert first is not None
    ApiKey.objects.filter(pk=key_id).update(last_used_at=None)
    later(59)
    note(new)
    key_usage.flush()
    assert ApiKey.objects.get(pk=key_id).last_used_at is None
    later(1)
    note(new)
    key_usage.flush()
    assert ApiKey.objects.get(pk=key_id).last_used_at is not None


@pytest.mark.django_db(transaction=True)
def test_locked_row__is_written_by_the_next_flush(environment: Environment) -> None:
    new = make_key(environment)
    note(new)
    with transaction.atomic():
        ApiKey.objects.select_for_update().get(pk=new.key.pk)
        at_once(lambda _: key_usage.flush(), [None])
    assert ApiKey.objects.get(pk=new.key.pk).last_used_at is None
    note(new)
    key_usage.flush()
    assert ApiKey.objects.get(pk=new.key.pk).last_used_at is not None


def test_nothing_recorded__no_query() -> None:
    key_usage.flush()  # the test has no access to the database


def test_database_away__is_logged_and_loses_nothing(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> None:
        raise OperationalError

    new = make_key(environment)
    key_id = new.key.pk
    note(new)
    with monkeypatch.context() as patched:
        patched.setattr(connection, "cursor", away)
        key_usage.flush_quietly()
    assert "cannot write the last use of 1 keys yet" in caplog.text
    key_usage.flush()
    assert ApiKey.objects.get(pk=key_id).last_used_at is not None

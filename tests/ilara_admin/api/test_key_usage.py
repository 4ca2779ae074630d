"""When a key was last used: noted on the way, written apart from it."""

from collections.abc import Callable
from time import monotonic

import pytest
from django.db import OperationalError, connection, transaction

from ilara_admin.api import key_usage
from ilara_admin.models import ApiKey, Environment
from tests.api_client import PLAYERS, Api
from tests.factories import make_key
from tests.threads import at_once


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets the clock of the process run ahead."""
    ahead = [0.0]
    monkeypatch.setattr("ilara_admin.api.key_usage.monotonic", lambda: monotonic() + ahead[0])

    def move(seconds: float) -> None:
        ahead[0] += seconds

    return move


def test_request__is_noted_and_written_by_the_next_flush(environment: Environment) -> None:
    new = make_key(environment)
    Api(new.token).register()
    assert ApiKey.objects.get(pk=new.key.pk).last_used_at is None
    key_usage.flush()
    assert ApiKey.objects.get(pk=new.key.pk).last_used_at is not None


def test_refused_request__is_no_use(environment: Environment) -> None:
    new = make_key(environment)
    assert Api(new.token).get(PLAYERS).status == 403
    key_usage.flush()
    assert ApiKey.objects.get(pk=new.key.pk).last_used_at is None


def test_key_in_steady_use__is_written_once_a_minute(
    environment: Environment, later: Callable[[float], None]
) -> None:
    key_id = make_key(environment).key.pk
    key_usage.note(key_id)
    key_usage.flush()
    first = ApiKey.objects.get(pk=key_id).last_used_at
    assert first is not None
    ApiKey.objects.filter(pk=key_id).update(last_used_at=None)
    later(59)
    key_usage.note(key_id)
    key_usage.flush()
    assert ApiKey.objects.get(pk=key_id).last_used_at is None
    later(1)
    key_usage.note(key_id)
    key_usage.flush()
    assert ApiKey.objects.get(pk=key_id).last_used_at is not None


@pytest.mark.django_db(transaction=True)
def test_row_that_somebody_holds__is_left_to_the_next_time(environment: Environment) -> None:
    new = make_key(environment)
    key_usage.note(new.key.pk)
    with transaction.atomic():
        ApiKey.objects.select_for_update().get(pk=new.key.pk)
        at_once(lambda _: key_usage.flush(), [None])
    assert ApiKey.objects.get(pk=new.key.pk).last_used_at is None
    key_usage.note(new.key.pk)
    key_usage.flush()
    assert ApiKey.objects.get(pk=new.key.pk).last_used_at is not None


def test_nothing_noted__asks_nothing() -> None:
    key_usage.flush()  # without access to the database


def test_database_away__is_logged_and_loses_nothing(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> None:
        raise OperationalError

    key_id = make_key(environment).key.pk
    key_usage.note(key_id)
    with monkeypatch.context() as patched:
        patched.setattr(connection, "cursor", away)
        key_usage.flush_quietly()
    assert "could not be written yet" in caplog.text
    key_usage.flush()
    assert ApiKey.objects.get(pk=key_id).last_used_at is not None

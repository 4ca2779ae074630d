"""Fixtures of all tests."""

from collections.abc import Callable, Iterator

import hypothesis
import pytest
from django.db import connection
from django.test import Client
from pytest_django import DjangoDbBlocker, Settings

from events import partitions
from flags import usage
from ilara_admin.api import environment_cache, key_usage, rate_limits
from ilara_admin.models import Environment, KeyKind, Role
from players.models import Player
from tests.api_client import Api
from tests.factories import (
    World,
    make_environment,
    make_key,
    make_player,
    make_staff,
    make_world,
)

# No deadline, since machines may be slow, and no example database in the checkout.
hypothesis.settings.register_profile("ilara", deadline=None, database=None)
hypothesis.settings.load_profile("ilara")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Create the event partitions, as in production."""
    with django_db_blocker.unblock():
        partitions.ensure()


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clear the caches of the process between tests. The threads that write the use of keys and
    flags do not run: they would hold other connections to the test database."""
    monkeypatch.setattr(key_usage, "_start", lambda: None)
    monkeypatch.setattr(usage, "_start", lambda: None)
    environment_cache.clear_cache()
    rate_limits.clear_cache()
    key_usage._noted.clear()
    key_usage._written.clear()
    usage._single.clear()
    usage._together.clear()
    yield
    environment_cache.clear_cache()


@pytest.fixture(autouse=True)
def _no_events_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Empty the unmanaged tables after a test that commits; Django empties only managed ones."""
    marker = request.node.get_closest_marker("django_db")
    commits = {"transactional_db", "live_server"} & set(request.fixturenames)
    if not commits and not (marker and marker.kwargs.get("transaction")):
        yield
        return
    request.getfixturevalue("transactional_db")
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE event, event_receipt")


@pytest.fixture(autouse=True)
def _cheap_passwords(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def environment(db: None) -> Environment:
    return make_environment()


@pytest.fixture
def player(environment: Environment) -> Player:
    return make_player(environment)


@pytest.fixture
def public_api(environment: Environment) -> Api:
    return Api(make_key(environment).token)


@pytest.fixture
def secret_api(environment: Environment) -> Api:
    return Api(make_key(environment, KeyKind.SECRET).token)


@pytest.fixture
def world(db: None) -> World:
    return make_world()


@pytest.fixture
def staff_client(db: None) -> Callable[..., Client]:
    """Signs in a new staff account with the given role, by default an admin."""

    def sign_in(role: Role = Role.ADMIN) -> Client:
        client = Client()
        client.force_login(make_staff(role))
        return client

    return sign_in

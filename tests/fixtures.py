"""Fixtures of all tests."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import hypothesis
import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import Client, TransactionTestCase, override_settings
from pytest_django import DjangoDbBlocker

from events import partitions
from events import search as events_search
from flags import usage
from flags.results import exposures
from ilara_admin.api import environment_cache, key_usage, rate_limits
from ilara_admin.models import Environment, KeyKind, Role, User
from players.models import Player
from segments import player_search, sizes
from tests.api_client import Api
from tests.factories import (
    EVERYWHERE,
    World,
    make_environment,
    make_key,
    make_player,
    make_session,
    make_world,
)
from tests.homes import HANG_SECONDS
from tests.pages import signed_in
from tests.serving import Gunicorn, gunicorns
from tests.used_homes import UsedHomes, used_home

# What ends a search early, so that a page stays fast.
SEARCHES = (
    (events_search, "LOOKED_SECONDS"),
    (player_search, "SEARCH_SECONDS"),
    (sizes, "SEARCH_SECONDS"),
)

# No deadline, since machines may be slow, and no example database in the checkout.
hypothesis.settings.register_profile("ilara", deadline=None, database=None)
hypothesis.settings.load_profile("ilara")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Create the event partitions, as in production."""
    with django_db_blocker.unblock():
        partitions.ensure()


@pytest.fixture(scope="session")
def used_homes(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> UsedHomes:
    """Creates homes after a first start, also for fixtures of modules."""
    folder = tmp_path_factory.getbasetemp()
    alone = worker_id == "master"
    return partial(used_home, folder if alone else folder.parent)  # the workers share templates


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clear the caches of the process between tests. Searches end by number, not by time, which
    would depend on the machine."""
    for module, name in SEARCHES:
        monkeypatch.setattr(module, name, HANG_SECONDS)
    environment_cache.clear_cache()
    rate_limits.clear_cache()
    key_usage.forget()
    usage.forget()
    exposures.forget()
    yield
    environment_cache.clear_cache()
    EVERYWHERE.clear()


@pytest.fixture(scope="session", autouse=True)
def _no_writing_threads() -> Iterator[None]:
    """The threads that write the use of keys and flags do not run: they would hold other
    connections to the test database. For the session, since fixtures of modules call the API."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (key_usage, usage, exposures):
            patch.setattr(module, "start_thread", lambda: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_emptying() -> Iterator[None]:
    """After a test that commits, delete all rows. Django truncates its tables, which creates the
    files of all indexes again, and then creates all permissions; it leaves out the unmanaged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: _delete_rows())
        yield


def _delete_rows() -> None:
    made = {"django_content_type", "auth_permission"}  # by migrations
    tables = {*connection.introspection.django_table_names(only_existing=True)} - made
    tables |= {"event", "event_receipt"}
    with transaction.atomic(), connection.cursor() as cursor:  # foreign keys are checked at the end
        cursor.execute("; ".join(f"DELETE FROM {table}" for table in sorted(tables)))


@pytest.fixture(scope="session", autouse=True)
def _cheap_settings() -> Iterator[None]:
    """Use a fast password hasher, and let a new `Client` skip the scan of the static files."""
    hashers = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    with override_settings(PASSWORD_HASHERS=hashers, WHITENOISE_AUTOREFRESH=True):
        yield


@pytest.fixture(scope="session")
def gunicorn(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Gunicorn]:
    """A server on the test database, for tests that commit. Tests must not stop it."""
    with django_db_blocker.unblock(), gunicorns(1) as (server,):
        yield server


@pytest.fixture(scope="session")
def four_gunicorns(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[list[Gunicorn]]:
    """Four processes that share the test database. Tests must not stop them."""
    with django_db_blocker.unblock(), gunicorns(4, ILARA_THREADS="8") as servers:
        yield servers


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


class SharedWorld(NamedTuple):
    world: World
    sessions: dict[int, str]  # session cookie of each account, by its id


@pytest.fixture(scope="module")
def shared_world(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[SharedWorld]:
    """Built once per module in a transaction; each test runs in a savepoint."""
    with django_db_blocker.unblock(), transaction.atomic():
        world = make_world()
        sessions = {}
        for member in (*world.members.values(), *world.strangers.values()):
            sessions[member.pk] = make_session(member)
        yield SharedWorld(world, sessions)
        transaction.set_rollback(True)


@pytest.fixture
def world(shared_world: SharedWorld, db: None) -> World:
    return deepcopy(shared_world.world)


def _client(shared: SharedWorld, user: User) -> Client:
    client = Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = shared.sessions[user.pk]
    return client


@pytest.fixture
def client_of(shared_world: SharedWorld, db: None) -> Callable[[Role], Client]:
    """A new client with the session of the member of this role."""

    def sign_in(role: Role) -> Client:
        return _client(shared_world, shared_world.world.members[role])

    return sign_in


@pytest.fixture
def stranger_of(shared_world: SharedWorld, db: None) -> Callable[[Role], Client]:
    """A new client with the session of the account that has this role in another project."""

    def sign_in(role: Role) -> Client:
        return _client(shared_world, shared_world.world.strangers[role])

    return sign_in


@pytest.fixture
def staff_client(db: None) -> Callable[..., Client]:
    """Signs in a new staff account with the given role, by default an admin."""

    return signed_in

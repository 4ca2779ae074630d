"""Web processes behind Debian's PgBouncer in transaction mode, with fewer server connections than
threads: a session changes hands with every transaction."""

import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from pytest_django.fixtures import Settings
from pytest_django.plugin import DjangoDbBlocker

from ilara_admin.core.limits import PAGE
from ilara_admin.models import Environment, KeyKind
from ilara_admin.runtime.supervisor import ending_with_parent
from tests.api_client import FLAGS, PLAYERS, HttpApi, Reply
from tests.factories import make_environment, make_key, make_world
from tests.homes import wait_until
from tests.pages import PAGES, address, signed_in, url_of
from tests.processes import program
from tests.replay import CASES, lists_players, renamed, replay
from tests.running import OTHER_USER, free_port
from tests.serving import Gunicorn, gunicorns
from tests.specification import JudgedApi

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

POOL, THREADS = 2, 8


class JudgedHttpApi(JudgedApi, HttpApi):
    """A judged Api of a server."""


@pytest.fixture(scope="module")
def pooler(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The URL of a PgBouncer before the test database."""
    command, port = program("pgbouncer", "pgbouncer"), free_port()
    with django_db_blocker.unblock():
        connection.ensure_connection()
        assert connection.connection
        info = connection.connection.info
    login = f"user={info.user}" + (f" password='{info.password}'" if info.password else "")
    with tempfile.TemporaryDirectory(prefix="ilara-pgbouncer-") as folder:
        path = Path(folder) / "pgbouncer.ini"
        path.write_text(
            f"""[databases]
{info.dbname} = host={info.host} port={info.port} {login}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {POOL}
"""
        )
        Path(folder).chmod(0o755)
        # It refuses to run as root. Only the server's user may enter the socket's folder.
        uid = os.stat(info.host).st_uid if info.host.startswith("/") else OTHER_USER.pw_uid
        user = {"user": uid, "extra_groups": []} if os.geteuid() == 0 else {}
        process = subprocess.Popen(
            [command, "-q", str(path)],
            stderr=subprocess.DEVNULL,
            preexec_fn=ending_with_parent(),
            **user,  # type: ignore[call-overload]
        )
        found = f"postgresql://{info.user}@127.0.0.1:{port}/{info.dbname}"

        def answers() -> bool:
            assert process.poll() is None, "PgBouncer has exited"
            try:
                with closing(psycopg.connect(found)):
                    return True
            except psycopg.OperationalError:
                return False

        try:
            wait_until(answers)
            yield found
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def server(pooler: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Gunicorn]:
    environ = {"ILARA_POOLER_URL": pooler, "ILARA_THREADS": str(THREADS)}
    # The tests' key, so that their sessions are valid.
    environ["SECRET_KEY"] = settings.SECRET_KEY
    with django_db_blocker.unblock(), gunicorns(1, **environ) as (server,):
        yield server


def test_contract__holds(server: Gunicorn) -> None:
    def new_api(kind: KeyKind) -> HttpApi:
        return JudgedHttpApi(server.address, make_key(make_environment(), kind).token)

    shared = {kind: new_api(kind) for kind in KeyKind}
    plays = [
        (
            renamed(steps, f"player_{number}"),
            new_api(kind) if lists_players(steps) else shared[kind],
            kind,
        )
        for number, steps in enumerate(CASES.values())
        for kind in KeyKind
    ]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda play: replay(play[0], play[1], f"${play[2]}"), plays))


def test_calls_at_once__share_sessions_without_a_failure(server: Gunicorn) -> None:
    api = server.api(make_key(make_environment()).token)
    ids = [api.register(f"p{number}")["id"] for number in range(8)]

    def call(number: int) -> int:
        player_id = ids[number % 8]
        if number % 3:
            return api.post(f"{FLAGS}/evaluate", {"player_id": player_id}).status
        return api.get(f"{PLAYERS}/{player_id}").status

    with ThreadPoolExecutor(THREADS) as pool:
        assert Counter(pool.map(call, range(400))) == {200: 400}


def test_pages__work(server: Gunicorn) -> None:
    world = make_world()
    session = signed_in().cookies[settings.SESSION_COOKIE_NAME].value
    token = "a" * 32
    cookies = f"{settings.SESSION_COOKIE_NAME}={session}; {settings.CSRF_COOKIE_NAME}={token}"
    headers = {"Cookie": cookies, "X-CSRFToken": token}
    paths = [address(page, world)[0] for page in PAGES.values() if page.name != "event_stream"]

    def get(path: str) -> tuple[str, int]:
        return path, server.api(None).request("GET", path, headers=headers).status

    with ThreadPoolExecutor(THREADS) as pool:
        assert {path: status for path, status in pool.map(get, paths) if status >= 500} == {}

    def post(path: str, body: bytes = b"") -> Reply:
        form = "application/x-www-form-urlencoded"
        return server.api(None).request("POST", path, body, content_type=form, headers=headers)

    # A list change uses a temporary table, the download a cursor.
    lists = url_of(world.environment, "segment_lists", "beta-testers")
    for external_id in (b"player_1", b"player_2"):
        assert post(f"{lists}add/", b"column=external_id&ids=" + external_id).status == 302
    assert post(f"{lists}download/").body.decode("utf-8-sig").split() == [
        "external_id", "player_1", "player_2",
    ]  # fmt: skip


def test_role_without_limits__is_a_warning_until_it_has_them(
    settings: Settings, environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    role = connection.ops.quote_name(connection.connection.info.user)
    settings.POOLED_DATABASE = {"USER": connection.connection.info.user}
    call_command("check", databases=["default"])
    shown = capsys.readouterr().err
    assert "ilara.W004" in shown
    with connection.cursor() as cursor:
        try:
            for name, value in PAGE.settings.items():
                statement = f"ALTER ROLE {role} SET {name} = {value};"
                assert statement in shown
                cursor.execute(statement)
            call_command("check", databases=["default"])
            assert "ilara.W004" not in capsys.readouterr().err
        finally:
            for name in PAGE.settings:
                cursor.execute(f"ALTER ROLE {role} RESET {name}")

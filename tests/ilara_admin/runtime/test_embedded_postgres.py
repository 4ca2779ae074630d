"""The embedded server, with real processes: each `Visitor` is one that uses it until told to go."""

import os
import pwd
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from ilara_admin.runtime import embedded_postgres
from ilara_admin.runtime.embedded_postgres import EmbeddedError
from ilara_admin.runtime.postgresql import site
from tests.conftest import FAST
from tests.homes import (
    answers,
    empty_home,
    kill_server,
    postmaster,
    remove_server,
    select,
    short_socket_folder,
    wait_until,
)
from tests.processes import alive
from tests.running import open_to_others

AS_ROOT = os.geteuid() == 0
NOBODY = pwd.getpwnam("nobody")

VISIT = """
import os, sys
from pathlib import Path
from ilara_admin.runtime import embedded_postgres
home, uid, settings, then = sys.argv[1:]
if uid:
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))
server = embedded_postgres.lease(Path(home), eval(settings))
print(server.found, server.data, server.socket, sep="\\t", flush=True)
exec(then)
sys.stdin.read()
"""


class Visitor:
    """A process that leases the server of `home`; `then` is Python that it runs afterwards."""

    def __init__(self, home: Path, uid: int | None = None, then: str = "") -> None:
        arguments = [str(home), str(uid or ""), repr(FAST), then]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", VISIT, *arguments],
            cwd=settings.BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def arrive(self) -> "Visitor":
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.found, data, socket = line.rstrip("\n").split("\t")
        self.data, self.socket = Path(data), Path(socket)
        return self

    def leave(self) -> None:
        """End as programs end, and without a word on stderr."""
        assert self.process.stdin
        assert self.process.stderr
        with self.process:
            self.process.stdin.close()
            errors = self.process.stderr.read()
        assert (self.process.returncode, errors) == (0, "")

    def kill(self) -> None:
        with self.process:  # closes the pipes and waits
            self.process.kill()


type Visit = Callable[..., Visitor]


@pytest.fixture
def fresh() -> Iterator[Path]:
    """An empty home that every user may pass through."""
    with empty_home() as home:
        yield home


@pytest.fixture(scope="session")
def used_home() -> Iterator[Path]:
    with empty_home() as home:
        embedded_postgres.lease(home, FAST)
        embedded_postgres.release(home)
        yield home


@pytest.fixture
def home(used_home: Path) -> Iterator[Path]:
    """A home whose cluster exists and is stopped: making one for each test would take a second."""
    yield used_home
    embedded_postgres.release(used_home)
    kill_server(used_home)


@pytest.fixture
def visit() -> Iterator[Visit]:
    visitors: list[Visitor] = []

    def start(home: Path, **options: object) -> Visitor:
        visitors.append(Visitor(home, **options))  # type: ignore[arg-type]
        return visitors[-1]

    yield start
    for visitor in visitors:
        visitor.kill()


@pytest.fixture(params=[None, NOBODY.pw_uid])
def uid(request: pytest.FixtureRequest, fresh: Path) -> int | None:
    """Whom the visitors run as: ourselves and, if we are root, an ordinary user too."""
    if request.param is not None:
        skip_unless_others_can_visit()
        os.chown(fresh, request.param, NOBODY.pw_gid)
    return request.param  # type: ignore[no-any-return]


def skip_unless_others_can_visit() -> None:
    if not AS_ROOT:
        pytest.skip("only root can start a visitor as another user")
    if not open_to_others(site.program("postgres").parent):
        pytest.skip("an ordinary user cannot reach the programs of this checkout")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- Coming and going -----------------------------------------------------------------------------


@pytest.mark.slow
def test_first_start__creates_and_the_next_start_keeps_the_data(
    fresh: Path, visit: Visit, uid: int | None
) -> None:
    first = visit(fresh, uid=uid).arrive()
    assert first.found == "created"
    assert (mode(first.data), mode(first.socket)) == (0o700, 0o700)
    assert select(first.socket, "SELECT current_setting('listen_addresses'), lower('É')") == (
        "",
        "é",
    )
    select(first.socket, "CREATE TABLE kept AS SELECT 42 AS answer")
    first.leave()
    assert not answers(first.socket)

    second = visit(fresh, uid=uid).arrive()
    assert second.found == "started"
    assert select(second.socket, "SELECT answer FROM kept") == (42,)


@pytest.mark.slow
def test_last_user__stops_the_server(home: Path, visit: Visit) -> None:
    first = visit(home).arrive()
    second = visit(home).arrive()
    assert second.found == "running"
    first.leave()
    assert answers(second.socket)
    second.leave()
    assert not answers(second.socket)
    assert not (second.data / "postmaster.pid").exists()


@pytest.mark.slow
def test_many_at_once__one_creates_and_all_connect(
    fresh: Path, visit: Visit, uid: int | None
) -> None:
    crowd = [visit(fresh, uid=uid) for _ in range(6)]
    found = sorted(visitor.arrive().found for visitor in crowd)
    assert found == ["created"] + ["running"] * 5
    assert not list((fresh / "postgresql").glob("data.new-*"))
    for visitor in crowd[:-1]:
        visitor.process.stdin.close()  # type: ignore[union-attr]
    assert answers(crowd[-1].socket)
    for visitor in crowd[:-1]:
        visitor.process.wait(timeout=30)
    crowd[-1].leave()
    assert not answers(crowd[-1].socket)


@pytest.mark.slow
def test_comings_and_goings__nobody_ever_finds_it_closed(home: Path, visit: Visit) -> None:
    query = "import psycopg; psycopg.connect(f'host={server.socket} user=ilara').close()"
    for _ in range(4):
        for visitor in [visit(home, then=query) for _ in range(4)]:
            visitor.arrive().leave()
    assert not answers(visitor.socket)


@pytest.mark.slow
def test_two_users_with_homes_of_their_own__do_not_meet(fresh: Path, visit: Visit) -> None:
    skip_unless_others_can_visit()
    theirs = fresh / "theirs"
    theirs.mkdir()
    os.chown(theirs, NOBODY.pw_uid, NOBODY.pw_gid)
    try:
        both = [visit(fresh / "ours"), visit(theirs, uid=NOBODY.pw_uid)]
        assert [visitor.arrive().found for visitor in both] == ["created", "created"]
        assert all(answers(visitor.socket) for visitor in both)
    finally:
        remove_server(fresh / "ours")
        remove_server(theirs)


@pytest.mark.slow
def test_forked_child__holds_the_server_on_its_own(home: Path, visit: Visit) -> None:
    fork = """
if os.fork() == 0:
    embedded_postgres.lease(Path(home))
    print("child", flush=True)
else:
    os.close(0)
    sys.stdin = open("/dev/null")
    import time; time.sleep(0.5)
"""
    parent = visit(home, then=fork).arrive()
    assert parent.process.stdout
    assert parent.process.stdout.readline() == "child\n"
    parent.process.wait(timeout=30)
    assert answers(parent.socket)
    parent.process.stdin.close()  # type: ignore[union-attr]
    wait_until(lambda: not answers(parent.socket))


@pytest.mark.slow
def test_forked_child_that_never_asked__stops_nothing(home: Path, visit: Visit) -> None:
    fork = "if os.fork() == 0: sys.exit()\nelse: os.wait(); print('reaped', flush=True)"
    parent = visit(home, then=fork).arrive()
    assert parent.process.stdout
    assert parent.process.stdout.readline() == "reaped\n"
    assert answers(parent.socket)
    parent.leave()
    assert not answers(parent.socket)


# --- After violence -------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_user__server_is_found_again_and_stopped(home: Path, visit: Visit) -> None:
    first = visit(home).arrive()
    first.kill()
    assert answers(first.socket)
    second = visit(home).arrive()
    assert second.found == "running"
    second.leave()
    assert not answers(second.socket)


@pytest.mark.slow
def test_everything_killed__next_user_starts_it_with_the_data(
    fresh: Path, visit: Visit, uid: int | None
) -> None:
    first = visit(fresh, uid=uid).arrive()
    select(first.socket, "SET synchronous_commit = on; CREATE TABLE kept AS SELECT 42 AS answer")
    first.kill()
    os.kill(postmaster(first.data), signal.SIGKILL)
    second = visit(fresh, uid=uid).arrive()
    assert second.found == "started"
    assert select(second.socket, "SELECT answer FROM kept") == (42,)
    second.leave()


@pytest.mark.slow
def test_server_killed_under_its_user__next_lease_starts_it(home: Path) -> None:
    server = embedded_postgres.lease(home, FAST)
    os.kill(postmaster(server.data), signal.SIGKILL)
    wait_until(lambda: not answers(server.socket))
    embedded_postgres.lease(home, FAST)
    assert answers(server.socket)
    embedded_postgres.release(home)
    assert not answers(server.socket)


@pytest.mark.slow
@pytest.mark.parametrize("ended", [False, True], ids=["living", "zombie"])
def test_stale_pid_file_names_another_process__server_starts(home: Path, ended: bool) -> None:
    server = embedded_postgres.lease(home, FAST)
    pid_file = server.data / "postmaster.pid"
    old = pid_file.read_text().splitlines()
    embedded_postgres.release(home)
    owner = server.data.stat()
    account = {"user": owner.st_uid, "group": owner.st_gid} if AS_ROOT else {}
    command = ["true"] if ended else ["sleep", "60"]
    with subprocess.Popen(command, **account) as stranger:  # type: ignore[call-overload]
        if ended:
            wait_until(lambda: not alive({stranger.pid}))
        pid_file.write_text("\n".join([str(stranger.pid), *old[1:]]) + "\n")
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        assert embedded_postgres.lease(home, FAST).found == "started"
        assert postmaster(server.data) != stranger.pid
        assert answers(server.socket)
        if not ended:
            assert stranger.poll() is None, "the server's start hit a stranger"
            stranger.kill()


@pytest.mark.slow
def test_stale_pid_file_at_the_end__no_stranger_is_stopped(home: Path) -> None:
    server = embedded_postgres.lease(home, FAST)
    pid_file = server.data / "postmaster.pid"
    old = pid_file.read_text().splitlines()
    os.kill(int(old[0]), signal.SIGKILL)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *old[1:]]) + "\n")
        embedded_postgres.release(home)
        time.sleep(0.1)
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.slow
def test_server_that_does_not_answer_yet__is_waited_for(home: Path, visit: Visit) -> None:
    first = visit(home).arrive()
    pid = postmaster(first.data)
    os.kill(pid, signal.SIGSTOP)
    second = visit(home)
    time.sleep(6)  # longer than one attempt to connect
    assert second.process.poll() is None
    assert postmaster(first.data) == pid
    os.kill(pid, signal.SIGCONT)
    assert second.arrive().found == "running"
    assert postmaster(first.data) == pid


@pytest.mark.slow
def test_interrupted_initdb__next_user_begins_again(
    fresh: Path, visit: Visit, uid: int | None
) -> None:
    first = visit(fresh, uid=uid)
    folder = fresh / "postgresql"
    wait_until(lambda: any(folder.glob("data.new-*/global")))
    first.kill()
    assert not (folder / "data").exists()
    second = visit(fresh, uid=uid).arrive()
    assert second.found == "created"
    assert answers(second.socket)
    second.leave()


# --- Places ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_home_below_a_private_folder__no_mode_changes(tmp_path: Path) -> None:
    home = tmp_path / "private" / "home"
    home.mkdir(parents=True)
    home.parent.chmod(0o700)
    folders = [home, *home.parents, *site.program("postgres").parents]
    before = [(folder.stat().st_mode, folder.stat().st_uid) for folder in folders]
    try:
        first = embedded_postgres.lease(home, FAST)
        assert answers(first.socket)
        embedded_postgres.release(home)
        assert [(folder.stat().st_mode, folder.stat().st_uid) for folder in folders] == before
        assert (home / "postgresql" / "data").is_dir()
        again = embedded_postgres.lease(home, FAST)
        assert (again.found, again.data) == ("started", first.data)
    finally:
        embedded_postgres.release(home)
        remove_server(home)


@pytest.mark.parametrize("name", ["x" * 120, "with, comma and 'quotes'"])
@pytest.mark.slow
def test_home_that_fits_no_socket_address__socket_is_elsewhere(
    fresh: Path, visit: Visit, name: str
) -> None:
    deep = fresh / name
    try:
        visitor = visit(deep).arrive()
        assert answers(visitor.socket)
        assert mode(visitor.socket) == 0o700
        assert visitor.data == deep / "postgresql" / "data"
        visitor.leave()
    finally:
        remove_server(deep)


def test_socket_folder_of_somebody_else__is_refused(fresh: Path) -> None:
    deep = fresh / ("x" * 120)
    squatted = short_socket_folder(deep / "postgresql")
    squatted.mkdir()
    squatted.chmod(0o777)
    try:
        with pytest.raises(EmbeddedError, match="not private"):
            embedded_postgres.lease(deep, FAST)
        assert mode(squatted) == 0o777
    finally:
        remove_server(deep)


@pytest.mark.slow
def test_home_without_write_permission__says_what_to_set(fresh: Path, visit: Visit) -> None:
    fresh.chmod(0o555)
    visitor = visit(fresh, uid=NOBODY.pw_uid if AS_ROOT else None)
    _, errors = visitor.process.communicate(timeout=30)
    assert "Permission denied" in errors.splitlines()[-1]
    assert "set ILARA_HOME to a folder that this user may write to" in errors.splitlines()[-1]


def test_home_that_cannot_exist__is_one_clear_line(fresh: Path) -> None:
    (fresh / "file").touch()
    for use in (embedded_postgres.secret_key, embedded_postgres.lease):
        with pytest.raises(EmbeddedError, match="set ILARA_HOME") as raised:
            use(fresh / "file" / "home")
        assert "\n" not in str(raised.value)


def test_link_to_data_that_is_gone__no_empty_database_instead(fresh: Path) -> None:
    (fresh / "postgresql").symlink_to(fresh / "gone")
    with pytest.raises(EmbeddedError, match="gone"):
        embedded_postgres.lease(fresh, FAST)


# --- Errors ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_server_that_refuses_to_start__quotes_its_log(home: Path) -> None:
    with pytest.raises(
        EmbeddedError, match=r"invalid value.*shared_buffers.*server\.log"
    ) as raised:
        embedded_postgres.lease(home, {**FAST, "shared_buffers": "plenty"})
    assert "\n" not in str(raised.value)
    embedded_postgres.release(home)


def test_missing_programs__points_to_database_url(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "PACKAGE", "no_such_package")
    with pytest.raises(EmbeddedError, match="DATABASE_URL"):
        embedded_postgres.lease(fresh, FAST)


# --- Django ---------------------------------------------------------------------------------------


def manage(home: Path, *arguments: str) -> str:
    environment = {**os.environ, "ILARA_HOME": str(home), "DATABASE_URL": "", "SECRET_KEY": ""}
    return subprocess.run(
        [sys.executable, "-W", "error", "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.slow
def test_commands_without_queries__start_nothing(fresh: Path) -> None:
    manage(fresh, "check", "--tag", "models")
    assert (fresh / "secret_key").exists()
    assert not (fresh / "postgresql").exists()


@pytest.mark.slow
def test_dbshell__starts_the_server_and_its_own_psql(home: Path) -> None:
    query = "SELECT current_user || '@' || current_database()"
    assert "ilara@ilara" in manage(home, "dbshell", "--", "-c", query)
    assert not (home / "postgresql" / "data" / "postmaster.pid").exists()


@pytest.mark.django_db
def test_test_database__is_in_a_server_without_fsync() -> None:
    if settings.DATABASE_URL:
        pytest.skip("DATABASE_URL names the server")
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), current_setting('fsync')")
        assert cursor.fetchone() == ("test_ilara", "off")


@pytest.mark.slow
def test_threads__share_one_lease(home: Path) -> None:
    servers: list[embedded_postgres.Server] = []
    threads = [
        threading.Thread(target=lambda: servers.append(embedded_postgres.lease(home, FAST)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [server.found for server in servers] == [embedded_postgres.Found.STARTED] * 8
    embedded_postgres.release(home)
    assert not answers(servers[0].socket)


def test_secret_key__is_made_once_and_private(fresh: Path) -> None:
    keys: list[str] = []
    threads = [
        threading.Thread(target=lambda: keys.append(embedded_postgres.secret_key(fresh)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1
    assert len(keys[0]) >= 50
    assert mode(fresh / "secret_key") == 0o600
    assert [path.name for path in fresh.iterdir()] == ["secret_key"]

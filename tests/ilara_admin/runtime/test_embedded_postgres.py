"""The embedded server with real processes: each `Visitor` uses it until its `leave` is called."""

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

from ilara_admin.runtime import embedded_postgres, supervisor
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
    wait_until,
)
from tests.processes import alive
from tests.running import open_to_others

AS_ROOT = os.geteuid() == 0
OTHER_USER = pwd.getpwnam("nobody")

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
    """A process that leases the server of `home`, then runs the Python code `then`."""

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
        """Let the process exit normally; it must not write to stderr."""
        assert self.process.stdin
        assert self.process.stderr
        with self.process:
            self.process.stdin.close()
            errors = self.process.stderr.read()
        assert (self.process.returncode, errors) == (0, "")

    def kill(self) -> None:
        with self.process:  # closes pipes and waits
            self.process.kill()


type Visit = Callable[..., Visitor]


@pytest.fixture
def fresh() -> Iterator[Path]:
    """An empty home that every user may enter."""
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
    """A home with a stopped cluster: creating one takes a second, so tests share it."""
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


@pytest.fixture(params=[None, OTHER_USER.pw_uid])
def uid(request: pytest.FixtureRequest, fresh: Path) -> int | None:
    """The user of the visitors: the current one and, for root, also an ordinary user."""
    if request.param is not None:
        skip_unless_others_can_visit()
        os.chown(fresh, request.param, OTHER_USER.pw_gid)
    return request.param  # type: ignore[no-any-return]


def skip_unless_others_can_visit() -> None:
    if not AS_ROOT:
        pytest.skip("only root can start a visitor as another user")
    if not open_to_others(site.program("postgres").parent):
        pytest.skip("an ordinary user cannot reach the programs of this checkout")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- Leases ---------------------------------------------------------------------------------------


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
    select(first.socket, "CREATE TABLE stored AS SELECT 42 AS answer")
    first.leave()
    assert not answers(first.socket)

    second = visit(fresh, uid=uid).arrive()
    assert second.found == "started"
    assert select(second.socket, "SELECT answer FROM stored") == (42,)


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
    visitors = [visit(fresh, uid=uid) for _ in range(6)]
    found = sorted(visitor.arrive().found for visitor in visitors)
    assert found == ["created"] + ["running"] * 5
    assert not list((fresh / "postgresql").glob("data.new-*"))
    for visitor in visitors[:-1]:
        visitor.process.stdin.close()  # type: ignore[union-attr]
    assert answers(visitors[-1].socket)
    for visitor in visitors[:-1]:
        visitor.process.wait(timeout=30)
    visitors[-1].leave()
    assert not answers(visitors[-1].socket)


@pytest.mark.slow
def test_visitors_in_quick_succession__can_always_connect(home: Path, visit: Visit) -> None:
    query = "import psycopg; psycopg.connect(f'host={server.socket} user=ilara').close()"
    for _ in range(4):
        for visitor in [visit(home, then=query) for _ in range(4)]:
            visitor.arrive().leave()
    assert not answers(visitor.socket)


@pytest.mark.slow
def test_two_users_with_separate_homes__do_not_interfere(fresh: Path, visit: Visit) -> None:
    skip_unless_others_can_visit()
    theirs = fresh / "theirs"
    theirs.mkdir()
    os.chown(theirs, OTHER_USER.pw_uid, OTHER_USER.pw_gid)
    try:
        both = [visit(fresh / "ours"), visit(theirs, uid=OTHER_USER.pw_uid)]
        assert [visitor.arrive().found for visitor in both] == ["created", "created"]
        assert all(answers(visitor.socket) for visitor in both)
    finally:
        remove_server(fresh / "ours")
        remove_server(theirs)


@pytest.mark.slow
def test_forked_child__keeps_the_server_running(home: Path, visit: Visit) -> None:
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
def test_forked_child_without_a_lease__stops_nothing(home: Path, visit: Visit) -> None:
    fork = "if os.fork() == 0: sys.exit()\nelse: os.wait(); print('reaped', flush=True)"
    parent = visit(home, then=fork).arrive()
    assert parent.process.stdout
    assert parent.process.stdout.readline() == "reaped\n"
    assert answers(parent.socket)
    parent.leave()
    assert not answers(parent.socket)


# --- Killed processes -----------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_user__server_is_reused_and_stopped(home: Path, visit: Visit) -> None:
    first = visit(home).arrive()
    first.kill()
    assert answers(first.socket)
    second = visit(home).arrive()
    assert second.found == "running"
    second.leave()
    assert not answers(second.socket)


@pytest.mark.slow
def test_user_and_server_killed__next_user_restarts_with_the_data(
    fresh: Path, visit: Visit, uid: int | None
) -> None:
    first = visit(fresh, uid=uid).arrive()
    select(first.socket, "SET synchronous_commit = on; CREATE TABLE stored AS SELECT 42 AS answer")
    first.kill()
    os.kill(postmaster(first.data), signal.SIGKILL)
    second = visit(fresh, uid=uid).arrive()
    assert second.found == "started"
    assert select(second.socket, "SELECT answer FROM stored") == (42,)
    second.leave()


@pytest.mark.slow
def test_server_killed__next_lease_restarts_it(home: Path) -> None:
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
            assert stranger.poll() is None, "starting the server killed another process"
            stranger.kill()


@pytest.mark.slow
def test_stale_pid_file_at_the_end__no_other_process_is_stopped(home: Path) -> None:
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
def test_server_that_does_not_respond_yet__is_waited_for(home: Path, visit: Visit) -> None:
    first = visit(home).arrive()
    pid = postmaster(first.data)
    os.kill(pid, signal.SIGSTOP)
    second = visit(home)
    time.sleep(6)  # longer than one connection attempt
    assert second.process.poll() is None
    assert postmaster(first.data) == pid
    os.kill(pid, signal.SIGCONT)
    assert second.arrive().found == "running"
    assert postmaster(first.data) == pid


@pytest.mark.slow
def test_interrupted_initdb__next_user_starts_over(
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


# --- Folders --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_home_below_a_private_folder__modes_are_unchanged(tmp_path: Path) -> None:
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
def test_home_too_long_for_a_socket_address__socket_is_elsewhere(
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


@pytest.mark.slow
def test_short_socket_folder_of_somebody_else__is_replaced(fresh: Path) -> None:
    deep = fresh / ("x" * 120)
    link = deep / "postgresql" / "socket"
    try:
        first = embedded_postgres.lease(deep, FAST)
        embedded_postgres.release(deep)
        first.socket.chmod(0o777)
        second = embedded_postgres.lease(deep, FAST)
        assert answers(second.socket)
        assert second.socket == link.readlink() != first.socket
        assert (mode(second.socket), mode(first.socket)) == (0o700, 0o777)
    finally:
        embedded_postgres.release(deep)
        remove_server(deep)
        first.socket.rmdir()


def test_public_socket_folder__is_refused(fresh: Path) -> None:
    public = fresh / "postgresql" / "socket"
    public.mkdir(parents=True)
    public.chmod(0o777)
    with pytest.raises(EmbeddedError, match="not private"):
        embedded_postgres.lease(fresh, FAST)
    assert mode(public) == 0o777


@pytest.mark.slow
def test_locks__cannot_be_opened_by_other_users(fresh: Path) -> None:
    skip_unless_others_can_visit()
    embedded_postgres.lease(fresh, FAST)
    with supervisor.only_one(fresh, "http://127.0.0.1:1"):
        locks = [fresh / "serve.lock", *(fresh / "postgresql").glob("*.lock")]
        locks.append(site.ROOT_FOLDER / "lock")
        assert {lock.name: mode(lock) for lock in locks} == dict.fromkeys(
            ["serve.lock", "start.lock", "users.lock", "lock"], 0o600
        )
        for lock in locks:
            reader = subprocess.run(
                ["cat", lock],
                user=OTHER_USER.pw_uid,
                extra_groups=[],
                capture_output=True,
                check=False,
            )
            assert b"Permission denied" in reader.stderr
    embedded_postgres.release(fresh)


@pytest.mark.slow
def test_root_and_the_owner_of_a_home__take_turns(fresh: Path, visit: Visit) -> None:
    skip_unless_others_can_visit()
    os.chown(fresh, OTHER_USER.pw_uid, OTHER_USER.pw_gid)
    visit(fresh, uid=OTHER_USER.pw_uid).arrive().leave()
    for lock in (fresh / "postgresql").glob("*.lock"):
        lock.unlink()
    visit(fresh).arrive().leave()
    visit(fresh, uid=OTHER_USER.pw_uid).arrive().leave()


@pytest.mark.slow
def test_home_without_write_permission__error_names_the_setting(fresh: Path, visit: Visit) -> None:
    fresh.chmod(0o555)
    visitor = visit(fresh, uid=OTHER_USER.pw_uid if AS_ROOT else None)
    _, errors = visitor.process.communicate(timeout=30)
    assert "Permission denied" in errors.splitlines()[-1]
    assert "set ILARA_HOME to a folder that this user may write to" in errors.splitlines()[-1]


def test_impossible_home__error_is_one_line(fresh: Path) -> None:
    (fresh / "file").touch()
    for use in (embedded_postgres.secret_key, embedded_postgres.lease):
        with pytest.raises(EmbeddedError, match="set ILARA_HOME") as raised:
            use(fresh / "file" / "home")
        assert "\n" not in str(raised.value)


def test_link_to_missing_data__is_refused(fresh: Path) -> None:
    (fresh / "postgresql").symlink_to(fresh / "gone")
    with pytest.raises(EmbeddedError, match="gone"):
        embedded_postgres.lease(fresh, FAST)


# --- Errors ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_server_that_does_not_start__error_quotes_its_log(home: Path) -> None:
    with pytest.raises(
        EmbeddedError, match=r"invalid value.*shared_buffers.*server\.log"
    ) as raised:
        embedded_postgres.lease(home, {**FAST, "shared_buffers": "plenty"})
    assert "\n" not in str(raised.value)
    embedded_postgres.release(home)


def test_data_of_another_major_version__error_names_the_fix(fresh: Path) -> None:
    data = fresh / "postgresql" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match="with the version of Ilara that used it") as raised:
        embedded_postgres.lease(fresh, FAST)
    assert str(raised.value).startswith(
        f"PostgreSQL 17 wrote {data}, and this version of Ilara includes PostgreSQL {site.MAJOR}: "
    )
    embedded_postgres.release(fresh)
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]


def test_missing_programs__error_names_database_url(
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
def test_dbshell__starts_the_server_and_the_included_psql(home: Path) -> None:
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


def test_secret_key__is_created_once_and_private(fresh: Path) -> None:
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

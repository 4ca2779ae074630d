"""`manage.py serve` with real processes: its output, its stop, and killed processes."""

import http.client
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from ilara_admin.runtime import supervisor
from ilara_admin.runtime.supervisor import Child
from tests.api_client import EVENTS, PLAYERS, HttpApi
from tests.homes import answers, empty_home, wait_until
from tests.processes import alive
from tests.running import (
    OURS,
    TOKEN,
    Serve,
    bash,
    free_port,
    on_embedded_database,
    pasted,
    python_of_other_user,
    query,
)
from tests.used_homes import UsedHome, UsedHomes

pytestmark = [pytest.mark.slow, on_embedded_database]

type Start = Callable[..., Serve]
ONE_WORKER = ("--workers", "1")  # for tests that need no more: each takes seconds to start
STRONG = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO"


@pytest.fixture(scope="module")
def first() -> Iterator[Serve]:
    """A first start that keeps running."""
    with empty_home() as home:
        serve = Serve(home)
        yield serve.ready()
        serve.clean_up()


@pytest.fixture
def fresh() -> Iterator[Path]:
    with empty_home() as home:
        yield home


@pytest.fixture(scope="module")
def used(used_homes: UsedHomes) -> Iterator[UsedHome]:
    """A home that can be used for further starts."""
    with used_homes() as used:
        yield used


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    started: list[Serve] = []

    def start(home: Path, *options: str, **more: object) -> Serve:
        started.append(Serve(home, *options, **more))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for serve in started:
        serve.clean_up()


def track(api: HttpApi, event_id: str) -> str:
    """Track an event of player_123; returns `accepted` or `duplicate`."""
    player = api.register()["id"]
    event = {"player_id": player, "event_name": "level_complete", "event_id": event_id}
    status: str = api.post(EVENTS, event).data["status"]
    return status


# --- The first start ------------------------------------------------------------------------------


def test_first_start__prints_what_it_created(first: Serve) -> None:
    assert first.says("database") == f"embedded PostgreSQL, created in {first.home}"
    assert re.fullmatch(r"\d+ migrations applied", first.says("tables"))
    assert first.says("project") == "my-game created, tier enterprise: live, test"
    assert first.says("address") == first.address
    assert first.says("stop") == "Ctrl-C; the data stays"
    assert first.err == ""
    labels = [line for line in first.out.splitlines() if line.startswith("  ")]
    assert all(re.match(r"  .{11}  \S", line) for line in labels), "the columns are not aligned"


def test_printed_commands__work(first: Serve) -> None:
    # They are printed after the line that `ready` waits for.
    wait_until(lambda: first.out.count("\ncurl ") == 3)
    register, track, evaluate = re.findall(r"^curl .*", first.out, re.MULTILINE)
    player = pasted(register)["data"]
    assert (player["external_id"], player["attributes"]) == ("player_123", {"level": 45})
    assert pasted(track)["data"]["status"] == "accepted"
    assert pasted(evaluate)["data"] == {
        "flag_key": "new_tutorial",
        "value": True,
        "variant_key": "enabled",
        "reason": "segment_match",
        "segment_id": "beta-testers",
    }


@pytest.mark.parametrize("kind", ["live public", "live secret", "test public", "test secret"])
def test_printed_keys__belong_to_their_environment(first: Serve, kind: str) -> None:
    environment, _, word = kind.partition(" ")
    assert first.says(kind).startswith(f"{word[0]}k_{environment}_")
    assert first.api(kind).get(PLAYERS).status == (200 if word == "secret" else 403)


def test_printed_password__signs_in(first: Serve) -> None:
    name, _, password = first.says("sign in").partition(" / ")
    assert sign_in(first, name, password) == 302
    assert sign_in(first, name, "another") == 422


def sign_in(serve: Serve, name: str, password: str) -> int:
    """The status of the reply to the form: 302 leads into the dashboard, 422 shows it again."""
    session = http.client.HTTPConnection("127.0.0.1", serve.port, timeout=30)
    session.request("GET", "/sign-in/")
    page = session.getresponse()
    form = page.read().decode()
    cookie = str(page.headers["Set-Cookie"]).partition(";")[0]
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
    assert token
    body = f"csrfmiddlewaretoken={token[1]}&username={name}&password={password}"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    session.request("POST", "/sign-in/", body, {"Cookie": cookie, **kind})
    status = session.getresponse().status
    session.close()
    return status


def test_health__is_ok(first: Serve) -> None:
    assert first.get("/healthz") == (200, "ok\n")
    wait_until(lambda: '"worker": true' in first.get("/readyz")[1])
    status, state = first.get("/readyz")
    assert (status, state) == (200, '{"database": true, "partitions": true, "worker": true}')


def test_second_serve_on_the_same_home__error_has_the_address_of_the_first(
    first: Serve, start: Start
) -> None:
    line = start(first.home).failed()
    assert line == (
        f"ilara: Ilara already runs at {first.address} with the data in {first.home}: "
        "stop that one first, or set ILARA_HOME to another folder."
    )
    assert first.get("/readyz")[0] == 200


def test_interrupted_first_start__has_printed_working_credentials(start: Start) -> None:
    with empty_home() as home:
        serve = start(home, "--demo", *ONE_WORKER)
        wait_until(lambda: "  store " in serve.out)
        serve.stop()
        assert "  demo " not in serve.out, "it was not interrupted"
        again = start(home, *ONE_WORKER).ready()
        assert again.says("project").startswith("sample-game found")
        key = serve.says("live public")
        assert HttpApi(again.address, key).register()["external_id"] == "player_123"
        assert sign_in(again, "admin", serve.says("sign in").partition(" / ")[2]) == 302


# --- Later starts ---------------------------------------------------------------------------------


def test_second_start__reuses_everything_and_prints_no_secret(used: UsedHome, start: Start) -> None:
    again = start(used.home, *ONE_WORKER).ready()
    assert again.says("database") == f"embedded PostgreSQL, started in {used.home}"
    assert again.says("tables") == "up to date"
    assert again.says("project").startswith("my-game found, tier ")
    assert not TOKEN.search(again.out)
    assert used.says("sign in").partition(" / ")[2] not in again.out
    assert HttpApi(again.address, used.says("live public")).register()["session_count"] == 0

    home = {"ILARA_HOME": str(used.home)}
    new_key = again.says("keys").partition(" with ")[2].replace("NAME", "second")
    token = bash(new_key, home).strip()
    assert TOKEN.fullmatch(token)
    assert HttpApi(again.address, token).register()["external_id"] == "player_123"
    new_password = again.says("sign in").rpartition(" with ")[2]
    bash(new_password, {**home, "ILARA_STAFF_PASSWORD": "a-better-one-7"})
    assert sign_in(again, "admin", "a-better-one-7") == 302


def test_tier__is_stored_with_the_project(used: UsedHome, start: Start) -> None:
    serve = start(used.home, "--tier", "free", *ONE_WORKER).ready()
    assert serve.says("project") == "my-game found, tier free: live, test"
    serve.stop()
    again = start(used.home, *ONE_WORKER)
    wait_until(lambda: again.ended() or "  project " in again.out)
    assert "tier free" in again.says("project")
    start(used.home, "--tier", "enterprise").failed()


def arguments(serve: Serve) -> list[str]:
    """The command lines of its processes."""
    pids = ",".join(map(str, serve.processes()))
    command = ["ps", "-ww", "-o", "args=", "-p", pids]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def pid_of(serve: Serve, word: str) -> int:
    """The oldest of its processes with this word in its command line."""
    pids = ",".join(map(str, serve.processes()))
    command = ["ps", "-ww", "-o", "pid=,args=", "-p", pids]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return min(int(line.split()[0]) for line in run.stdout.splitlines() if word in line)


def test_host__is_the_only_listen_address(used: UsedHome, start: Start) -> None:
    try:
        port = free_port("127.0.0.2")
    except OSError:
        pytest.skip("this machine has no second loopback address")
    serve = start(used.home, "--host", "127.0.0.2", *ONE_WORKER, port=port).ready()
    assert serve.says("address") == f"http://127.0.0.2:{port}"
    session = http.client.HTTPConnection("127.0.0.2", port, timeout=30)
    session.request("GET", "/sign-in/")
    assert session.getresponse().status == 200
    session.close()
    with pytest.raises(ConnectionRefusedError):
        serve.get("/healthz")


# --- Errors ---------------------------------------------------------------------------------------


def test_used_port__is_reported(fresh: Path, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        line = start(fresh, port=port).failed()
    assert line == (
        f"ilara: Cannot listen on 127.0.0.1:{port} (Address already in use): "
        "choose another with --port or --host."
    )
    assert not (fresh / "postgresql").exists(), "PostgreSQL was started in vain"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://a:secret@127.0.0.1:{port}/x", r"The database cannot be used: .*refused"),
        ("postgresql://a:secret@nowhere.invalid/x", r"The database cannot be used: .*nowhere.*"),
        ("postgresql://a:secret@127.0.0.1:port/x", r"DATABASE_URL is not valid: use .*"),
        ("mysql://a:secret@127.0.0.1/x", r"DATABASE_URL must be a postgresql:// URL\."),
        ("secret", r"DATABASE_URL must be a postgresql:// URL\."),
    ],
)
def test_unusable_database_url__error_is_one_line_without_the_password(
    fresh: Path, start: Start, url: str, message: str
) -> None:
    env = {"DATABASE_URL": url.format(port=free_port()), "SECRET_KEY": STRONG}
    line = start(fresh, env=env).failed()
    assert re.fullmatch(f"ilara: {message}", line)
    assert "secret" not in line
    assert list(fresh.iterdir()) == []


def test_missing_secret_key__error_names_the_setting(fresh: Path, start: Start) -> None:
    line = start(fresh, env={"DATABASE_URL": "postgresql://127.0.0.1/x"}).failed()
    assert line.startswith("ilara: SECRET_KEY is not set.")
    assert "SECRET_KEY_FILE" in line


def test_read_only_home__error_names_the_setting(fresh: Path, start: Start) -> None:
    fresh.chmod(0o555)
    # Root may write everywhere.
    with python_of_other_user() if os.geteuid() == 0 else nullcontext(OURS) as python:
        without = start(fresh, python=python)
        given = start(fresh, python=python, env={"SECRET_KEY": STRONG})
        lines = [without.failed(), given.failed()]
    for line in lines:
        assert line.startswith(f"ilara: the folder {fresh} cannot be used (Permission denied")
        assert line.endswith("set ILARA_HOME to a folder that this user may write to.")


# --- Stopping -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "more"), [(signal.SIGINT, 3), (signal.SIGTERM, 0), (signal.SIGHUP, 0)]
)
def test_stop__ends_everything_promptly(
    used: UsedHome, start: Start, number: signal.Signals, more: int
) -> None:
    serve = start(used.home).ready()
    before = serve.processes()
    idle = http.client.HTTPConnection("127.0.0.1", serve.port, timeout=30)
    idle.request("GET", "/healthz")  # the connection stays open
    assert idle.getresponse().read() == b"ok\n"
    stream = http.client.HTTPConnection("127.0.0.1", serve.port, timeout=30)
    stream.request("GET", f"{EVENTS}/stream", headers={"X-API-Key": used.says("live secret")})
    listening = stream.getresponse()
    assert listening.read1(1), "a stream starts at once"
    for _ in range(more):  # a repeated Ctrl-C changes nothing
        serve.signal(number)
        time.sleep(0.05)
    serve.stop(number)
    assert not alive(before)
    # The stream ended with a retry hint instead of being cut off at the server's timeout.
    assert listening.read().endswith(b"retry: 1000\n\n")
    idle.close()
    stream.close()
    assert serve.err == ""
    assert serve.out.splitlines()[-1] == f"Ilara has stopped. The data stays in {used.home}."
    assert (used.home / "serve.lock").read_text() == ""


# Each is true once the start has reached this step or a later one: a short step may be missed.
MOMENTS: dict[str, Callable[[Serve], bool]] = {
    "initdb": lambda serve: (
        any((serve.home / "postgresql").glob("data.new-*/global")) or serve.data.exists()
    ),
    "postgres": lambda serve: (serve.data / "postmaster.pid").exists(),
    "migrate": lambda serve: "  database " in serve.out,
    "content": lambda serve: "  tables " in serve.out,
    "children": lambda serve: "  project " in serve.out,
}


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        *((signal.SIGINT, moment) for moment in MOMENTS),
        (signal.SIGTERM, "initdb"),
        (signal.SIGTERM, "content"),
    ],
)
def test_stop_during_the_start__leaves_nothing_and_the_next_start_works(
    fresh: Path, used: UsedHome, start: Start, moment: str, number: signal.Signals
) -> None:
    # Children start alike at every start; what precedes them takes longest at the first.
    home = used.home if moment == "children" else fresh
    serve = start(home)
    wait_until(lambda: MOMENTS[moment](serve) or serve.ended())
    serve.stop(number)
    assert serve.err == ""
    assert not answers(home / "postgresql" / "socket")
    if number == signal.SIGTERM:
        again = start(home, *ONE_WORKER).ready()
        assert HttpApi(again.address, None).get("/v1/nothing").status == 404


def test_everything_killed__acknowledged_events_are_stored(used: UsedHome, start: Start) -> None:
    token = used.says("live public")
    serve = start(used.home, *ONE_WORKER).ready()
    assert track(HttpApi(serve.address, token), "kept-1") == "accepted"
    serve.kill_all()

    again = start(used.home, *ONE_WORKER, port=serve.port).ready()
    assert again.says("database") == f"embedded PostgreSQL, started in {used.home}"
    api = HttpApi(again.address, token)
    assert track(api, "kept-1") == "duplicate"
    assert track(api, "kept-2") == "accepted"
    again.stop()


def test_parent_killed__all_workers_and_postgresql_stop(used: UsedHome, start: Start) -> None:
    serve = start(used.home, "--workers", "3").ready()
    # The first may respond before the last has started.
    wait_until(lambda: len([line for line in arguments(serve) if "gunicorn" in line]) == 1 + 3)
    before = serve.processes()
    serve.process.kill()
    serve.process.wait()
    wait_until(lambda: not alive(before))
    assert not (serve.data / "postmaster.pid").exists()


def test_parent_killed__the_next_start_works_at_once(used: UsedHome, start: Start) -> None:
    serve = start(used.home, *ONE_WORKER).ready()
    before = serve.processes(with_postgresql=False)
    serve.process.kill()
    serve.process.wait()
    again = start(used.home, *ONE_WORKER, port=serve.port).ready()
    wait_until(lambda: not alive(before))
    assert again.get("/readyz")[0] == 200
    again.stop()


def server_pid(serve: Serve) -> int | None:
    """The pid of PostgreSQL, which may outlive a `serve`; None while it starts."""
    try:
        return int((serve.data / "postmaster.pid").read_text().partition("\n")[0])
    except (OSError, ValueError):
        return None


def test_demo__players_play_through_the_api_also_after_a_restart(
    used_homes: UsedHomes, start: Start
) -> None:
    with used_homes(demo=True) as used:
        players_play(start(used.home, "--demo", *ONE_WORKER, plays=True).ready())


def players_play(serve: Serve) -> None:
    assert serve.says("players") == "6 simulated players play; --no-play leaves them out"
    wait_until(lambda: played(serve) > 3)
    os.kill(pid_of(serve, "gunicorn"), signal.SIGKILL)
    wait_until(lambda: "The web server exited with code -9; restarting it" in serve.out)
    before = played(serve)
    wait_until(lambda: played(serve) > before + 3)
    assert serve.out.count("; restarting it") == 1, "only the web server was restarted"
    assert not TOKEN.search(serve.out + serve.err)
    assert not any(TOKEN.search(line) for line in arguments(serve))
    serve.stop()


def played(serve: Serve) -> int:
    """The number of events of the simulated players."""
    sql = """SELECT count(*) FROM event JOIN player ON player.id = player_id
             WHERE external_id LIKE 'simulated!_%' ESCAPE '!'"""
    return int(query(serve.home, sql)[0][0])


def test_killed_process__is_restarted(used: UsedHome, start: Start) -> None:
    """One start for all: none of them may end because of another."""
    serve = start(used.home, *ONE_WORKER).ready()
    kill_worker(serve)
    kill_web_server(serve, used.says("live secret"))
    assert serve.out.count("; restarting it") == 2
    assert serve.err == ""
    kill_postgresql(serve, used.says("live public"))
    serve.stop()


def kill_worker(serve: Serve) -> None:
    os.kill(pid_of(serve, "manage.py worker"), signal.SIGKILL)
    wait_until(lambda: "The job worker exited with code -9" in serve.out)
    wait_until(lambda: any("manage.py worker" in line for line in arguments(serve)))


def kill_web_server(serve: Serve, token: str) -> None:
    """Its workers release the port."""
    stream = http.client.HTTPConnection("127.0.0.1", serve.port, timeout=30)
    stream.request("GET", f"{EVENTS}/stream", headers={"X-API-Key": token})
    listening = stream.getresponse()
    assert listening.read1(1), "a worker of the killed server has something to do"
    before = pid_of(serve, "gunicorn")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: "The web server exited with code -9; restarting it" in serve.out)
    wait_until(lambda: any("gunicorn" in line for line in arguments(serve)))
    wait_until(lambda: answers_http(serve))
    assert pid_of(serve, "gunicorn") != before
    assert listening.read().endswith(b"retry: 1000\n\n")
    stream.close()


def kill_postgresql(serve: Serve, token: str) -> None:
    assert track(HttpApi(serve.address, token), "before-1") == "accepted"
    killed = server_pid(serve)
    assert killed
    os.kill(killed, signal.SIGKILL)
    # Old backends may respond a moment longer, so wait for the new server first.
    wait_until(lambda: server_pid(serve) not in (None, killed))
    wait_until(lambda: serve.get("/readyz")[0] == 200)
    assert track(HttpApi(serve.address, token), "before-1") == "duplicate"


def answers_http(serve: Serve) -> bool:
    try:
        return serve.get("/healthz")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_child_that_exits_at_once__is_restarted_after_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PAUSES_SECONDS", (0, 0.05, 0.1))
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 4:
            raise supervisor.Stop

    child = Child("web server", ["false"], {}, tmp_path)
    child.start()
    with pytest.raises(supervisor.Stop):
        supervisor.watch([child], say)
    assert said == [
        f"The web server exited with code 1; restarting it in {pause} s."
        for pause in (0.05, 0.1, 0.1, 0.1)
    ]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_stop_that_python_dropped__is_raised_again() -> None:
    class Dropping:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)

    def watch() -> None:
        with supervisor.stoppable():
            Dropping()
            supervisor.watch([], print)

    with pytest.raises(supervisor.Stop):
        watch()

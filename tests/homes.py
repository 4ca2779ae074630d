"""Homes of embedded servers: made for a test, looked into from outside, removed after it."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg

from ilara_admin.runtime.postgresql import site
from tests.processes import alive, command_line, families

HANG_SECONDS = 90  # bounds a hang, on a machine much slower and busier than ours too


@contextmanager
def empty_home() -> Iterator[Path]:
    """A folder that every user may pass through, so that PostgreSQL's data stays inside."""
    home = Path(tempfile.mkdtemp(prefix="ilara-home-"))
    home.chmod(0o755)
    yield home
    remove_server(home)
    shutil.rmtree(home)


def kill_server(home: Path) -> None:
    """Kill it, and return when its backends are gone as well: they answer a moment longer."""
    data = (home / "postgresql").resolve() / "data"
    try:
        head = postmaster(data)
    except FileNotFoundError:
        return
    if f"postgres -D {data} " in command_line(head):  # a stale file may name any process
        before = families(head)
        os.kill(head, signal.SIGKILL)
        wait_until(lambda: not alive(before))


def remove_server(home: Path) -> None:
    kill_server(home)
    folder = (home / "postgresql").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(short_socket_folder(folder), ignore_errors=True)


def short_socket_folder(folder: Path) -> Path:
    return Path("/tmp") / f"ilara-{site.digest(folder)}"  # noqa: S108


def postmaster(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().splitlines()[0])


def select(socket: Path, query: LiteralString) -> object:
    with psycopg.connect(
        host=str(socket), user="ilara", dbname="ilara", autocommit=True
    ) as session:
        cursor = session.execute(query)
        return cursor.fetchone() if cursor.description else None


def answers(socket: Path) -> bool:
    try:
        return select(socket, "SELECT 1") == (1,)
    except psycopg.OperationalError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = HANG_SECONDS) -> None:
    """Poll ever more slowly: what is waited for needs the processor, too."""
    deadline, pause = time.monotonic() + seconds, 0.005
    while not condition():
        assert time.monotonic() < deadline, f"waited for {seconds} seconds"
        time.sleep(pause)
        pause = min(pause * 1.2, 0.1)

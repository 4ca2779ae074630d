"""Homes of embedded servers: created for a test, inspected, and removed after it."""

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

from tests.processes import alive, command_line, families

HANG_SECONDS = 90  # timeout of a hanging test, also on slow and busy machines


@contextmanager
def empty_home() -> Iterator[Path]:
    """A folder that every user may enter, so that PostgreSQL's data stays inside."""
    home = Path(tempfile.mkdtemp(prefix="ilara-home-"))
    home.chmod(0o755)
    yield home
    remove_server(home)
    shutil.rmtree(home)


def kill_server(home: Path) -> None:
    """Kill the server and wait until its backends, which respond a moment longer, are gone too."""
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
    if (folder / "socket").is_symlink():  # to a folder with a shorter name
        shutil.rmtree((folder / "socket").readlink(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


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
    """Poll with growing pauses: the process waited for needs the CPU, too."""
    deadline, pause = time.monotonic() + seconds, 0.005
    while not condition():
        assert time.monotonic() < deadline, f"waited for {seconds} seconds"
        time.sleep(pause)
        pause = min(pause * 1.2, 0.1)

"""Programs of this machine, and its processes as listed by `ps`."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings


def program(name: str, package: str) -> str:
    """The path of a program from Debian's `package`. If it is missing, the test is skipped, or
    fails in CI, which installs it."""
    # Debian puts servers where an ordinary user does not look.
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if path is None:
        message = f"This test needs {name}: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


def output_of(command: Sequence[str], folder: Path, **environ: str) -> str:
    """The standard output of a program, which must end with 0."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def django_output(code: str, **environ: str) -> str:
    """The standard output of Python code that runs with our settings in a new process."""
    environ = {"DJANGO_SETTINGS_MODULE": "ilara_admin.settings", "SECRET_KEY": "x", **environ}
    return output_of([sys.executable, "-c", code], settings.BASE_DIR, **environ)


def parents() -> dict[int, int]:
    """The parent of each process, without zombies."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    rows = (line.split() for line in listing.splitlines())
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def command_line(pid: int) -> str:
    """The command line of a process; empty if it does not exist."""
    command = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def alive(pids: Iterable[int]) -> set[int]:
    return set(pids) & parents().keys()


def families(*pids: int) -> set[int]:
    """Those of these processes that live, and all their descendants."""
    table, found = parents(), set(pids)
    while more := {pid for pid, parent in table.items() if parent in found} - found:
        found |= more
    return found & table.keys()


@contextmanager
def stopped(pids: Iterable[int]) -> Iterator[None]:
    """The processes stand still; the kernel still accepts connections for them."""
    pids = list(pids)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

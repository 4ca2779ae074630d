"""The programs of this machine, and its processes as `ps` lists them."""

import os
import shutil
import subprocess
from collections.abc import Iterable

import pytest


def program(name: str, package: str) -> str:
    """The path of a program that Debian's `package` brings. Where it is missing the test is
    skipped; in CI, which installs it, the test fails."""
    path = shutil.which(name)
    if path is None:
        message = f"This test needs {name}: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


def parents() -> dict[int, int]:
    """The parent of each process. Zombies are not counted: they wait for somebody else."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    rows = (line.split() for line in listing.splitlines())
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def command_line(pid: int) -> str:
    """How the process was started; empty if there is none."""
    command = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def alive(pids: Iterable[int]) -> set[int]:
    return set(pids) & parents().keys()


def families(*pids: int) -> set[int]:
    """Those of these processes that live, and all that descend from them."""
    table, found = parents(), set(pids)
    while more := {pid for pid, parent in table.items() if parent in found} - found:
        found |= more
    return found & table.keys()

"""Signals that stop a process set `stopping` and still stop it."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, time
from ilara_admin.core.shutdown import install, stopping
if {chained}:
    signal.signal(signal.SIG{name}, lambda *_: print("before"))
install()
os.kill(os.getpid(), signal.SIG{name})
print(stopping.is_set())
"""


@pytest.mark.parametrize("name", ["TERM", "INT", "QUIT"])
def test_existing_handler__also_runs(name: str) -> None:
    program = PROGRAM.format(name=name, chained=True)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "before\nTrue\n"
    assert done.returncode == 0


def test_no_handler__ends_the_process() -> None:
    program = PROGRAM.format(name="TERM", chained=False)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.returncode == -15

"""What `serve` runs: the web server and the job worker, started and ended together."""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1
START_SECONDS = 20
STOP_SECONDS = 15


class ServeError(Exception):
    """Why Ilara cannot be served, in one line."""


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the lock that says a `serve` runs on this home. The kernel drops it with the process."""
    path = home / "serve.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            where = lock.read().strip() or "another address"
            raise ServeError(
                f"Ilara is already running on {where} with the data in {home}"
            ) from None
        yield


def note_address(home: Path, address: str) -> None:
    """Tell a second `serve` where this one answers."""
    (home / "serve.lock").write_text(address)


def check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise ServeError(
                f"Cannot listen on {host}:{port}: {reason}. Choose another with --port."
            ) from None


def start(
    arguments: list[str], environment: Mapping[str, str], folder: Path
) -> subprocess.Popen[bytes]:
    """Start a child that ends with this process, even if this one is killed."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        start_new_session=True,  # Ctrl-C reaches this process alone, which then ends its children
        preexec_fn=_end_with_parent,
    )


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def wait_for_port(host: str, port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise ServeError("The web server ended at once; its message stands above.")
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        time.sleep(0.05)
    raise ServeError(f"The web server did not answer within {START_SECONDS} seconds.")


def run_until_stopped(children: list[subprocess.Popen[bytes]]) -> int:
    """Wait for Ctrl-C or SIGTERM, or for a child to end by itself; then end all of them.

    Returns 0 after a wanted stop, 1 when a child had ended.
    """
    wanted = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal wanted
        wanted = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    while not wanted and all(child.poll() is None for child in children):
        time.sleep(0.1)
    end(children)
    return 0 if wanted else 1


def end(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for child in children:
        try:
            child.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

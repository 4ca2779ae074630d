"""The child processes of `serve`: the web server and the job worker."""

import contextlib
import ctypes
import fcntl
import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from ilara_admin.core.shutdown import end_with_parent
from ilara_admin.runtime import embedded_postgres
from ilara_admin.runtime.postgresql.site import open_lock

START_SECONDS = 60
# Much longer than gunicorn's graceful_timeout, so that it exits by itself even on a busy machine.
STOP_SECONDS = 30
# A child that exits within SOON_SECONDS of its start is restarted after growing pauses, since the
# cause may last.
SOON_SECONDS = 10
PAUSES_SECONDS = (0, 1, 2, 5, 10, 30)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ServeError(Exception):
    """Ilara cannot be served; the message is one line."""


class Stop(KeyboardInterrupt):
    """A signal to stop arrived. Libraries treat this exception like Ctrl-C."""


_requested = threading.Event()


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal raise Stop in this block, so that it can clean up."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        # Under nohup, a closed terminal must not stop Ilara.
        if (number, before[number]) != (signal.SIGHUP, signal.SIG_IGN):
            signal.signal(number, _raise_stop)
    try:
        yield
    finally:
        for number in SIGNALS:
            signal.signal(number, before[number])
        _requested.clear()


def _raise_stop(number: int, frame: FrameType | None) -> None:
    ignore_signals()
    _requested.set()
    raise Stop


def _raise_if_requested() -> None:
    """Python drops an exception that a signal raises within `__del__` or a callback."""
    if _requested.is_set():
        raise Stop


def ignore_signals() -> None:
    """Called before cleanup, which a second Ctrl-C must not interrupt."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


# --- Before the start -----------------------------------------------------------------------------


@contextlib.contextmanager
def only_one(home: Path, address: str) -> Iterator[str]:
    """Hold the lock of the one `serve` on this home; the kernel releases it with the process.

    Yields the address of an earlier `serve` that was killed before it could clean up, or "".
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = os.fdopen(open_lock(home / "serve.lock", os.O_RDWR | os.O_APPEND), "a+")
    except OSError as error:
        raise embedded_postgres.unusable(home, error) from None
    with lock:
        lock.seek(0)
        previous = lock.read()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServeError(
                f"Ilara already runs at {previous or 'another port'} with the data in {home}: "
                "stop that one first, or set ILARA_HOME to another folder."
            ) from None
        lock.truncate(0)
        lock.write(address)
        lock.flush()
        try:
            yield previous
        finally:
            lock.truncate(0)


def url(host: str, port: int) -> str:
    """The URL to open. An address that listens on all interfaces becomes the loopback address."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def check_port(host: str, port: int, *, patience: float = 0) -> None:
    """Raise ServeError unless the address is free, or becomes free within `patience` seconds."""
    deadline = time.monotonic() + patience
    while (error := bind_error(host, port)) and time.monotonic() < deadline:
        time.sleep(0.2)
    if error:
        raise ServeError(
            f"Cannot listen on {host}:{port} ({error}): choose another with --port or --host."
        )


def bind_error(host: str, port: int) -> str:
    """Why a server cannot listen on the address now, or ""."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


# --- Child processes ------------------------------------------------------------------------------


def ending_with_parent() -> Callable[[], None]:
    """For `preexec_fn`: the child gets SIGTERM when this process ends, even by `kill -9`."""
    return partial(end_with_parent, os.getpid(), ctypes.CDLL(None))


@dataclass(slots=True)
class Child:
    """A child process. It is restarted when it exits, once `may_start` returns True."""

    name: str
    command: list[str]
    environment: dict[str, str]
    folder: Path
    may_start: Callable[[], bool] = lambda: True
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0
    restart_at: float | None = None  # while it has exited
    failures: int = 0  # how often in a row it exited soon after its start

    def start(self) -> None:
        # A Stop in between would leave a process that is never ended.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        end_with_this = ending_with_parent()

        def prepare() -> None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            end_with_this()

        try:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                start_new_session=True,  # Ctrl-C is for this process, which ends its children
                preexec_fn=prepare,
            )
            self.started_at, self.restart_at = time.monotonic(), None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def ended(self) -> int | None:
        """The exit code, or None while it runs."""
        return self.process.poll() if self.process else None


def wait_until_it_answers(address: str, server: Child) -> None:
    """Return once a request gets a response; an open port alone is not enough."""
    target = address.removeprefix("http://")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        _raise_if_requested()
        if server.ended is not None:
            raise ServeError(f"The {server.name} exited at once: see the lines above.")
        with contextlib.suppress(OSError, http.client.HTTPException):
            session = http.client.HTTPConnection(target, timeout=5)
            with contextlib.closing(session):
                session.request("GET", "/v1")  # any status will do; /v1 accepts any Host
                session.getresponse()
                return
        time.sleep(0.05)
    raise ServeError(f"The {server.name} did not respond within {START_SECONDS} seconds.")


def watch(children: list[Child], say: Callable[[str], None]) -> None:
    """Block until Stop is raised, and restart children that exit."""
    while True:
        _raise_if_requested()
        for child in children:
            if child.ended is not None:
                _restart(child, say)
        time.sleep(0.1)


def _restart(child: Child, say: Callable[[str], None]) -> None:
    """Announce the restart of a child that has exited; start it when it is due."""
    now = time.monotonic()
    if child.restart_at is None:
        child.failures = child.failures + 1 if now - child.started_at < SOON_SECONDS else 0
        pause = PAUSES_SECONDS[min(child.failures, len(PAUSES_SECONDS) - 1)]
        child.restart_at = now + pause
        when = f" in {pause} s" if pause else ""
        say(f"The {child.name} exited with code {child.ended}; restarting it{when}.")
    elif now >= child.restart_at and child.may_start():
        child.start()


def end(children: list[Child], say: Callable[[str], None]) -> None:
    """Send SIGTERM to all, wait up to STOP_SECONDS, then kill the rest."""
    ignore_signals()
    running = [
        (child.name, child.process) for child in children if child.process and child.ended is None
    ]
    for _, process in running:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for name, process in running:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            say(f"The {name} did not stop within {STOP_SECONDS} seconds and was killed.")

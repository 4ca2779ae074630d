"""What `serve` runs: the web server and the job worker, started and ended together."""

import contextlib
import ctypes
import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ilara_admin.runtime import embedded_postgres

PR_SET_PDEATHSIG = 1
START_SECONDS = 60
# Much longer than gunicorn gives its requests, so that it ends by itself on a busy machine, too.
STOP_SECONDS = 30
RESTART_SECONDS = 5
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ServeError(Exception):
    """Why Ilara cannot be served, in one line."""


class Stop(KeyboardInterrupt):
    """Somebody wants Ilara to end. Libraries treat it as they treat Ctrl-C."""


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal raise Stop in this block, so that it can clean up."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        # Under nohup a closed terminal is nothing to stop for.
        if (number, before[number]) != (signal.SIGHUP, signal.SIG_IGN):
            signal.signal(number, _raise_stop)
    try:
        yield
    finally:
        for number in SIGNALS:
            signal.signal(number, before[number])


def _raise_stop(number: int, frame: FrameType | None) -> None:
    ignore_signals()
    raise Stop


def ignore_signals() -> None:
    """From here on all is cleaning up, which an impatient second Ctrl-C must not cut short."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


# --- Whether it can start -------------------------------------------------------------------------


@contextlib.contextmanager
def only_one(home: Path, address: str) -> Iterator[str]:
    """Hold the lock that says a `serve` runs on this home; the kernel drops it with the process.

    Yields the address of an earlier one that was killed before it could clean up, or "".
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "serve.lock").open("a+")
    except OSError as error:
        raise embedded_postgres.unusable(home, error) from None
    with lock:
        lock.seek(0)
        noted = lock.read()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServeError(
                f"Ilara already runs at {noted or 'another port'} with the data in {home}: "
                "stop that one first, or set ILARA_HOME to another folder."
            ) from None
        lock.truncate(0)
        lock.write(address)
        lock.flush()
        try:
            yield noted
        finally:
            lock.truncate(0)


def url(host: str, port: int) -> str:
    """The address as people type it: one that listens everywhere is found here."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def check_port(host: str, port: int, *, patience: float = 0) -> None:
    """Raise ServeError unless the address is free, or becomes free within `patience` seconds."""
    deadline = time.monotonic() + patience
    while (error := _bind_error(host, port)) and time.monotonic() < deadline:
        time.sleep(0.2)
    if error:
        raise ServeError(
            f"Cannot listen on {host}:{port} ({error}): choose another with --port or --host."
        )


def _bind_error(host: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


# --- The processes --------------------------------------------------------------------------------


def ending_with_parent() -> Callable[[], None]:
    """For `preexec_fn`: the child is asked to end when this process does, even by `kill -9`."""
    parent, libc = os.getpid(), ctypes.CDLL(None)

    def ask() -> None:
        if sys.platform == "linux":
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it was killed a moment ago
                os._exit(1)

    return ask


@dataclass(slots=True)
class Child:
    """A program that runs beside this process. `restarts` says that Ilara can wait for it."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    folder: Path
    restarts: bool = False
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # A Stop in between would leave a process that nobody knows to end.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        ask = ending_with_parent()

        def prepare() -> None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            ask()

        try:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                start_new_session=True,  # Ctrl-C is for this process, which ends its children
                preexec_fn=prepare,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def ended(self) -> int | None:
        """Its exit code, once it has one."""
        return self.process.poll() if self.process else None


def wait_until_it_answers(address: str, server: Child) -> None:
    """Return once a request gets an answer; that somebody listens does not say so much."""
    target = address.removeprefix("http://")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.ended is not None:
            raise ServeError(f"The {server.name} ended at once: see the lines above.")
        with contextlib.suppress(OSError, http.client.HTTPException):
            session = http.client.HTTPConnection(target, timeout=5)
            with contextlib.closing(session):
                session.request("GET", "/v1")  # any answer will do, and here Host does not matter
                session.getresponse()
                return
        time.sleep(0.05)
    raise ServeError(f"The {server.name} did not answer within {START_SECONDS} seconds.")


def watch(children: list[Child], say: Callable[[str], None]) -> None:
    """Stay until Stop is raised. Raise ServeError when a child ends that Ilara cannot do without;
    start the others again after a pause, since what ended them may last."""
    again: dict[str, float] = {}
    while True:
        for child in children:
            code = child.ended
            if code is None:
                continue
            if not child.restarts:
                raise ServeError(f"The {child.name} ended with code {code}: see the lines above.")
            if child.name not in again:
                again[child.name] = time.monotonic() + RESTART_SECONDS
                say(f"The {child.name} ended with code {code}; it is started again shortly.")
            elif time.monotonic() > again[child.name]:
                del again[child.name]
                child.start()
        time.sleep(0.1)


def end(children: list[Child], say: Callable[[str], None]) -> None:
    """Ask all of them to end, wait, and kill what is left."""
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
            say(f"The {name} did not end within {STOP_SECONDS} seconds and was killed.")

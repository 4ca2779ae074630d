"""The PostgreSQL that Ilara brings along, for use when DATABASE_URL is not set.

Everything about a server lies in `$ILARA_HOME/postgresql`: `data/` (the cluster and `server.log`),
`socket/` and two lock files. Each process that uses the server holds `users.lock` shared until it
ends; the kernel drops that even on `kill -9`. `start.lock` is held exclusively around every start
and stop, so one process at a time decides. Whoever leaves last stops the server.

Settings import this module, so it must not import settings or models.
"""

import atexit
import fcntl
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from psycopg import pq
from psycopg.conninfo import make_conninfo

from ilara_admin.runtime.postgresql.site import (
    NAME,
    PORT,
    EmbeddedError,
    Site,
    exclusive,
    open_lock,
    summarize_output,
)

__all__ = [
    "EmbeddedError",
    "Found",
    "Server",
    "database",
    "lease",
    "release",
    "secret_key",
    "unusable",
]

PATIENCE_SECONDS = 60
SETTINGS = {
    "listen_addresses": "",
    "port": PORT,
    "max_connections": "200",
    "shared_buffers": "128MB",
    "log_checkpoints": "off",
}


class Found(StrEnum):
    """How a process came upon its server."""

    RUNNING = "running"
    STARTED = "started"
    CREATED = "created"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that this process may use: its data folder, and the socket folder to connect to."""

    data: Path
    socket: Path
    found: Found


@dataclass(slots=True)
class _Lease:
    site: Site
    users: int  # the descriptor of users.lock
    server: Server | None = None


_leases: dict[Path, _Lease] = {}
_guard = threading.RLock()


# --- What settings, commands and the database backend use -----------------------------------------


def secret_key(home: Path) -> str:
    """Read `$ILARA_HOME/secret_key`, made at the first call. Raises EmbeddedError."""
    path = home / "secret_key"
    try:
        with suppress(FileNotFoundError):
            return path.read_text()
        home.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=home, prefix="secret_key.")
        with open(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(50))
            file.flush()
            os.fsync(descriptor)
        # A link appears complete or not at all, and never replaces the key of a faster process.
        with suppress(FileExistsError):
            os.link(draft, path)
        os.unlink(draft)
        return path.read_text()
    except OSError as error:
        raise unusable(home, error) from error


def database(home: Path) -> dict[str, Any]:
    """Django's DATABASES entry. Nothing is started until a connection is opened.

    HOST is the home: `ilara_admin.runtime.postgresql` turns it into the socket folder.
    """
    engine = "ilara_admin.runtime.postgresql"
    return {"ENGINE": engine, "NAME": NAME, "USER": NAME, "HOST": str(home), "PORT": PORT}


def lease(home: Path, settings: Mapping[str, str] | None = None) -> Server:
    """Make sure that the server runs and keep it running until this process ends or releases it.

    It is asked before every new connection, so that a server that died is started again.
    `settings` are PostgreSQL's and count only for the server that this call starts.
    Raises EmbeddedError.
    """
    with _guard:
        held = _leases.get(home)
        if held and held.server and _ping(held.site.socket) == pq.Ping.OK:
            return held.server
        try:
            site = Site.of(home)
            with exclusive(site.folder / "start.lock"):
                held = _leases.get(home) or _enter(home, site)
                found = _ensure_running(site, settings or {})
        except OSError as error:
            raise unusable(home, error) from error
        held.server = held.server or Server(site.data, site.socket, found)
        return held.server


def release(home: Path) -> None:
    """Give the lease back; the last user stops the server. It happens by itself at exit."""
    with _guard:
        held = _leases.pop(home, None)
        if held is None:
            return
        fcntl.flock(held.users, fcntl.LOCK_UN)
        # The folder may have been deleted meanwhile, and then nothing is left to stop.
        with suppress(FileNotFoundError), exclusive(held.site.folder / "start.lock"):
            _stop_unless_used(held)
        os.close(held.users)


@atexit.register
def _release_all() -> None:
    for home in list(_leases):
        release(home)


def _forget_after_fork() -> None:
    """A child takes leases of its own: an inherited lock is the parent's and ends with it."""
    global _guard
    _guard = threading.RLock()
    for held in _leases.values():
        os.close(held.users)
    _leases.clear()


os.register_at_fork(after_in_child=_forget_after_fork)


# --- Starting and stopping, always under start.lock -----------------------------------------------


def _enter(home: Path, site: Site) -> _Lease:
    """Become a user of the server before it is started, so that an interrupted start is undone."""
    users = open_lock(site.folder / "users.lock")
    fcntl.flock(users, fcntl.LOCK_SH)
    _leases[home] = _Lease(site, users)
    return _leases[home]


def _ping(socket: Path) -> pq.Ping:
    """OK: accepts connections; REJECT: starting or stopping; NO_RESPONSE: nobody listens."""
    address = make_conninfo(host=str(socket), port=PORT, user=NAME, dbname=NAME, connect_timeout=5)
    return pq.Ping(pq.PGconn.ping(address.encode()))


def _ensure_running(site: Site, settings: Mapping[str, str]) -> Found:
    """Start the server unless it answers, and wait for one that is recovering."""
    found, deadline = Found.RUNNING, time.monotonic() + PATIENCE_SECONDS
    while (answer := _ping(site.socket)) != pq.Ping.OK:
        if time.monotonic() > deadline:
            raise EmbeddedError(
                f"PostgreSQL in {site.data} is still not ready after {PATIENCE_SECONDS} seconds; "
                f"see {site.log} and try again."
            )
        if answer == pq.Ping.REJECT or _postmaster_lives(site.data):
            time.sleep(0.05)
            continue
        with _undisturbed():
            if not site.data.exists():
                _create(site, settings)
                found = Found.CREATED
            elif found == Found.RUNNING:
                found = Found.STARTED
            # PostgreSQL would trust a stale file whose pid is now a zombie or another of its
            # user's processes. Its shared memory still tells it when backends of the dead server
            # linger.
            for stale in (site.data / "postmaster.pid", site.socket / f".s.PGSQL.{PORT}.lock"):
                stale.unlink(missing_ok=True)
            _start(site, settings)
    return found


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the block is over. A start cut short would leave a server
    that has no pid file yet, and nobody could stop it."""
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _postmaster_lives(data: Path) -> bool:
    """Does postmaster.pid name a process that is this cluster's server, and not a zombie?"""
    try:
        pid = int((data / "postmaster.pid").read_text().partition("\n")[0])
    except (FileNotFoundError, ValueError):
        return False
    return f"postgres -D {data} " in _command_line(pid)


def _command_line(pid: int) -> str:
    """How the process was started; empty for a zombie or none."""
    if not Path("/proc/self/cmdline").exists():
        command = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    with suppress(FileNotFoundError, ProcessLookupError):
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).replace("\0", " ")
    return ""


def _create(site: Site, settings: Mapping[str, str]) -> None:
    """Make the cluster and its database beside their place and move them there when complete."""
    for leftover in site.folder.glob("data.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(dir=site.folder, prefix="data.new-"))
    site.give(draft)
    careless = settings.get("fsync") == "off"
    initdb = ["initdb", "--encoding=UTF8", "--locale=C", f"--username={NAME}"]
    # PostgreSQL's own C.UTF-8 knows upper and lower case and is the same on every machine.
    initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    initdb += ["--auth-local=trust", "--auth-host=reject"] + ["--no-sync"] * careless
    single = ["postgres", "--single", "-c", "exit_on_error=on"] + ["-F"] * careless
    steps = {
        (*initdb, "-D", str(draft)): "",
        (*single, "-D", str(draft), "postgres"): f"CREATE DATABASE {NAME}\n",
    }
    for command, stdin in steps.items():
        run = site.run(*command, stdin=stdin)
        if run.returncode:
            shutil.rmtree(draft, ignore_errors=True)
            raise EmbeddedError(
                f"PostgreSQL cannot create {site.data}: {summarize_output(run.stdout)}"
            )
    draft.rename(site.data)


def _start(site: Site, settings: Mapping[str, str]) -> None:
    sockets = {"unix_socket_directories": f'"{site.socket}"'}
    options = [f"-c{name}={value}" for name, value in {**SETTINGS, **sockets, **settings}.items()]
    before = site.log.stat().st_size if site.log.exists() else 0
    command = ["start", "--silent", "--wait", f"--timeout={PATIENCE_SECONDS}"]
    command += ["--pgdata", str(site.data), "--log", str(site.log), "--options"]
    run = site.run("pg_ctl", *command, shlex.join(options))
    if run.returncode == 0:
        return
    said = site.log.read_bytes()[before:].decode(errors="replace") if site.log.exists() else ""
    # After `kill -9` of the server alone its backends need a moment to notice.
    if "pre-existing shared memory block" not in said:
        why = summarize_output(said or run.stdout)
        raise EmbeddedError(f"PostgreSQL does not start in {site.data}: {why} (log: {site.log})")
    time.sleep(0.2)


def _stop_unless_used(held: _Lease) -> None:
    with suppress(BlockingIOError), _undisturbed():
        fcntl.flock(held.users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # pg_ctl would signal whatever process a stale file names.
        if _postmaster_lives(held.site.data):
            held.site.run("pg_ctl", "stop", "--silent", "--mode=fast", "-D", str(held.site.data))


def unusable(home: Path, error: OSError) -> EmbeddedError:
    """The error for a home that cannot be read or written."""
    return EmbeddedError(
        f"the folder {home} cannot be used ({error.strerror}: {error.filename}): set ILARA_HOME to "
        "a folder that this user may write to."
    )

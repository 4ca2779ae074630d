"""The embedded PostgreSQL, used when DATABASE_URL is not set.

A server's files are in `$ILARA_HOME/postgresql`: `data/` (the cluster and `server.log`), `socket/`
and two lock files. Each process that uses the server holds `users.lock` shared until it ends; the
kernel releases it even on `kill -9`. `start.lock` is held exclusively around every start and stop,
so starts and stops never overlap. The last process to leave stops the server.

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
    MAJOR,
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
    # The first change of a page after a checkpoint writes the whole page to the WAL: compressed
    # pages (pglz, as these programs have neither lz4 nor zstd) and few checkpoints keep that small.
    # Recovery after a crash reads more WAL in return.
    "wal_compression": "on",
    "checkpoint_timeout": "15min",
    "max_wal_size": "4GB",
}


class Found(StrEnum):
    """The state in which a process found its server."""

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


# --- Interface for settings, commands and the database backend ------------------------------------


def secret_key(home: Path) -> str:
    """Read `$ILARA_HOME/secret_key`; the first call creates it. Raises EmbeddedError."""
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
        # Linking is atomic and never replaces the key of a process that was faster.
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
    """Start the server if it is down; keep it running until this process ends or releases it.

    Called before every new connection, so a crashed server is restarted. `settings` are PostgreSQL
    settings and apply only if this call starts the server. Raises EmbeddedError.
    """
    held = _leases.get(home)
    if held and held.server:
        # Not under the guard: a server that hangs would let the threads wait one after another. It
        # cannot be restarted; connecting to it fails by its own timeout.
        answer = _ping(held.site.socket)
        if answer == pq.Ping.OK:
            return held.server
        if answer == pq.Ping.NO_RESPONSE and _postmaster_lives(held.site.data):
            return held.server
    with _guard:
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
    """Release the lease; the last user stops the server. Called automatically at exit."""
    with _guard:
        held = _leases.pop(home, None)
        if held is None:
            return
        fcntl.flock(held.users, fcntl.LOCK_UN)
        # If the folder has been deleted, there is nothing left to stop.
        with suppress(FileNotFoundError), exclusive(held.site.folder / "start.lock"):
            _stop_unless_used(held)
        os.close(held.users)


@atexit.register
def _release_all() -> None:
    for home in list(_leases):
        release(home)


def _forget_after_fork() -> None:
    """Drop inherited leases: they belong to the parent, so a child must take new ones."""
    global _guard
    _guard = threading.RLock()
    for held in _leases.values():
        os.close(held.users)
    _leases.clear()


os.register_at_fork(after_in_child=_forget_after_fork)


# --- Starting and stopping, always under start.lock -----------------------------------------------


def _enter(home: Path, site: Site) -> _Lease:
    """Register as a user before the start, so that an interrupted start is cleaned up."""
    users = open_lock(site.folder / "users.lock")
    fcntl.flock(users, fcntl.LOCK_SH)
    _leases[home] = _Lease(site, users)
    return _leases[home]


def _ping(socket: Path) -> pq.Ping:
    """OK: accepts connections; REJECT: starting or stopping; NO_RESPONSE: not running."""
    address = make_conninfo(host=str(socket), port=PORT, user=NAME, dbname=NAME, connect_timeout=2)
    return pq.Ping(pq.PGconn.ping(address.encode()))


def _ensure_running(site: Site, settings: Mapping[str, str]) -> Found:
    """Start the server unless it responds; wait for one that is recovering."""
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
            _check_version(site.data)
            if not site.data.exists():
                _create(site, settings)
                found = Found.CREATED
            elif found == Found.RUNNING:
                found = Found.STARTED
            # PostgreSQL would trust a stale file whose pid is now a zombie or another process of
            # the same user. It still detects leftover backends through its shared memory.
            for stale in (site.data / "postmaster.pid", site.socket / f".s.PGSQL.{PORT}.lock"):
                stale.unlink(missing_ok=True)
            _start(site, settings)
    return found


def _check_version(data: Path) -> None:
    """Raise EmbeddedError if another major version wrote the data: PostgreSQL cannot read it."""
    with suppress(FileNotFoundError):
        version = (data / "PG_VERSION").read_text().strip()
        if version != MAJOR:
            raise EmbeddedError(
                f"PostgreSQL {version} wrote {data}, and this version of Ilara includes PostgreSQL "
                f"{MAJOR}: run `manage.py backup` with the version of Ilara that used it, move "
                "that folder away, and run `manage.py restore` (README, “Backups and upgrades”)."
            )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Defer Ctrl-C and SIGTERM until the block ends. An interrupted start would leave a server
    without a pid file, which cannot be stopped."""
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _postmaster_lives(data: Path) -> bool:
    """Whether postmaster.pid names a process that is this cluster's server, and not a zombie."""
    try:
        pid = int((data / "postmaster.pid").read_text().partition("\n")[0])
    except (FileNotFoundError, ValueError):
        return False
    return f"postgres -D {data} " in _command_line(pid)


def _command_line(pid: int) -> str:
    """The command line of the process; empty for a zombie or none."""
    if not Path("/proc/self/cmdline").exists():
        command = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    with suppress(FileNotFoundError, ProcessLookupError):
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).replace("\0", " ")
    return ""


def _create(site: Site, settings: Mapping[str, str]) -> None:
    """Create the cluster and its database in a temporary folder; move it in place when complete."""
    for leftover in site.folder.glob("data.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(dir=site.folder, prefix="data.new-"))
    site.give(draft)
    no_fsync = settings.get("fsync") == "off"
    initdb = ["initdb", "--encoding=UTF8", "--locale=C", f"--username={NAME}"]
    # The builtin C.UTF-8 handles upper and lower case and is the same on every machine.
    initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    initdb += ["--auth-local=trust", "--auth-host=reject"] + ["--no-sync"] * no_fsync
    single = ["postgres", "--single", "-c", "exit_on_error=on"] + ["-F"] * no_fsync
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
    output = site.log.read_bytes()[before:].decode(errors="replace") if site.log.exists() else ""
    # After `kill -9` of the server, its backends take a moment to exit.
    if "pre-existing shared memory block" not in output:
        why = summarize_output(output or run.stdout)
        raise EmbeddedError(f"PostgreSQL does not start in {site.data}: {why} (log: {site.log})")
    time.sleep(0.2)


def _stop_unless_used(held: _Lease) -> None:
    with suppress(BlockingIOError), _undisturbed():
        fcntl.flock(held.users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # pg_ctl would signal an unrelated process if the pid file is stale.
        if _postmaster_lives(held.site.data):
            held.site.run("pg_ctl", "stop", "--silent", "--mode=fast", "-D", str(held.site.data))


def unusable(home: Path, error: OSError) -> EmbeddedError:
    """The error for a home that cannot be read or written."""
    return EmbeddedError(
        f"the folder {home} cannot be used ({error.strerror}: {error.filename}): set ILARA_HOME to "
        "a folder that this user may write to."
    )

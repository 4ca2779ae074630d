"""PostgreSQL's client programs: which to use for a database, and how to run them."""

import os
import re
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.db import connection
from psycopg import pq
from psycopg.conninfo import make_conninfo

from ilara_admin.core.progress import Progress
from ilara_admin.runtime.backup.manifest import BackupError, Manifest
from ilara_admin.runtime.postgresql.site import EmbeddedError, program, summarize_output

# The messages of pg_dump and pg_restore when they begin the rows of a table.
CONTENTS = re.compile(r'(?:dumping contents of|processing data for) table "(.+)"')
NEEDED = ("pg_dump", "pg_restore", "psql")
# Where Debian, Red Hat and Homebrew install several versions side by side.
FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")


@dataclass(frozen=True, slots=True)
class Programs:
    """A folder of programs of one major version, and the database they connect to."""

    folder: Path
    version: int
    address: str  # a connection string without password
    password: str

    @contextmanager
    def run(self, name: str, *arguments: str, **pipes: Any) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a program. It is killed if it has not ended by the end of the block."""
        environment = {**os.environ, "LC_ALL": "C"}
        if self.password:  # else PGPASSWORD or a password file may have it
            environment["PGPASSWORD"] = self.password
        with subprocess.Popen(
            [self.folder / name, *arguments],
            env=environment,
            start_new_session=True,  # Ctrl-C is for this process, which ends its children
            **pipes,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def server_version() -> int:
    """The major version of the server of the configured database."""
    connection.ensure_connection()
    assert connection.connection
    return int(connection.connection.info.server_version // 10_000)


def programs(at_least: int) -> Programs:
    """The programs for the configured database: the oldest that have at least this major version.
    Raises BackupError."""
    connection.ensure_connection()
    assert connection.connection
    encrypted = connection.connection.info.pgconn.ssl_in_use
    found = {folder: version for folder in _folders(encrypted) if (version := _version(folder))}
    fitting = [folder for folder, version in found.items() if version >= at_least]
    if not fitting:
        have = ", ".join(str(version) for version in sorted(set(found.values()))) or "none"
        raise BackupError(
            f"This needs pg_dump, pg_restore and psql of PostgreSQL {at_least} or newer (found: "
            f"{have}): install them, on Debian with `apt-get install postgresql-client-{at_least}`."
        )
    folder = min(fitting, key=lambda folder: found[folder])
    return Programs(folder, found[folder], *_address())


def _address() -> tuple[str, str]:
    """The connection string and the password, from the settings. An open connection also
    lists parameters of psycopg's libpq that older programs refuse."""
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    given = connection.get_connection_params()
    password = given.pop("password", "")
    return make_conninfo(**{name: given[name] for name in known & given.keys()}), password


def _folders(encrypted: bool) -> Iterator[Path]:
    if settings.DATABASE_URL:
        on_path = shutil.which("pg_dump")
        if on_path:
            yield Path(on_path).parent
        for pattern in FOLDERS:
            yield from Path("/").glob(pattern.removeprefix("/"))
    # The embedded programs are built without TLS, so they would fail or send the data in the clear.
    if not encrypted:
        try:
            yield program("pg_dump").parent
        except EmbeddedError:
            return


def _version(folder: Path) -> int | None:
    """The major version of the programs in a folder; None if one is missing or does not run."""
    if not all((folder / name).is_file() for name in NEEDED):
        return None
    try:
        output = subprocess.run(
            [folder / "pg_dump", "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"\d+", output)
    return int(found[0]) if found else None


class Messages(threading.Thread):
    """Reads what a program started with `--verbose` writes to stderr, and reports its progress."""

    def __init__(
        self, stderr: IO[bytes], manifest: Manifest, step: str, progress: Progress
    ) -> None:
        super().__init__(daemon=True)
        self.stderr, self.manifest, self.step, self.progress = stderr, manifest, step, progress
        self.last: deque[str] = deque(maxlen=200)
        self.start()

    def run(self) -> None:
        done = current = 0
        for raw in self.stderr:
            line = raw.decode(errors="replace").rstrip()
            self.last.append(line)
            if begun := CONTENTS.search(line):
                table = begun[1].removeprefix(f"{self.manifest.schema}.")
                done, current = done + current, self.manifest.rows.get(table, 0)
                total = self.manifest.total
                self.progress(self.step, min(done, total - 1), total)

    def finish(self) -> None:
        """Report the end of a program that succeeded."""
        self.join()
        self.progress(self.step, self.manifest.total, self.manifest.total)

    def failure(self) -> str:
        """What explains the failure of the program, after its end."""
        self.join()
        return summarize_output("\n".join(self.last))

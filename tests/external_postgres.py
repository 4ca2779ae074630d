"""A PostgreSQL of this machine's packages, as an external server."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tests.processes import program
from tests.running import OTHER_USER, free_port

ROLE, PASSWORD = "game", "not-a-secret"


def server_programs() -> list[Path]:
    """The folders of the programs of each installed version, the oldest first."""
    debian = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not debian:
        return [Path(program("initdb", "postgresql")).parent]
    return sorted(debian, key=lambda folder: int(folder.parent.name))


@contextmanager
def running_server(programs: Path, folder: Path, port: int) -> Iterator[None]:
    """A fresh server in an empty folder, with Debian's usual access: over TCP with a password. Over
    the socket, which is in the folder, every role is trusted."""
    account: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        account = {"user": OTHER_USER.pw_uid, "group": OTHER_USER.pw_gid, "extra_groups": []}
        os.chown(folder, OTHER_USER.pw_uid, OTHER_USER.pw_gid)

    def run(name: str, *arguments: str) -> None:
        command = [str(programs / name), "-D", str(folder / "data"), *arguments]
        subprocess.run(
            command, cwd=folder, stdout=subprocess.DEVNULL, timeout=60, check=True, **account
        )

    access = ("--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256")
    run("initdb", "--no-sync", *access)
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -k {folder} -F"
    run("pg_ctl", "start", "--wait", "--silent", "-l", str(folder / "log"), "-o", options)
    try:
        yield
    finally:
        run("pg_ctl", "stop", "--mode=immediate", "--silent")


@dataclass(frozen=True, slots=True)
class External:
    """A server with a role that may do no more than own its databases."""

    folder: Path
    port: int

    def create(self, name: str) -> str:
        """Create an empty database in UTF-8; returns its URL."""
        command = sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0")
        self.administer(command.format(sql.Identifier(name), sql.Identifier(ROLE)))
        return f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def query(self, name: str, text: LiteralString) -> list[tuple[Any, ...]]:
        with psycopg.connect(**self.address, user=ROLE, dbname=name) as session:
            return session.execute(text).fetchall()

    def administer(self, command: sql.Composed) -> None:
        with psycopg.connect(**self.address, user="postgres", autocommit=True) as session:
            session.execute(command)

    @property
    def address(self) -> dict[str, Any]:
        return {"host": str(self.folder), "port": self.port}


@contextmanager
def external_postgres() -> Iterator[External]:
    """The oldest installed server, started in a temporary folder."""
    programs = server_programs()[0]
    server = External(Path(tempfile.mkdtemp(prefix="ilara-external-")), free_port())
    create_role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
    try:
        with running_server(programs, server.folder, server.port):
            server.administer(create_role.format(sql.Identifier(ROLE), sql.Literal(PASSWORD)))
            yield server
    finally:
        shutil.rmtree(server.folder)

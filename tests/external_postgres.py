"""A PostgreSQL of this machine's packages, as an external server."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from tests.running import free_port

ROLE, PASSWORD = "game", "not-a-secret"


@dataclass(frozen=True, slots=True)
class External:
    """A server with a role that may do no more than own its databases."""

    version: int
    port: int

    def create(self, name: str) -> str:
        """Create an empty database in UTF-8; returns its URL."""
        command = sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0")
        with psycopg.connect(self.url("postgres", "postgres"), autocommit=True) as session:
            session.execute(command.format(sql.Identifier(name), sql.Identifier(ROLE)))
        return self.url(f"{ROLE}:{PASSWORD}", name)

    def query(self, name: str, text: LiteralString) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url(ROLE, name), password=PASSWORD) as session:
            return session.execute(text).fetchall()

    def url(self, user: str, name: str) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{name}"


@contextmanager
def external_postgres() -> Iterator[External]:
    """The oldest server below /usr/lib/postgresql, started in a temporary folder."""
    folders = {
        int(folder.parent.name): folder
        for folder in Path("/usr/lib/postgresql").glob("*/bin")
        if (folder / "initdb").exists()
    }
    if not folders:
        message = "This test needs a PostgreSQL server: apt-get install postgresql"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    version, port = min(folders), free_port()
    place = Path(tempfile.mkdtemp(prefix="ilara-external-"))
    account: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody")
        account = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(place, user.pw_uid, user.pw_gid)

    def run(program: str, *arguments: str) -> None:
        command = [str(folders[version] / program), "-D", str(place / "data"), *arguments]
        subprocess.run(
            command, cwd=place, stdout=subprocess.DEVNULL, timeout=60, check=True, **account
        )

    try:
        run("initdb", "--username=postgres", "--auth=trust", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -k {place} -F"
        run("pg_ctl", "start", "--wait", "--silent", "-l", str(place / "log"), "-o", options)
        try:
            server = External(version, port)
            with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as session:
                session.execute(
                    sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                        sql.Identifier(ROLE), sql.Literal(PASSWORD)
                    )
                )
            yield server
        finally:
            run("pg_ctl", "stop", "--mode=immediate", "--silent")
    finally:
        shutil.rmtree(place)

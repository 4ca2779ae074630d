"""A database on a disk that is full: a tablespace on a small file system in memory."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from ilara_admin.runtime import embedded_postgres
from tests.api_client import EVENTS
from tests.homes import empty_home
from tests.own_database import DURABLE, running_game
from tests.running import after_label
from tests.used_homes import first_start, url_of

pytestmark = pytest.mark.slow

MEGABYTES = 48


@contextmanager
def small_disk(folder: Path, owner: int) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=0755", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("only root may mount, and not in every container")
    try:
        os.chown(folder, owner, owner)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(database: psycopg.Connection) -> None:
    database.execute("CREATE TABLE filler (text text)")
    for rows in (1000, 100, 7, 1):
        with suppress(psycopg.errors.DiskFull):
            while True:
                database.execute(
                    "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, %s)",
                    [rows],
                )


def test_full_disk__is_said_and_not_ready_until_there_is_space() -> None:
    with empty_home() as home:
        server = embedded_postgres.lease(home, DURABLE)
        with small_disk(home / "disk", os.stat(server.socket).st_uid) as disk:
            with psycopg.connect(url_of(server.socket), autocommit=True) as admin:
                admin.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
                admin.execute("CREATE DATABASE small TABLESPACE small")
            token = after_label("live public", first_start(home, "small"))
            with running_game(home, "small", token) as game:
                player_id = game.api.register()["id"]
                nobody = game.server.api(None)
                assert nobody.get("/readyz").status == 200
                event = {"player_id": player_id, "event_name": "x", "properties": {"a": "b" * 300}}
                with psycopg.connect(url_of(server.socket, "small"), autocommit=True) as database:
                    fill(database)
                    reply = game.api.post(f"{EVENTS}/batch", {"events": [event] * 1000})
                    assert (reply.status, reply.error["code"]) == (503, "INTERNAL_ERROR")
                    assert reply.error["message"].startswith("The database has no space left")
                    for _ in range(2):
                        reply = nobody.get("/readyz")
                        assert reply.status == 503
                        assert (reply.json["database"], reply.json["space"]) == (True, False)
                    assert game.api.get(f"/v1/players/players/{player_id}").status == 200
                    database.execute("DROP TABLE filler")
                reply = nobody.get("/readyz")
                assert (reply.status, reply.json["space"]) == (200, True)
                reply = game.api.post(f"{EVENTS}/batch", {"events": [event] * 10})
                assert reply.data["accepted"] == 10
            embedded_postgres.release(home)

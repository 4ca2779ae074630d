"""A server with a PostgreSQL of its own, which a test may stop, freeze or fill."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ilara_admin.runtime import embedded_postgres
from ilara_admin.runtime.postgresql.site import NAME
from tests.api_client import HttpApi
from tests.conftest import FAST
from tests.homes import postmaster
from tests.processes import families, stopped
from tests.serving import Gunicorn, gunicorns
from tests.used_homes import UsedHome, url_of

# Acknowledged data must survive a kill; other safety is skipped for speed.
DURABLE = {**FAST, "synchronous_commit": "on"}


@dataclass(frozen=True, slots=True)
class Game:
    """`url` is the database's; `log` is what the server writes to stderr."""

    home: Path
    url: str
    server: Gunicorn
    api: HttpApi
    log: Path

    def start_database(self) -> None:
        embedded_postgres.lease(self.home, DURABLE)

    def frozen_database(self) -> AbstractContextManager[None]:
        """PostgreSQL and its backends stand still."""
        return stopped(families(postmaster((self.home / "postgresql").resolve() / "data")))


@contextmanager
def own_game(used: UsedHome, **environ: str) -> Iterator[Game]:
    """A server on the PostgreSQL of a used home."""
    embedded_postgres.lease(used.home, DURABLE)
    with running_game(used.home, NAME, used.says("live public"), **environ) as game:
        yield game
    embedded_postgres.release(used.home)


@contextmanager
def running_game(home: Path, database: str, token: str, **environ: str) -> Iterator[Game]:
    """A server on a database of the running PostgreSQL of a home."""
    url = url_of(embedded_postgres.lease(home).socket, database)
    log = home / "web.log"
    with (
        log.open("w") as file,
        gunicorns(1, None, file, DATABASE_URL=url, **environ) as (server,),
    ):
        yield Game(home, url, server, server.api(token), log)

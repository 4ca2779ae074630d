"""A server with a PostgreSQL of its own, which a test may stop, freeze or fill."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from ilara_admin.runtime import embedded_postgres
from ilara_admin.runtime.postgresql.site import NAME, PORT
from tests.api_client import HttpApi
from tests.conftest import FAST
from tests.homes import empty_home, postmaster
from tests.processes import django_output, families, stopped
from tests.serving import Gunicorn, gunicorns

# Acknowledged data must survive a kill; other safety is skipped for speed.
DURABLE = {**FAST, "synchronous_commit": "on"}

# What `serve` does before it starts the web server.
FIRST_START = """
import django
django.setup()
from django.core.management import call_command
from ilara_admin.core.audit import Actor
from ilara_admin.bootstrap import first_start
from ilara_admin.models import Tier
call_command("migrate", verbosity=0)
call_command("partitions", stdout=open("/dev/null", "w"))
start = first_start(name="Game", slug="game", tier=Tier.ENTERPRISE, actor=Actor("Ada"))
print(start.tokens["live", "public"])
"""


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


def url_of(socket: Path, name: str = NAME) -> str:
    return f"postgresql://{NAME}@/{name}?{urlencode({'host': str(socket), 'port': PORT})}"


@contextmanager
def own_game(name: str = NAME, *, home: Path | None = None, **environ: str) -> Iterator[Game]:
    """A server on the database `name` of a new PostgreSQL, or of the one of `home`."""
    if home is None:
        with empty_home() as home:
            embedded_postgres.lease(home, DURABLE)
            with own_game(name, home=home, **environ) as game:
                yield game
            embedded_postgres.release(home)
        return
    url = url_of(embedded_postgres.lease(home).socket, name)
    token = django_output(FIRST_START, DATABASE_URL=url).strip()
    log = home / "web.log"
    with (
        log.open("w") as file,
        gunicorns(1, None, file, DATABASE_URL=url, **environ) as (server,),
    ):
        yield Game(home, url, server, server.api(token), log)

"""Homes after a first start. It is done once per test run; each test gets a copy."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from ilara_admin.runtime import embedded_postgres
from ilara_admin.runtime.postgresql.site import NAME, PORT, exclusive
from tests.conftest import FAST
from tests.homes import empty_home
from tests.processes import django_output
from tests.running import after_label

# What `serve` does before it starts its processes.
FIRST_START = """
import django
django.setup()
from contextlib import ExitStack
from ilara_admin.management.commands.serve import Command
with ExitStack() as stack:
    command = Command()
    command.prepare_database(stack)
    command.prepare_content(demo={demo}, tier=None)
"""


@dataclass(frozen=True, slots=True)
class UsedHome:
    """`printed` is what the first start printed, with the password and the keys."""

    home: Path
    printed: str

    def says(self, label: str) -> str:
        return after_label(label, self.printed)


type UsedHomes = Callable[..., AbstractContextManager[UsedHome]]


def url_of(socket: Path, name: str = NAME) -> str:
    return f"postgresql://{NAME}@/{name}?{urlencode({'host': str(socket), 'port': PORT})}"


def first_start(home: Path, database: str = NAME, *, demo: bool = False) -> str:
    """Fill a database of the running PostgreSQL of a home. Returns what it printed."""
    url = url_of(embedded_postgres.lease(home).socket, database)
    key = embedded_postgres.secret_key(home)
    return django_output(FIRST_START.format(demo=demo), DATABASE_URL=url, SECRET_KEY=key)


@contextmanager
def used_home(templates: Path, *, demo: bool = False) -> Iterator[UsedHome]:
    """A copy of the template, which is made if it is missing in this folder."""
    template = templates / ("sample-game.tar" if demo else "my-game.tar")
    with exclusive(template.with_suffix(".lock")):
        if not template.exists():
            _make(template, demo=demo)
    with empty_home() as home:
        # As root, this keeps the owners of the files.
        subprocess.run(["tar", "-xpf", template, "-C", home], check=True)
        yield UsedHome(home, template.with_suffix(".txt").read_text())


def _make(template: Path, *, demo: bool) -> None:
    with empty_home() as home:
        embedded_postgres.lease(home, FAST)
        template.with_suffix(".txt").write_text(first_start(home, demo=demo))
        embedded_postgres.release(home)
        draft = template.with_suffix(".draft")
        # A copy makes a new socket folder: this one may be a link to a folder elsewhere.
        others = "--exclude=./postgresql/socket"
        subprocess.run(["tar", others, "-cf", draft, "-C", home, "."], check=True)
        draft.rename(template)

"""Registering and patching players with this version of Ilara and with another one, whose checkout
has its own `.venv`.

Each version has its own database and web server. One client calls both in alternating rounds.
`user_name` is declared searchable where the version has searchable attributes. The table is that of
searchable_values.py, with the other version first.
`uv run python -m tests.benchmarks.versions CHECKOUT [rounds]`
"""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parents[2]


class Version(NamedTuple):
    pid: int  # of the web server
    postmaster: int
    key: str
    client: http.client.HTTPConnection


def main(checkout: Path, rounds: int) -> None:
    # Not at the top: the other version may lack these.
    from tests.benchmarks.searchable_values import (
        CALLS,
        KNOWN,
        WARM,
        Cost,
        kinds_of,
        known,
        print_table,
        register,
        send,
        threads_of,
    )

    costs: dict[tuple[str, bool], list[Cost]] = {}
    number = 0
    with running(checkout) as other, running(HERE) as this:
        sides = {False: other, True: this}
        kinds = {}
        for is_this, version in sides.items():
            replies = [
                send(version.client, version.key, register(known(n)), []).body for n in range(KNOWN)
            ]
            kinds[is_this] = kinds_of([json.loads(reply)["data"]["id"] for reply in replies])
        for turn in range(2 * rounds + 2):
            is_this = turn % 4 in (0, 3)
            version = sides[is_this]
            for kind, call_of in kinds[is_this].items():
                threads = [*threads_of(version.pid), *threads_of(version.postmaster)]
                for step in range(CALLS + WARM):
                    number += 1
                    cost = send(version.client, version.key, call_of(number), threads).cost
                    if turn > 1 and step >= WARM:
                        costs.setdefault((kind, is_this), []).append(cost)
    print_table(costs)


@contextmanager
def running(checkout: Path) -> Iterator[Version]:
    """This file as a program, with the modules and the Python of a checkout."""
    with subprocess.Popen(
        [checkout / ".venv/bin/python", "-P", __file__],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        details = json.loads(process.stdout.readline())
        client = http.client.HTTPConnection("127.0.0.1", details["port"])
        with closing(client):
            yield Version(details["pid"], details["postmaster"], details["key"], client)
        process.stdin.close()


def serve() -> None:
    """Run a web server until the input ends. Print what a client needs, as a line of JSON. Both
    versions run this."""
    from ilara_admin.bench import servers
    from ilara_admin.core.api_keys import api_key_create
    from ilara_admin.core.audit import Actor
    from ilara_admin.core.projects import environment_update, project_create
    from ilara_admin.models import Environment, KeyKind
    from ilara_admin.runtime import embedded_postgres

    actor = Actor("benchmark")
    project = project_create(name="Game", slug="game", actor=actor)
    environment = project.environments.get(slug="live")
    if hasattr(Environment, "searchable_attributes"):
        from players.values import values_fill

        environment_update(environment, {"searchable_attributes": ["user_name"]}, actor=actor)
        values_fill(environment.pk)
    key = api_key_create(environment=environment, kind=KeyKind.PUBLIC, name="k", actor=actor).token
    home = Path(os.environ["ILARA_HOME"])
    postgres = embedded_postgres.lease(home)
    postmaster = int((postgres.data / "postmaster.pid").read_text().split()[0])
    with servers.ilara("gunicorn", postgres, frozenset(os.sched_getaffinity(0))) as server:
        details = {"port": server.port, "pid": server.pid, "postmaster": postmaster, "key": key}
        print(json.dumps(details), flush=True)
        sys.stdin.read()
    embedded_postgres.release(home)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 10)
    else:
        from tests.benchmarks import database

        with database():
            serve()

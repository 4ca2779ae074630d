"""Registering and patching players with and without the indexes and triggers by which staff find
them by e-mail address, device id and declared attributes.

One client with one connection calls a web server. Rounds alternate, so that both see the same
machine. Printed are the time of a call and the CPU time of the web server and PostgreSQL, each of
the fastest fifth of the calls.
`uv run python -m tests.benchmarks.searchable_values [rounds]`
"""

import http.client
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import NamedTuple

import msgspec

from tests.benchmarks import database

CALLS = 50  # of each kind in a round
KNOWN = 50  # players
WARM = 10  # changing a trigger makes PostgreSQL plan again
INDEXES = {"player_email", "player_device_id"}
PLAYERS = "/v1/players/players"


class Call(NamedTuple):
    method: str
    path: str
    body: Mapping[str, object]


class Cost(NamedTuple):
    seconds: float
    cpu: float  # seconds


class Reply(NamedTuple):
    cost: Cost
    body: bytes


def main(rounds: int) -> None:
    from django.db import connection

    from ilara_admin.bench import servers
    from ilara_admin.core.api_keys import api_key_create
    from ilara_admin.core.audit import Actor
    from ilara_admin.core.projects import environment_update, project_create
    from ilara_admin.models import KeyKind
    from ilara_admin.runtime import embedded_postgres
    from players.models import Player, player_id_for
    from players.values import values_fill

    actor = Actor("benchmark")
    project = project_create(name="Game", slug="game", actor=actor)
    environment = project.environments.get(slug="live")
    environment_update(environment, {"searchable_attributes": ["user_name"]}, actor=actor)
    values_fill(environment.pk)
    key = api_key_create(environment=environment, kind=KeyKind.PUBLIC, name="k", actor=actor).token
    indexes = [index for index in Player._meta.indexes if index.name in INDEXES]
    assert len(indexes) == len(INDEXES)

    def switch(on: bool) -> None:
        with connection.schema_editor() as editor:
            for index in indexes:
                (editor.add_index if on else editor.remove_index)(Player, index)
            editor.execute(f"ALTER TABLE player {'ENABLE' if on else 'DISABLE'} TRIGGER USER")

    kinds = kinds_of([player_id_for(environment.namespace, known(n)) for n in range(KNOWN)])
    costs: dict[tuple[str, bool], list[Cost]] = {}
    number, is_on = 0, True
    postgres = embedded_postgres.lease(Path(os.environ["ILARA_HOME"]))
    postmaster = int((postgres.data / "postmaster.pid").read_text().split()[0])
    cores = frozenset(os.sched_getaffinity(0))
    with (
        servers.ilara("gunicorn", postgres, cores) as server,
        closing(http.client.HTTPConnection(servers.HOST, server.port)) as client,
    ):
        for turn in range(2 * rounds + 2):
            if is_on != (turn % 4 in (0, 3)):
                is_on = not is_on
                switch(is_on)
            for kind, call_of in kinds.items():
                threads = [*threads_of(server.pid), *threads_of(postmaster)]
                for step in range(CALLS + WARM):
                    number += 1
                    cost = send(client, key, call_of(number), threads).cost
                    if turn > 1 and step >= WARM:
                        costs.setdefault((kind, is_on), []).append(cost)
    embedded_postgres.release(Path(os.environ["ILARA_HOME"]))
    print_table(costs)


def known(number: int) -> str:
    """The external id of a player that the benchmark calls again and again."""
    return f"known-{number % KNOWN}"


def kinds_of(players: Sequence[object]) -> dict[str, Callable[[int], Call]]:
    """The calls of each kind, by their number. `players` are the ids of the known players."""

    def patch(number: int, fields: Mapping[str, object]) -> Call:
        return Call("PATCH", f"{PLAYERS}/{players[number % KNOWN]}", fields)

    return {
        "register, known": lambda n: register(known(n)),
        "register, known, new level": lambda n: register(known(n), attributes={"level": n}),
        "register, new": lambda n: register(f"new-{n}"),
        "register, new, all values": lambda n: register(
            f"all-{n}",
            email=f"Player{n}@example.com",
            device_id=f"device-{n}",
            attributes={"level": 1, "user_name": f"Player {n}"},
        ),
        "patch, new level": lambda n: patch(n, {"attributes": {"level": n}}),
        "patch, new e-mail": lambda n: patch(n, {"email": f"other{n}@example.com"}),
        "patch, new user name": lambda n: patch(n, {"attributes": {"user_name": f"Name {n}"}}),
    }


def register(name: str, **fields: object) -> Call:
    attributes = {"level": 45, "country": "DE", "is_vip": False}
    return Call("POST", PLAYERS, {"external_id": name, "attributes": attributes, **fields})


def threads_of(pid: int) -> list[Path]:
    """The files with the CPU time of each thread of the process and its descendants."""
    from ilara_admin.bench.processes import family

    return [
        thread / "schedstat"
        for each in family(pid)
        for thread in Path(f"/proc/{each}/task").iterdir()
    ]


def send(client: http.client.HTTPConnection, key: str, call: Call, threads: list[Path]) -> Reply:
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    body = msgspec.json.encode(call.body)
    before, started = cpu(threads), perf_counter()
    client.request(call.method, call.path, body, headers)
    response = client.getresponse()
    content = response.read()
    seconds = perf_counter() - started
    assert response.status in (200, 201), response.status
    used = sum(after - before[thread] for thread, after in cpu(threads).items())
    return Reply(Cost(seconds, used / 1e9), content)


def cpu(threads: list[Path]) -> dict[Path, int]:
    """Nanoseconds; some threads, as those of autovacuum, end."""
    found = {}
    for thread in threads:
        with suppress(OSError):
            found[thread] = int(thread.read_text().split()[0])
    return found


def low_of(costs: list[Cost]) -> Cost:
    """What the fastest fifth of the calls did not exceed."""
    return Cost(*(quantiles(each, n=5)[0] for each in zip(*costs, strict=True)))


def print_table(costs: Mapping[tuple[str, bool], list[Cost]]) -> None:
    """By the kind of call and by whether it is the second of the two things to compare."""
    kinds = dict.fromkeys(kind for kind, _ in costs)
    print(f"{'':<28}{'time of a call':>32}{'CPU of all processes':>32}")
    for kind in kinds:
        print(f"{kind:<28}{compared([low_of(costs[kind, state]) for state in (False, True)])}")
    for part in ("register", "patch"):
        lows = {
            state: [low_of(costs[kind, state]) for kind in kinds if kind.startswith(part)]
            for state in (False, True)
        }
        sums = [
            Cost(sum(each.seconds for each in low), sum(each.cpu for each in low))
            for low in lows.values()
        ]
        print(f"{part + ', all kinds':<28}{compared(sums)}")


def compared(costs: list[Cost]) -> str:
    return "".join(
        f"{without * 1e6:10.0f} -> {kept * 1e6:5.0f} µs{kept / without:8.3f} x"
        for without, kept in zip(*costs, strict=True)
    )


if __name__ == "__main__":
    with database():
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)

"""Registering and patching players with and without the indexes and triggers by which staff find
them by e-mail address, device id and declared attributes.

Rounds alternate, so that both see the same machine. The fastest fifth of the calls, in CPU time of
this process and of PostgreSQL's.
`uv run python -m tests.benchmarks.searchable_values [rounds]`
"""

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from time import process_time

import msgspec

from tests.benchmarks import database

CALLS = 50  # of each kind in a round
WARM = 10  # changing a trigger makes PostgreSQL plan again
INDEXES = {"player_email", "player_device_id"}


def main(rounds: int) -> None:
    from django.db import connection
    from django.test import RequestFactory

    from ilara_admin.api import dispatch, key_usage
    from ilara_admin.core.api_keys import api_key_create
    from ilara_admin.core.audit import Actor
    from ilara_admin.core.projects import environment_update, project_create
    from ilara_admin.models import KeyKind
    from players.models import Player, player_id_for
    from players.values import values_fill

    actor = Actor("benchmark")
    project = project_create(name="Game", slug="game", actor=actor)
    environment = project.environments.get(slug="live")
    environment_update(environment, {"searchable_attributes": ["user_name"]}, actor=actor)
    values_fill(environment.pk)
    kind = KeyKind.PUBLIC
    key = api_key_create(environment=environment, kind=kind, name="k", actor=actor).token
    requests = RequestFactory(headers={"X-API-Key": key})
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()

    def cpu() -> float:
        own = Path(f"/proc/{pid}/schedstat").read_text().split()[0]
        return process_time() + int(own) / 1e9

    def call(method: str, path: str, body: object) -> None:
        request = requests.generic(method, path, msgspec.json.encode(body), "application/json")
        response = dispatch.answer(request)
        assert response.status_code in (200, 201), response

    def register(name: str, **fields: object) -> None:
        attributes = {"level": 45, "country": "DE", "is_vip": False}
        body = {"external_id": name, "attributes": attributes, **fields}
        call("POST", "/v1/players/players", body)

    def patch(number: int, **fields: object) -> None:
        player = player_id_for(environment.namespace, f"known-{number % 50}")
        call("PATCH", f"/v1/players/players/{player}", fields)

    kinds: dict[str, Callable[[int], None]] = {
        "register, known": lambda n: register(f"known-{n % 50}"),
        "register, known, new level": lambda n: register(
            f"known-{n % 50}", attributes={"level": n}
        ),
        "register, new": lambda n: register(f"new-{n}"),
        "register, new, all values": lambda n: register(
            f"all-{n}",
            email=f"Player{n}@example.com",
            device_id=f"device-{n}",
            attributes={"level": 1, "user_name": f"Player {n}"},
        ),
        "patch, new level": lambda n: patch(n, attributes={"level": n}),
        "patch, new e-mail": lambda n: patch(n, email=f"other{n}@example.com"),
        "patch, new user name": lambda n: patch(n, attributes={"user_name": f"Name {n}"}),
    }
    times: dict[tuple[str, bool], list[float]] = {}
    indexes = [index for index in Player._meta.indexes if index.name in INDEXES]
    assert len(indexes) == len(INDEXES)

    def switch(on: bool) -> None:
        with connection.schema_editor() as editor:
            for index in indexes:
                (editor.add_index if on else editor.remove_index)(Player, index)
            editor.execute(f"ALTER TABLE player {'ENABLE' if on else 'DISABLE'} TRIGGER USER")

    number, is_on = 0, True
    gc.disable()
    for turn in range(2 * rounds):
        if is_on != (turn % 4 in (0, 3)):
            is_on = not is_on
            switch(is_on)
        for kind_name, act in kinds.items():
            for step in range(CALLS + WARM):
                number += 1
                started = cpu()
                act(number)
                if turn > 1 and step >= WARM:
                    times.setdefault((kind_name, is_on), []).append(cpu() - started)
    for kind_name in kinds:
        without, kept = (quantiles(times[kind_name, state], n=5)[0] for state in (False, True))
        print(
            f"{kind_name:<28}{without * 1e6:7.0f} -> {kept * 1e6:5.0f} µs"
            f"{kept / without:8.3f} times"
        )
    key_usage.flush()


if __name__ == "__main__":
    with database():
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)

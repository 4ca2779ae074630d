"""All flags of a player in one call, beside calls that run the same one query and nothing else.

`uv run python -m tests.benchmarks.flags [rounds]`, on a throw-away PostgreSQL of its own. Of 100
flags 70 are constant, 20 are splits and 10 ask for a segment. Everything runs in this process and
through the API's own layer. The ratios tell; the times depend on the machine.
"""

import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

from tests.benchmarks import database

ROUNDS = 2_000
WARM_UP = 200


def documents() -> dict[str, Any]:
    from flags.engine.bucketing import reweight
    from flags.engine.document import Rule, boolean_document, decode_document

    found: dict[str, Any] = {}
    everybody = (Rule(id="r", variant="enabled"),)
    for number in range(70):
        rules = everybody if number % 2 else ()
        found[f"constant-{number}"] = boolean_document(enabled=number % 3 > 0, rules=rules)
    slices = reweight((), {"a": 50_000, "b": 25_000, "c": 25_000})
    for number in range(20):
        found[f"split-{number}"] = decode_document(
            {
                "value_type": "string",
                "variants": [{"key": key, "value": key * 10} for key in "abc"],
                "default": "a",
                "off": "a",
                "enabled": True,
                "rules": [
                    {
                        "id": "r",
                        "split": [
                            {"variant": part.variant, "start": part.start, "end": part.end}
                            for part in slices
                        ],
                        "rollout": 80_000,
                    }
                ],
            }
        )
    for number in range(10):
        rules = (Rule(id="r", segment="beta-testers", variant="enabled", rollout=50_000),)
        found[f"segment-{number}"] = boolean_document(enabled=True, rules=rules)
    return found


def main(rounds: int) -> None:
    import msgspec
    from django.db import connection
    from django.http import HttpRequest, HttpResponse
    from django.test import RequestFactory
    from django.test.utils import CaptureQueriesContext

    from flags import schemas, usage
    from flags.api import find_evaluation_context
    from flags.models import Flag
    from flags.services import flag_create
    from ilara_admin.api import dispatch, key_usage
    from ilara_admin.api.endpoint import endpoint
    from ilara_admin.core.api_keys import api_key_create
    from ilara_admin.core.audit import Actor
    from ilara_admin.core.projects import project_create
    from ilara_admin.models import KeyKind
    from ilara_admin.starter import environment_start

    actor = Actor("benchmark")
    project = project_create(name="Game", slug="game", actor=actor)
    environment = project.environments.get(slug="live")
    environment_start(environment, actor)
    Flag.objects.all().delete()
    for key, document in documents().items():
        flag_create(environment=environment, key=key, document=document, actor=actor)
    new = api_key_create(environment=environment, kind=KeyKind.PUBLIC, name="k", actor=actor)
    requests = RequestFactory(headers={"X-API-Key": new.token})

    def post(path: str, body: Any) -> HttpRequest:
        return requests.generic("POST", path, msgspec.json.encode(body), "application/json")

    attributes = {"level": 45, "country": "DE", "is_vip": False, "guild": {"name": "x", "size": 9}}
    player = {"external_id": "player_123", "attributes": attributes}
    reply = dispatch.answer(post("/v1/players/players", player))
    assert isinstance(reply, HttpResponse)
    player_id = msgspec.json.decode(reply.content)["data"]["id"]

    @endpoint("POST", body=schemas.FlagEvaluate, basic=True)
    def same_query(request: Any, body: Any) -> HttpResponse:
        import uuid

        find_evaluation_context(request, uuid.UUID(body.player_id), frozenset(), None)
        return dispatch.respond({})

    def ask(path: str, body: Any, answer: Callable[[HttpRequest], Any]) -> Callable[[], Any]:
        return lambda: answer(post(path, body))

    body = {"player_id": player_id}
    all_flags = "/v1/flags/flags/evaluate"
    with CaptureQueriesContext(connection) as queries:
        bulk = dispatch.answer(post(all_flags, body))
    assert isinstance(bulk, HttpResponse)
    assert len(msgspec.json.decode(bulk.content)["data"]["flags"]) == 100
    statement = queries[-1]["sql"]
    print(f"all flags: {len(queries)} query, {len(bulk.content):,} bytes")

    from ilara_admin.api import environment_cache
    from ilara_admin.core import db

    version = environment_cache.of_environment(environment.pk).version
    params = [environment.pk, version, None, player_id]
    nothing_else = dispatch.route(same_query)
    context = {"context": {"targetingKey": "player_123"}}
    acts = {
        "the query alone": lambda: db.fetch_all(statement, params),
        "a call with the query, rows read": ask("/", body, lambda r: nothing_else(r)),
        "one flag, constant": ask("/v1/flags/flags/constant-1/evaluate", body, dispatch.answer),
        "one flag, on a segment": ask("/v1/flags/flags/segment-1/evaluate", body, dispatch.answer),
        "all flags": ask(all_flags, body, dispatch.answer),
        "all flags, OFREP": ask("/ofrep/v1/evaluate/flags", context, dispatch.answer),
    }
    for act in acts.values():
        for _ in range(WARM_UP):
            act()
    times: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(rounds):  # in turn, so that a busy moment meets all of them
        for name, act in acts.items():
            started = perf_counter()
            act()
            times[name].append(perf_counter() - started)
    for counted in (usage, key_usage):
        counted.flush()  # what is left would be written when the database is gone
    base = median(times["a call with the query, rows read"])
    for name, taken in times.items():
        middle = median(taken)
        print(f"{name:<34} {middle * 1e6:8.0f} µs   {middle / base:5.2f} times")


if __name__ == "__main__":
    with database():
        main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)

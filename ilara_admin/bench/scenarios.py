"""What is measured: calls of the API and of the limit views, and the flags that they meet."""

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from flags.engine.bucketing import reweight
from flags.engine.document import FlagDocument, Rule, ValueType, Variant, boolean_document
from flags.models import Experiment, ExperimentKind, ExperimentState, Flag
from flags.services import flag_create
from ilara_admin.bench.drivers import Choices, HttpCall
from ilara_admin.bench.load import ACTOR
from ilara_admin.core.changes import bump_config_version
from ilara_admin.models import Environment
from players.models import player_id_for

BATCH = 500
STREAM_BATCH = 20
SAMPLED_PLAYERS = 1_000
SELECT, INSERT, COPY = "select", "insert", "copy"
FLAG = "flag-0"  # on a segment
MEASURED, MEASURED_FLAG = "evaluate-measured", "measured"  # like FLAG, with an experiment
ATTRIBUTES = {"level": 45, "country": "DE", "is_vip": False}
PROPERTIES = {"level": 12, "score": 12_500, "item": "sword_01", "first": True}
ONE_PLAYER = {"player_id": "@player"}
EVENT = {**ONE_PLAYER, "event_name": "level_complete", "properties": PROPERTIES}
EVENT_WITH_ID = {**EVENT, "event_id": "@new"}


class Scenario(NamedTuple):
    call: HttpCall
    limit: str = ""  # the limit view that it is compared with
    rows: int = 1  # of a request
    fresh: bool = False  # on a server that has just started
    stream: HttpCall | None = None  # opened by READERS clients, which count its events


def api_scenarios(public: str, secret: str) -> dict[str, Scenario]:
    """By name, in the order of their limits. The keys are those of the environment."""
    headers = {"X-API-Key": public, "Content-Type": "application/json"}

    def post(path: str, body: object) -> HttpCall:
        return HttpCall("POST", path, json.dumps(body), headers)

    flags, ofrep = "/v1/flags/flags", "/ofrep/v1/evaluate/flags"
    players, events = "/v1/players/players", "/v1/events/events"
    openfeature = {"context": {"targetingKey": "@external"}}
    new, known = ({"external_id": name, "attributes": ATTRIBUTES} for name in ("@new", "@external"))
    purchase = {"amount": 4.99, "transaction_id": "@new"}
    return {
        "evaluate": Scenario(post(f"{flags}/{FLAG}/evaluate", ONE_PLAYER), SELECT),
        MEASURED: Scenario(post(f"{flags}/{MEASURED_FLAG}/evaluate", ONE_PLAYER), SELECT),
        "evaluate-all": Scenario(post(f"{flags}/evaluate", ONE_PLAYER), SELECT),
        "ofrep": Scenario(post(f"{ofrep}/{FLAG}", openfeature), SELECT),
        "ofrep-all": Scenario(post(ofrep, openfeature), SELECT),
        "get": Scenario(HttpCall("GET", f"{players}/@player", headers=headers), SELECT),
        "segment": Scenario(
            post("/v1/segments/segments/beta-testers/evaluate", ONE_PLAYER), SELECT
        ),
        "track": Scenario(post(events, EVENT), INSERT, fresh=True),
        "track-ids": Scenario(post(events, EVENT_WITH_ID), INSERT, fresh=True),
        "register": Scenario(post(players, new), INSERT),
        "register-known": Scenario(post(players, known), INSERT),
        "purchase": Scenario(post(f"{players}/@player/purchase", purchase), INSERT),
        "batch": Scenario(post(f"{events}/batch", _batch(BATCH)), COPY, BATCH),
        "stream": Scenario(
            post(f"{events}/batch", _batch(STREAM_BATCH)),
            rows=STREAM_BATCH,
            stream=HttpCall("GET", f"{events}/stream", headers={"X-API-Key": secret}),
        ),
    }


def limit_scenarios(environment: Environment, choices: Choices) -> dict[str, Scenario]:
    """The limit views get the same bodies as the API, except for COPY, which gets its format."""
    headers = {"Content-Type": "application/json"}
    now = datetime.now(UTC).isoformat()
    properties = json.dumps(PROPERTIES)
    rows = (
        (random.choice(choices["player"]), now, environment.pk, f"copy-{number}", "level_complete",
         properties, now)
        for number in range(BATCH)
    )  # fmt: skip
    copied = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    return {
        SELECT: Scenario(HttpCall("POST", "/select", json.dumps(ONE_PLAYER), headers)),
        INSERT: Scenario(HttpCall("POST", "/insert", json.dumps(EVENT_WITH_ID), headers)),
        COPY: Scenario(HttpCall("POST", "/copy", copied), rows=BATCH),
    }


def sampled_choices(environment: Environment, players: int) -> Choices:
    """Random ones of the players that `load` made."""
    numbers = random.choices(range(1, players + 1), k=SAMPLED_PLAYERS)
    names = [f"player_{number}" for number in numbers]
    return {
        "external": names,
        "player": [str(player_id_for(environment.namespace, name)) for name in names],
    }


def _batch(size: int) -> Mapping[str, Any]:
    return {"events": [EVENT_WITH_ID] * size}


# --- Flags ----------------------------------------------------------------------------------------


def flags_fill(environment: Environment, count: int) -> None:
    """Let the environment have this number of flags, besides those of its start."""
    for number in range(
        Flag.objects.of(environment).filter(key__startswith="flag-").count(), count
    ):
        flag_create(
            environment=environment, key=f"flag-{number}", document=_document(number), actor=ACTOR
        )


def measured_flag_create(environment: Environment) -> None:
    """The flag of MEASURED. Other calls that evaluate all flags then measure it too."""
    flag = flag_create(
        environment=environment, key=MEASURED_FLAG, document=_document(0), actor=ACTOR
    )
    now = datetime.now(UTC)
    Experiment.objects.create(
        environment=environment, flag=flag, rule_id="r", key=MEASURED_FLAG, name="Measured",
        kind=ExperimentKind.EXPERIMENT, state=ExperimentState.RUNNING, control="disabled",
        phase=1, phase_at=now, started_at=now,
    )  # fmt: skip
    bump_config_version(environment)


def _document(number: int) -> FlagDocument:
    """Of ten, seven are the same for everyone, two are splits, one is on a segment."""
    match number % 10:
        case 0:
            rule = Rule(id="r", segment="beta-testers", variant="enabled", rollout=50_000)
        case 1 | 2:
            split = reweight((), {"a": 50_000, "b": 25_000, "c": 25_000})
            return FlagDocument(
                value_type=ValueType.STRING,
                variants=tuple(Variant(key=key, value=key * 10) for key in "abc"),
                default="a",
                off="a",
                enabled=True,
                rules=(Rule(id="r", split=split, rollout=80_000),),
            )
        case _:
            rule = Rule(id="r", variant="enabled")
    return boolean_document(enabled=number % 3 < 2, rules=(rule,))

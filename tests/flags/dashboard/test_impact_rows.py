"""The database and Python decide alike which players a draft switches."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from flags.dashboard import impact_rows
from flags.engine.document import (
    EVERYBODY,
    FlagDocument,
    Prerequisite,
    Ramp,
    Rule,
    boolean_document,
)
from flags.models import Flag
from flags.overrides import override_set
from flags.services import flag_create
from ilara_admin.models import Environment
from players.models import Player
from segments.language.sql import columns_sql
from segments.lists.services import ids_add
from segments.models import Segment
from segments.services import segment_create
from tests.api_client import EVENTS, Api
from tests.factories import ACTOR
from tests.flags.dashboard.test_impact import NOW, flag, half, of, players
from tests.flags.dashboard.test_impact_job import counts

__all__ = ["flag", "players"]  # fixtures
BUYERS = {"event": "buy", "operator": ">=", "value": 1, "within": "7d"}
PATTERN = {"field": "external_id", "operator": "matches", "value": "^p-[1-4]"}
MATCHED = {
    "operator": "OR",
    "conditions": [
        {"field": "external_id", "operator": "starts_with", "value": f"p-{digit}"}
        for digit in range(1, 5)
    ],
}


def all_of(*conditions: dict[str, Any] | tuple[str, str, Any]) -> dict[str, Any]:
    named = [
        each
        if isinstance(each, dict)
        else dict(zip(("field", "operator", "value"), each, strict=True))
        for each in conditions
    ]
    return {"operator": "AND", "conditions": named}


def rules(*conditions: dict[str, Any]) -> FlagDocument:
    return boolean_document(
        enabled=True,
        rules=tuple(
            Rule(id=f"r{number}", variant="enabled", rollout=70_000, conditions=each)
            for number, each in enumerate(conditions)
        ),
    )


def decide_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        impact_rows, "columns_sql", lambda *args: replace(columns_sql(*args), exact=False)
    )


@pytest.fixture
def segments(environment: Environment, players: list[Player]) -> None:
    for key, rule in {
        "high": all_of(("level", ">=", 20)),
        "buyers": all_of(BUYERS),
        "both": all_of(("segment", "in", ["high", "buyers"]), ("lifecycle_stage", "!=", "churned")),
    }.items():
        segment_create(environment=environment, key=key, name=key, rule=rule, actor=ACTOR)
    high = Segment.objects.get(key="high")
    ids_add(high, ["p-1", "p-2"], excluded=False, actor=ACTOR)
    ids_add(high, ["p-30", "p-31"], excluded=True, actor=ACTOR)


RAMP = Ramp(from_=0, to=EVERYBODY, start=NOW - timedelta(days=1), end=NOW + timedelta(days=1))
RAMPED = boolean_document(
    enabled=True,
    rules=(Rule(id="m", variant="enabled", ramp=RAMP, conditions=all_of(("level", "<", 40))),),
)
DRAFTS = {
    "a rule that did not match": rules(all_of(("level", ">=", 30))),
    "several rules": rules(all_of(("level", "<", 10)), all_of(("is_payer", "==", True))),
    "a segment with lists": half(90_000, segment="high"),
    "a segment that names segments": half(90_000, segment="both"),
    "a segment and conditions": half(90_000, segment="high", conditions=all_of(BUYERS)),
    "events": rules(all_of(BUYERS), all_of(("level", "<", 30), {**BUYERS, "operator": "<="})),
    "an unknown segment": half(90_000, segment="nowhere"),
    "a schedule": RAMPED,
    "turned off": msgspec.structs.replace(half(), enabled=False),
    "no rules": boolean_document(enabled=True),
}


@pytest.fixture
def world(flag: Flag, players: list[Player], segments: None, public_api: Api) -> Flag:
    """The flag needs another one, others depend on it, and some players have overrides."""
    environment = flag.environment
    for number, player in enumerate(players[::3]):
        for _ in range(1 + number % 2):
            body = {"player_id": str(player.pk), "event_name": "buy"}
            assert public_api.post(EVENTS, body).status == 201
    for key, needed, document in (
        ("needs-f", "f", half(60_000, segment="both")),
        ("needs-more", "needs-f", half()),
    ):
        needs = (Prerequisite(needed, ("enabled",)),)
        document = msgspec.structs.replace(document, prerequisites=needs)
        flag_create(environment=environment, key=key, document=document, actor=ACTOR)
    flag_create(environment=environment, key="first", document=half(segment="high"), actor=ACTOR)
    override_set(flag, players[5], "enabled", actor=ACTOR)
    override_set(flag, players[6], "disabled", actor=ACTOR)
    return flag


@pytest.mark.parametrize("name", DRAFTS)
def test_database_and_python__find_the_same_impact(
    name: str, world: Flag, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = msgspec.structs.replace(
        DRAFTS[name], prerequisites=(Prerequisite("first", ("enabled",)),)
    )
    for each in (DRAFTS[name], draft):
        with monkeypatch.context() as patch:
            by_database = of(world, each)
            decide_in_python(patch)
            in_python = of(world, each)
        assert counts(in_python) == counts(by_database)
        assert in_python.examples == by_database.examples
        assert by_database.all.players == 60


def test_flags_with_a_pattern__are_decided_in_python(world: Flag) -> None:
    """RE2's syntax differs from PostgreSQL's."""
    found = of(world, half(EVERYBODY, conditions=all_of(PATTERN)))
    assert {each.external_id for each in found.examples if each.after == "enabled"}
    assert found.all.switches == of(world, half(EVERYBODY, conditions=all_of(MATCHED))).all.switches

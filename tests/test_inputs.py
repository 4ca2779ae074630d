"""What ordinary runtimes write, through every call that takes it and both evaluators of rules."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from ilara_admin.models import Environment
from players.models import Player
from segments.language.compiler import Subject, compile_rule
from segments.language.parser import parse
from segments.sizes import count, rule_query
from tests.api_client import EVENTS, FLAGS, PLAYERS, Api
from tests.factories import make_player
from tests.inputs import inputs

OFREP = "/ofrep/v1/evaluate/flags"


def holds(player: Player, *conditions: tuple[str, str, Any]) -> bool:
    """Whether a player meets all conditions, in Python and in SQL."""
    rule = parse(
        {
            "operator": "AND",
            "conditions": [
                {"field": field, "operator": operator, "value": value}
                for field, operator, value in conditions
            ],
        }
    )
    now = timezone.now()
    in_python = compile_rule(rule, {})(Subject(player.attributes, {}, now))
    in_sql = count(rule_query(player.environment, rule, now)) == 1
    assert in_python is in_sql, (conditions, player.attributes)
    return in_python


# --- Times ----------------------------------------------------------------------------------------


def test_times__are_attributes_that_rules_read(secret_api: Api, environment: Environment) -> None:
    examples = inputs("times")
    attributes = {f"t{number}": example["text"] for number, example in enumerate(examples)}
    player_id = secret_api.register(attributes=attributes)["id"]
    path = f"{PLAYERS}/{player_id}"
    assert secret_api.patch(path, {"attributes": attributes}).data["attributes"] == attributes
    assert secret_api.get(path).data["attributes"] == attributes
    player = Player.objects.get(pk=player_id)
    for number, example in enumerate(examples):
        field, second = f"t{number}", timedelta(seconds=1)
        if example["instant"] is None:
            assert not holds(player, (field, "after", "0001-01-01T00:00:00Z")), example
            continue
        at = datetime.fromisoformat(example["instant"])
        if datetime(2, 1, 1, tzinfo=UTC) < at < datetime(9998, 1, 1, tzinfo=UTC):
            span = [(at - second).isoformat(), (at + second).isoformat()]
            assert holds(player, (field, "after", span[0]), (field, "before", span[1])), example


def test_starts_of_sessions__are_times_of_any_runtime(
    environment: Environment, public_api: Api
) -> None:
    player = make_player(environment)
    examples = [item for item in inputs("times") if (item["instant"] or "").startswith("20")]
    assert len(examples) >= 90
    for number, example in enumerate(examples):
        body = {"session_id": f"s{number}", "started_at": example["text"]}
        reply = public_api.post(f"{PLAYERS}/{player.id}/session", body)
        assert reply.status == 200, example
    stored = dict(player.sessions.values_list("session_id", "started_at"))
    for number, example in enumerate(examples):
        assert stored[f"s{number}"] == datetime.fromisoformat(example["instant"]), example


# --- Numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", inputs("numbers"), ids=lambda given: given["text"])
def test_number__is_accepted_or_named_by_every_call(
    given: dict[str, Any], environment: Environment, public_api: Api
) -> None:
    player = make_player(environment)
    number, target = given["text"].encode(), f'"player_id":"{player.id}"'.encode()
    event = b'{%b,"event_name":"e","properties":{"a":%b}}' % (target, number)
    good = b'{%b,"event_name":"e"}' % target
    context = b'{%b,"context":{"a":%b}}' % (target, number)
    ofrep = b'{"context":{"targetingKey":"%b","a":%b}}' % (str(player.id).encode(), number)
    fine = given["value"] is not None
    register = b'{"external_id":"player_123","attributes":{"a":%b}}' % number
    for method, path, body, field in [
        ("POST", PLAYERS, register, "attributes.a"),
        ("PATCH", f"{PLAYERS}/{player.id}", b'{"attributes":{"a":%b}}' % number, "attributes.a"),
        ("POST", EVENTS, event, "properties.a"),
        ("POST", f"{FLAGS}/evaluate", context, "context.a"),
    ]:
        reply = public_api.request(method, path, body)
        assert (reply.status < 300) is fine, (path, reply.json)
        assert fine or reply.error["details"][0]["field"] == field
    batch = public_api.post(f"{EVENTS}/batch", b'{"events":[%b,%b]}' % (good, event)).data
    assert (batch["accepted"], len(batch["rejected"])) == ((2, 0) if fine else (1, 1))
    if not fine:
        item = batch["rejected"][0]
        assert (item["index"], item["field"]) == (1, "properties.a")
    many = public_api.post(OFREP, ofrep)
    assert many.status == (200 if fine else 400)
    assert fine or many.json["errorCode"] == "INVALID_CONTEXT"
    if fine:
        player.refresh_from_db()
        assert holds(player, ("a", "==", given["value"]), ("a", ">=", given["value"]))


# --- Nulls, empty text, and names -----------------------------------------------------------------


@pytest.mark.parametrize(
    "given", inputs("nulls"), ids=lambda given: f"{given['by']}: {given['call']}"
)
def test_nulls_and_names__count_as_their_runtime_means_them(
    given: dict[str, Any], environment: Environment, secret_api: Api
) -> None:
    attributes = {"level": 5}
    email = "p@example.com"
    if given["status"] == 201 and given["call"] == "register":
        player_id = ""
    else:
        player_id = str(
            make_player(environment, "p", device_id="d", email=email, attributes=attributes).id
        )
    one = f"{PLAYERS}/{player_id}"
    body = dict(given["body"])
    if given["call"] in ("track", "evaluate"):
        body["player_id"] = player_id
    if given["call"] == "batch":
        body["events"] = [{**event, "player_id": player_id} for event in body["events"]]
    method, path = {
        "register": ("POST", PLAYERS),
        "patch": ("PATCH", one),
        "track": ("POST", EVENTS),
        "batch": ("POST", f"{EVENTS}/batch"),
        "session": ("POST", f"{one}/session"),
        "purchase": ("POST", f"{one}/purchase"),
        "evaluate": ("POST", f"{FLAGS}/new_tutorial/evaluate"),
    }[given["call"]]
    reply = secret_api.request(method, path, body)
    assert reply.status == given["status"], reply.json
    assert reply.headers.get("X-Ilara-Ignored") == given.get("ignored")
    if "field" in given:
        assert reply.error["details"][0]["field"] == given["field"]
    else:
        assert {name: reply.data[name] for name in given["reply"]} == given["reply"]

"""OFREP: the same decisions as OpenFeature evaluations."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flags.engine.bucketing import gate
from flags.engine.document import (
    FlagDocument,
    Prerequisite,
    Ramp,
    Rule,
    ValueType,
    Variant,
    boolean_document,
)
from flags.models import Flag
from flags.overrides import override_set
from flags.services import flag_create, flag_set_archived, flag_set_enabled
from ilara_admin.api import environment_cache
from ilara_admin.core.api_keys import api_key_revoke
from ilara_admin.core.projects import project_update
from ilara_admin.models import Environment, KeyKind, Tier
from players.models import Player, player_id_for
from tests.api_client import FLAGS, PLAYERS, Api, Reply
from tests.factories import ACTOR, make_constant_flag, make_key, make_player

ALL = "/ofrep/v1/evaluate/flags"
INPUTS = json.loads((Path(__file__).parents[2] / "inputs" / "ofrep.json").read_text())


def ask(api: Api, key: str, **context: Any) -> Reply:
    return api.post(f"{ALL}/{key}", {"context": {"targetingKey": "player_123", **context}})


def make(environment: Environment, key: str, *rules: Rule, enabled: bool = True) -> Flag:
    document = boolean_document(enabled=enabled, rules=rules)
    return flag_create(environment=environment, key=key, document=document, actor=ACTOR)


FAR, FARTHER = (datetime(year, 1, 1, tzinfo=UTC) for year in (2090, 2091))
HALF = Rule(id="half", variant="enabled", rollout=50_000)


@pytest.mark.parametrize(
    ("value_type", "value"),
    [("string", "é"), ("number", 2.5), ("number", 10), ("json", {"a": [1, None]}), ("json", [])],
)
def test_value_of_any_type__is_returned(
    value_type: str, value: Any, public_api: Api, environment: Environment
) -> None:
    make_constant_flag(environment, "typed", value_type, value)
    assert ask(public_api, "typed").json == {
        "key": "typed",
        "reason": "STATIC",
        "variant": "only",
        "value": value,
        "metadata": {"version": 1, "reason": "default"},
    }


def test_variant_without_a_value__has_no_value_in_any_reply(
    public_api: Api, environment: Environment
) -> None:
    """OFREP's code default: constant, by rule, by override, with and without a targetingKey."""
    player = public_api.register()
    for key, rules in (("same", ()), ("rule", (Rule(id="half", variant="none", rollout=50_000),))):
        variants = (Variant("some", 5), Variant("none", None), Variant("part", 0.5))
        document = FlagDocument(
            ValueType.NUMBER, variants, "none", "some", enabled=True, rules=rules
        )
        flag_create(environment=environment, key=key, document=document, actor=ACTOR)
    flag = Flag.objects.get(environment=environment, key="rule")
    assert "value" not in ask(public_api, "same").json
    assert "value" not in public_api.post(f"{ALL}/same", {"context": {}}).json
    reply = ask(public_api, "rule").json
    assert (reply["variant"], "value" in reply) == ("none", False)
    for variant, value in (("none", None), ("some", 5.0)):
        override_set(flag, Player.objects.get(pk=player["id"]), variant, actor=ACTOR)
        reply = ask(public_api, "rule").json
        assert (reply["variant"], reply.get("value")) == (variant, value)
        everything = public_api.post(ALL, {"context": {"targetingKey": "player_123"}}).json
        by_key = {each["key"]: each for each in everything["flags"]}
        assert by_key["rule"].get("value") == value
        assert "value" not in by_key["same"]


def test_metadata_of_the_flag__is_handed_out(public_api: Api, environment: Environment) -> None:
    metadata = {"team": "growth", "build": 12, "ratio": 0.5, "beta": True}
    own = msgspec.structs.replace(boolean_document(enabled=True, rules=(HALF,)), metadata=metadata)
    flag_create(environment=environment, key="own", document=own, actor=ACTOR)
    for reply in (
        ask(public_api, "own").json,
        next(
            each
            for each in public_api.post(ALL, {"context": {"targetingKey": "player_123"}}).json[
                "flags"
            ]
            if each["key"] == "own"
        ),
    ):
        found = reply["metadata"]
        assert {name: found[name] for name in metadata} == metadata
        assert found.keys() - metadata.keys() == {
            "version",
            "reason",
            *(("ruleId", "bucket") if reply["variant"] == "enabled" else ()),
        }
    player_id = public_api.register()["id"]
    assert "metadata" not in public_api.post(f"{FLAGS}/own/evaluate", {"player_id": player_id}).data


def test_reasons__are_those_of_openfeature(public_api: Api, environment: Environment) -> None:
    public_api.register(attributes={"level": 45})
    make(environment, "off", HALF, enabled=False)
    make(environment, "static")
    make(environment, "all", Rule(id="all", variant="enabled"))
    make(environment, "none", Rule(id="none", variant="enabled", rollout=0))
    ramp = Ramp(from_=100_000, to=100_000, start=FAR, end=FARTHER)
    make(environment, "ramp", Rule(id="ramp", variant="enabled", ramp=ramp))
    needing = msgspec.structs.replace(
        boolean_document(enabled=True), prerequisites=(Prerequisite("off", ("enabled",)),)
    )
    flag_create(environment=environment, key="waits", document=needing, actor=ACTOR)
    replies = {
        key: ask(public_api, key).json
        for key in ("off", "static", "all", "none", "ramp", "waits", "new_tutorial")
    }
    assert {key: reply["reason"] for key, reply in replies.items()} == {
        "off": "DISABLED",
        "static": "STATIC",
        "all": "TARGETING_MATCH",
        "none": "DEFAULT",
        "ramp": "SPLIT",
        "waits": "DISABLED",
        "new_tutorial": "TARGETING_MATCH",
    }
    assert replies["waits"]["metadata"] == {
        "version": 1,
        "reason": "prerequisite_failed",
        "prerequisite": "off",
    }
    assert replies["new_tutorial"]["metadata"] == {
        "version": 1,
        "reason": "segment_match",
        "ruleId": "beta",
        "segmentId": "beta-testers",
    }
    bucket = replies["ramp"]["metadata"]["bucket"]
    salt = Flag.objects.get(key="ramp").salt
    assert bucket == gate(salt, str(player_id_for(environment.namespace, "player_123")))


def test_override__is_a_targeting_match(public_api: Api, environment: Environment) -> None:
    player = make_player(environment)
    flag = make(environment, "all", Rule(id="all", variant="enabled"))
    override_set(flag, player, "disabled", actor=ACTOR)
    one = ask(public_api, "all").json
    assert (one["value"], one["reason"]) == (False, "TARGETING_MATCH")
    body = {"context": {"targetingKey": "player_123"}}
    assert one in public_api.post(ALL, body).json["flags"]


def test_player__is_found_by_either_id(public_api: Api) -> None:
    player_id = public_api.register(attributes={"level": 45})["id"]
    for key in ("player_123", player_id, player_id.upper()):
        assert ask(public_api, "new_tutorial", targetingKey=key).json["value"] is True
    uuid_like = "550e8400-e29b-41d4-a716-446655440000"
    public_api.register(uuid_like, attributes={"is_vip": True})
    assert ask(public_api, "new_tutorial", targetingKey=uuid_like).json["value"] is True


def test_context__overrides_attributes_for_this_call_only(public_api: Api) -> None:
    public_api.register(attributes={"level": 45})
    assert ask(public_api, "new_tutorial", level=1).json["value"] is False
    assert ask(public_api, "new_tutorial").json["value"] is True


def test_unknown_player__is_evaluated_by_the_context_only(
    public_api: Api, environment: Environment
) -> None:
    for key in ("unregistered", "550e8400-e29b-41d4-a716-446655440000"):
        assert ask(public_api, "new_tutorial", targetingKey=key).json["value"] is False
        assert ask(public_api, "new_tutorial", targetingKey=key, level=45).json["value"] is True
    conditions = {
        "operator": "AND",
        "conditions": [{"field": "external_id", "operator": "==", "value": "unregistered"}],
    }
    make(environment, "named", Rule(id="r", variant="enabled", conditions=conditions))
    assert ask(public_api, "named", targetingKey="unregistered").json["value"] is True


def test_unknown_player__keeps_the_bucket_after_registration(
    public_api: Api, environment: Environment
) -> None:
    make(environment, "half", HALF)
    for number in range(20):
        before = ask(public_api, "half", targetingKey=f"p-{number}").json
        public_api.register(f"p-{number}")
        assert ask(public_api, "half", targetingKey=f"p-{number}").json == before


def test_all_flags__equal_single_evaluations(public_api: Api, environment: Environment) -> None:
    public_api.register(attributes={"level": 45})
    make(environment, "half", HALF)
    flag_set_archived(make(environment, "gone"), True, actor=ACTOR)
    reply = public_api.post(ALL, {"context": {"targetingKey": "player_123"}})
    flags = reply.json["flags"]
    assert {flag["key"] for flag in flags} == {"half", "new-feature", "new_tutorial"}
    assert len(flags) == 3
    assert flags == [ask(public_api, flag["key"]).json for flag in flags]


# --- ETag -----------------------------------------------------------------------------------------


def etag_of(api: Api, **context: Any) -> str:
    reply = api.post(ALL, {"context": {"targetingKey": "player_123", **context}})
    assert reply.status == 200
    return reply.headers["ETag"]


def again(api: Api, etag: str, **context: Any) -> Reply:
    body = {"context": {"targetingKey": "player_123", **context}}
    return api.post(ALL, body, if_none_match=etag)


def test_unchanged_reply__is_304_without_a_body(public_api: Api) -> None:
    public_api.register()
    etag = etag_of(public_api, level=1, name="x")
    for sent in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        reply = again(public_api, sent, name="x", level=1)
        assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", etag)
    assert again(public_api, '"other"', level=1, name="x").status == 200


def test_change_that_may_affect_flags__is_not_304(
    public_api: Api, environment: Environment
) -> None:
    player = public_api.register()
    etag = etag_of(public_api)
    assert again(public_api, etag, level=1).status == 200, "another context"
    assert again(public_api, etag, targetingKey="other").status == 200, "another player"
    public_api.patch(f"{PLAYERS}/{player['id']}", {"attributes": {"level": 45}})
    assert again(public_api, etag).status == 200, "the player's attributes"
    etag = etag_of(public_api)
    flag = Flag.objects.get(key="new-feature", environment=environment)
    flag, _ = flag_set_enabled(flag, True, actor=ACTOR)
    assert again(public_api, etag).status == 200, "a flag"
    etag = etag_of(public_api)
    override_set(flag, Player.objects.get(pk=player["id"]), "enabled", actor=ACTOR)
    assert again(public_api, etag).status == 200, "an override"


# --- Keys, limits, errors -------------------------------------------------------------------------


def test_bearer_token__is_accepted(environment: Environment) -> None:
    token = make_key(environment).token
    api = Api(None)
    body = {"context": {"targetingKey": "p"}}
    assert api.post(ALL, body, authorization=f"Bearer {token}").status == 200
    assert api.post(ALL, body, authorization=token).status == 200
    assert api.post(ALL, body, authorization=f"Basic {token}").status == 401


@pytest.mark.parametrize("case", INPUTS["cases"], ids=lambda case: case["name"])
def test_body__is_evaluated_or_refused_with_its_error_code(
    case: dict[str, Any], public_api: Api
) -> None:
    public_api.register(attributes={"level": 45})
    body = case["body"].encode()
    many = public_api.post(ALL, body)
    for key, expected in (("new_tutorial", case["for_one"]), ("new-feature", case["for_all"])):
        one = public_api.post(f"{ALL}/{key}", body)
        name = "errorCode" if one.status == 400 else "value"
        assert (one.json["key"], {name: one.json[name]}) == (key, expected)
        if name == "errorCode":
            assert one.json.keys() == {"key", "errorCode", "errorDetails"}
        if many.status == 400:
            assert (many.json.keys(), {name: many.json[name]}) == (
                {"errorCode", "errorDetails"},
                expected,
            )
        else:
            assert one.json in many.json["flags"]


def test_without_a_key__flags_that_are_the_same_for_all_players_are_evaluated(
    public_api: Api, environment: Environment
) -> None:
    player = make_player(environment)
    flag = make(environment, "all", Rule(id="all", variant="enabled"))
    override_set(flag, player, "disabled", actor=ACTOR)
    later = Rule(id="later", variant="disabled", start=FAR)
    make(environment, "scheduled", later, Rule(id="all", variant="enabled"))
    make(environment, "half", HALF)
    for key, needed in (("needs-all", "all"), ("needs-half", "half")):
        document = msgspec.structs.replace(
            boolean_document(enabled=True, rules=(Rule(id="all", variant="enabled"),)),
            prerequisites=(Prerequisite(needed, ("enabled",)),),
        )
        flag_create(environment=environment, key=key, document=document, actor=ACTOR)
    reply = public_api.post(ALL, {"context": {"level": 45}})
    assert reply.status == 200
    found = {flag["key"]: flag for flag in reply.json["flags"]}
    assert {key: each.get("value", each.get("errorCode")) for key, each in found.items()} == {
        "all": True,
        "scheduled": True,
        "half": "TARGETING_KEY_MISSING",
        "needs-all": True,
        "needs-half": "TARGETING_KEY_MISSING",
        "new-feature": False,
        "new_tutorial": "TARGETING_KEY_MISSING",
    }
    for key, each in found.items():
        one = public_api.post(f"{ALL}/{key}", {"context": {"level": 45}})
        assert (one.status, one.json) == (400 if "errorCode" in each else 200, each)
    assert public_api.post(ALL, {}, if_none_match=reply.headers["ETag"]).status == 200
    again = public_api.post(ALL, {"context": {"level": 45}}, if_none_match=reply.headers["ETag"])
    assert again.status == 304


def test_number_flag__has_one_type_for_all_players(
    public_api: Api, environment: Environment
) -> None:
    for key, values in (("price", (5, 4.99)), ("energy", (5, 10))):
        variants = tuple(Variant(f"v{value}", value) for value in values)
        rule = Rule(id="beta", segment="beta-testers", variant=variants[1].key)
        name = variants[0].key
        document = FlagDocument(ValueType.NUMBER, variants, name, name, enabled=True, rules=(rule,))
        flag_create(environment=environment, key=key, document=document, actor=ACTOR)
    one = public_api.post(f"{ALL}/price", {"context": {"targetingKey": "p"}})
    assert (one.json["value"], type(one.json["value"])) == (5, float)
    assert type(ask(public_api, "energy").json["value"]) is int
    body = {"player_id": public_api.register()["id"]}
    flags = public_api.post(f"{FLAGS}/evaluate", body).data["flags"]
    assert type(flags["price"]["value"]) is float
    assert type(flags["energy"]["value"]) is int


@pytest.mark.parametrize("case", INPUTS["unknown_keys"], ids=lambda case: case["path"])
def test_unknown_key__is_404_in_the_shape_of_ofrep(case: dict[str, str], public_api: Api) -> None:
    reply = public_api.post(f"{ALL}/{case['path']}", {"context": {"targetingKey": "p"}})
    found = reply.json
    assert (reply.status, found.pop("errorDetails").partition(".")[0], found) == (
        404,
        "Flag not found in live, the environment of this key",
        {"key": case["key"], "errorCode": "FLAG_NOT_FOUND"},
    )
    assert public_api.post(f"{ALL}/{case['path']}", {}).json == reply.json


def test_unknown_key__may_be_long(public_api: Api) -> None:
    reply = public_api.post(f"{ALL}/{'x' * 2000}", {})
    assert (reply.status, reply.json["key"]) == (404, "x" * 2000)


def test_other_errors__have_a_message(public_api: Api, environment: Environment) -> None:
    revoked = make_key(environment)
    api_key_revoke(revoked.key, actor=ACTOR)
    secret = Api(make_key(environment, KeyKind.SECRET).token)
    body = {"context": {"targetingKey": "p"}}
    found = [
        Api(None).post(ALL, body),
        Api(revoked.token).post(ALL, body),
        secret.post(ALL, body, origin="https://game.example"),
        public_api.get(ALL),
        public_api.post("/ofrep/v1/nothing", body),
        public_api.post("/ofrep/v1/", body),
        public_api.post("/ofrep", body),
        public_api.post("/ofrep/v2/evaluate/flags", body),
        public_api.request("POST", ALL, body, content_type="text/plain"),
        public_api.post(ALL, b" " * (1024 * 1024 + 1)),
    ]
    assert [reply.status for reply in found] == [401, 401, 403, 405, 404, 404, 404, 404, 415, 413]
    for reply in found:
        assert reply.json.keys() == {"errorDetails"}, reply.json


def test_crash__is_500_in_the_shape_of_ofrep(
    public_api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(*_: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("flags.ofrep.endpoints.evaluate", crash)
    reply = ask(public_api, "new_tutorial")
    assert (reply.status, reply.json) == (
        500,
        {"errorDetails": "Something went wrong on our side."},
    )
    assert "secret" in caplog.text


def test_rate_limit__is_shared_with_v1(environment: Environment) -> None:
    project_update(environment.project, tier=Tier.FREE, actor=ACTOR)
    environment_cache.clear_cache()
    api = Api(make_key(environment).token)
    replies = [ask(api, "new_tutorial") for _ in range(101)]
    assert [reply.status for reply in replies] == [200] * 100 + [429]
    assert replies[-1].json.keys() == {"errorDetails"}
    assert int(replies[-1].headers["Retry-After"]) >= 1
    assert replies[0].headers["X-RateLimit-Limit"] == "100"

"""Evaluating flags over the API."""

from typing import Any

import pytest

from flags.engine.document import Rule, ValueType, boolean_document, decode_document
from flags.services import flag_create, flag_set_archived
from ilara_admin.models import Environment
from tests.api_client import FLAGS, Api
from tests.factories import ACTOR


def evaluate(api: Api, key: str, player_id: str, **body: Any) -> Any:
    return api.post(f"{FLAGS}/{key}/evaluate", {"player_id": player_id, **body}).data


def test_every_reply__has_a_variant(public_api: Api, environment: Environment) -> None:
    player_id = public_api.register()["id"]
    for key in ("new_tutorial", "new-feature"):
        data = evaluate(public_api, key, player_id)
        assert (data["flag_key"], data["variant_key"], data["value"]) == (key, "disabled", False)


@pytest.mark.parametrize(
    ("value_type", "value"),
    [("string", "é"), ("number", 2.5), ("number", 10), ("json", {"a": [1, None, {"b": True}]})],
)
def test_value_of_any_type__is_returned(
    value_type: str, value: Any, public_api: Api, environment: Environment
) -> None:
    document = decode_document(
        {
            "value_type": ValueType(value_type),
            "variants": [{"key": "only", "value": value}],
            "default": "only",
            "off": "only",
            "enabled": True,
        }
    )
    flag_create(environment=environment, key="typed", document=document, actor=ACTOR)
    data = evaluate(public_api, "typed", public_api.register()["id"])
    assert (data["value"], data["reason"], data["segment_id"]) == (value, "default", None)


def test_variant_without_a_value__is_null(
    public_api: Api, secret_api: Api, environment: Environment
) -> None:
    document = decode_document(
        {
            "value_type": "number",
            "variants": [{"key": "none", "value": None}, {"key": "half", "value": 0.5}],
            "default": "none",
            "off": "half",
            "enabled": True,
        }
    )
    flag_create(environment=environment, key="typed", document=document, actor=ACTOR)
    player_id = public_api.register()["id"]
    data = evaluate(public_api, "typed", player_id)
    assert (data["value"], data["variant_key"]) == (None, "none")
    everything = public_api.post(f"{FLAGS}/evaluate", {"player_id": player_id}).data["flags"]
    assert everything["typed"] == data
    path = f"{FLAGS}/typed/evaluate?explain=true"
    explained = secret_api.post(path, {"player_id": player_id}).data
    assert (explained["value"], explained["receipt"]["summary"]) == (None, "No rules: the default.")


def test_context__overrides_attributes_for_this_call_only(public_api: Api) -> None:
    player_id = public_api.register(attributes={"level": 45})["id"]
    assert evaluate(public_api, "new_tutorial", player_id, context={"level": 1})["value"] is False
    assert (
        evaluate(public_api, "new_tutorial", player_id, context={"level": None})["value"] is False
    )
    assert evaluate(public_api, "new_tutorial", player_id, context={})["value"] is True
    assert evaluate(public_api, "new_tutorial", player_id, context=None)["value"] is True
    assert evaluate(public_api, "new_tutorial", player_id)["value"] is True


def test_context__does_not_override_built_in_fields(
    public_api: Api, environment: Environment
) -> None:
    conditions = {
        "operator": "AND",
        "conditions": [{"field": "is_payer", "operator": "==", "value": True}],
    }
    document = boolean_document(
        enabled=True, rules=(Rule(id="r", variant="enabled", conditions=conditions),)
    )
    flag_create(environment=environment, key="payers", document=document, actor=ACTOR)
    player_id = public_api.register()["id"]
    assert evaluate(public_api, "payers", player_id, context={"is_payer": True})["value"] is False
    public_api.post(f"/v1/players/players/{player_id}/purchase?amount=1")
    data = evaluate(public_api, "payers", player_id)
    assert (data["value"], data["reason"]) == (True, "rule_match")


@pytest.mark.parametrize("context", ["x", [], 1])
def test_context_that_is_not_an_object__is_refused(context: Any, public_api: Api) -> None:
    body = {"player_id": public_api.register()["id"], "context": context}
    for path in (f"{FLAGS}/new_tutorial/evaluate", f"{FLAGS}/evaluate"):
        reply = public_api.post(path, body)
        assert (reply.status, reply.error["details"][0]["field"]) == (400, "context")


def test_all_flags__equal_single_evaluations(public_api: Api) -> None:
    player_id = public_api.register(attributes={"is_vip": True})["id"]
    data = public_api.post(f"{FLAGS}/evaluate", {"player_id": player_id}).data
    assert data["player_id"] == player_id
    assert data["flags"] == {
        key: evaluate(public_api, key, player_id) for key in ("new-feature", "new_tutorial")
    }


def test_all_flags__exclude_archived_ones(public_api: Api, environment: Environment) -> None:
    flag = flag_create(
        environment=environment, key="old", document=boolean_document(enabled=True), actor=ACTOR
    )
    flag_set_archived(flag, True, actor=ACTOR)
    player_id = public_api.register()["id"]
    assert "old" not in public_api.post(f"{FLAGS}/evaluate", {"player_id": player_id}).data["flags"]
    assert evaluate(public_api, "old", player_id)["reason"] == "disabled"


def test_flag_with_the_key_evaluate__can_be_evaluated(
    public_api: Api, environment: Environment
) -> None:
    flag_create(environment=environment, key="evaluate", document=boolean_document(), actor=ACTOR)
    player_id = public_api.register()["id"]
    assert evaluate(public_api, "evaluate", player_id)["flag_key"] == "evaluate"


def test_player_id__is_required(public_api: Api) -> None:
    for path in (f"{FLAGS}/new_tutorial/evaluate", f"{FLAGS}/evaluate"):
        assert public_api.post(path).error["message"] == "player_id is required"
        assert public_api.post(path, {"player_id": 5}).error["message"] == (
            "Invalid player_id format"
        )


@pytest.mark.parametrize("key", ["New_Tutorial", "new_tutorial%20", "%00", "a%2Fb"])
def test_unknown_key__is_not_found(key: str, public_api: Api) -> None:
    body = {"player_id": public_api.register()["id"]}
    assert public_api.post(f"{FLAGS}/{key}/evaluate", body).status == 404

"""The specification is complete, valid and matches the API."""

import json
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError
from openapi_spec_validator import OpenAPIV31SpecValidator

from ilara_admin.api.endpoint import JSON, Example
from ilara_admin.api.errors import STATUS
from ilara_admin.api.json_schema import EXAMPLE_ID
from ilara_admin.apidocs import openapi
from ilara_admin.apidocs.openapi import document
from ilara_admin.apidocs.operations import Operation, operations
from ilara_admin.core import db
from ilara_admin.models import Environment, KeyKind, Tier
from tests.api_client import Api, Reply
from tests.factories import make_environment, make_example_results, make_key
from tests.specification import body_faults, faults, reply_faults, same_shape, written

URL = "/v1/openapi.json"
each_operation = pytest.mark.parametrize("operation", operations(), ids=lambda each: each.id)


def test_document__is_valid_openapi_3_1() -> None:
    assert document()["openapi"].startswith("3.1")
    assert not list(OpenAPIV31SpecValidator(document()).iter_errors())


def test_document__has_every_endpoint_once() -> None:
    ids = [each.id for each in operations()]
    assert len(ids) == len(set(ids)) >= 19
    calls = {(each.path, each.method.lower()) for each in operations()}
    paths = document()["paths"]
    assert calls == {(path, method) for path, methods in paths.items() for method in methods}


@each_operation
def test_operation__declares_all_that_is_published(operation: Operation) -> None:
    docs, body = operation.docs, operation.endpoint.body
    assert operation.summary, "the view needs a docstring"
    assert operation.text, "the docstring needs a second sentence"
    assert docs.reply is not None, "reply is missing"
    assert docs.examples, "examples are missing"
    assert operation.path.startswith(("/v1/", "/ofrep/v1/"))
    for parameter in operation.parameters:
        assert parameter.text, f"{parameter.name} needs a description"
        if parameter.required:
            assert parameter.example is not None, f"{parameter.name} needs an example"
    for example in docs.examples:
        assert example.status in docs.statuses
        assert body is None or example.body is not None or example.query
    assert all(status in docs.statuses for status in (each.status for each in docs.examples))
    codes = {refusal.error.status: refusal.error.code for refusal in operation.refusals}
    if operation.endpoint.scope:
        assert {400, 401, 403, 429, 500, 503} <= codes.keys()
    for status, code in codes.items():
        assert STATUS[code] == status or status in (403, 409, 413, 415, 503)


@each_operation
def test_examples__match_their_schemas(operation: Operation) -> None:
    for example in operation.examples:
        if example.body is not None:
            assert not body_faults(operation, example.body)
    for status, response in written(operation)["responses"].items():
        if int(status) >= 400 or operation.docs.media != JSON:
            continue
        for example in response.get("content", {}).get(JSON, {}).get("examples", {}).values():
            assert not reply_faults(operation, int(status), example["value"])
    for refusal in operation.refusals:
        shaped = operation.failure(refusal.error)
        assert not reply_faults(operation, refusal.error.status, shaped)
    for parameter in operation.parameters:
        if parameter.example is not None:
            assert not faults(dict(parameter.schema), parameter.example)


def test_links__have_the_parameters_of_their_operations() -> None:
    by_id = {each.id: each for each in operations()}
    links = written(by_id["player_register"])["responses"]["201"]["links"]
    assert links["player_get"]["parameters"] == {"player_id": "$response.body#/data/id"}
    assert links["event_track"]["requestBody"] == {"player_id": "$response.body#/data/id"}
    assert {"player_patch", "purchase_record", "churn_risk", "segment_evaluate"} < links.keys()
    for operation in operations():
        for response in written(operation)["responses"].values():
            for link in response.get("links", {}).values():
                target = by_id[link["operationId"]]
                assert {*link.get("parameters", {})} <= {each.name for each in target.parameters}


def test_patterns__have_no_python_specific_syntax() -> None:
    """JSON Schema uses the regular expressions of ECMAScript, without \\Z and (?P."""
    patterns: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            patterns.extend(item for name, item in value.items() if name == "pattern")
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(document())
    assert len(patterns) > 10
    for pattern in patterns:
        assert pattern.startswith("^")
        assert not any(word in pattern for word in (r"\Z", r"\A", "(?P", "$")), pattern


# --- Against the API ------------------------------------------------------------------------------


def call(api: Api, operation: Operation, example: Example, player_id: str, **headers: str) -> Reply:
    path = operation.path
    for parameter in operation.parameters:
        path = path.replace(f"{{{parameter.name}}}", str(parameter.example))
    query = "&".join(f"{name}={value}" for name, value in (example.query or {}).items())
    if query:
        path += f"?{query}"
    body = None if example.body is None else json.dumps(example.body).replace(EXAMPLE_ID, player_id)
    return api.request(
        operation.method,
        path.replace(EXAMPLE_ID, player_id),
        None if body is None else json.loads(body),
        headers=headers,
    )


@pytest.fixture
def limited(db: None) -> Environment:
    return make_environment(tier=Tier.PRO)


def test_examples__get_replies_of_the_documented_shape(limited: Environment) -> None:
    """In order: the first example registers the player that the others use."""
    make_example_results(limited)
    apis = {kind: Api(make_key(limited, KeyKind(kind)).token) for kind in KeyKind}
    player_id = str(uuid4())
    for operation in operations():
        if operation.docs.media != JSON:
            continue
        for example in operation.examples:
            public = "public" in operation.keys and "explain" not in (example.query or {})
            api = apis[KeyKind.PUBLIC if public else KeyKind.SECRET]
            reply = call(api, operation, example, player_id)
            assert reply.status == example.status, (operation.id, reply.json)
            assert not reply_faults(operation, reply.status, reply.json), operation.id
            if operation.id == "specification":
                continue
            wrapped = {"success": True, "data": example.reply}
            wanted = wrapped if operation.docs.envelope else example.reply
            assert not list(same_shape(wanted, reply.json)), operation.id
            if operation.id == "player_register":
                player_id = reply.data["id"]
            counted = reply.headers["RateLimit-Policy"].split(", ")
            assert [each.split(";")[0].strip('"') for each in counted] == list(operation.limits)


def test_idempotency_key__is_accepted_where_documented(secret_api: Api) -> None:
    player_id = secret_api.register()["id"]
    for operation in operations():
        if operation.method == "POST":
            example = operation.examples[0]
            reply = call(secret_api, operation, example, player_id, idempotency_key="x" * 129)
            documented = any(each.name == "Idempotency-Key" for each in operation.parameters)
            assert (reply.status == 400) == documented, operation.id


def test_refusals__have_the_messages_of_the_api(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of each kind; the others come from the same code."""
    public, secret = (Api(make_key(environment, kind).token) for kind in KeyKind)
    evaluates = Api(make_key(environment, KeyKind.SECRET, scopes=["evaluate"]).token)
    by_id = {each.id: each for each in operations()}

    def documented(id: str, status: int) -> list[str]:
        found = by_id[id].refusals
        return [each.error.message for each in found if each.error.status == status]

    about = {"player_id": EXAMPLE_ID}
    players, flags = "/v1/players/players", "/v1/flags/flags"
    ofrep = "/ofrep/v1/evaluate/flags/x"
    requests = [
        ("player_register", 400, public.post(players, {})),
        ("player_list", 400, secret.get(f"{players}?limit=0")),
        ("player_get", 400, public.get(f"{players}/1")),
        ("player_get_by_external_id", 400, public.get(f"{players}/external/%00")),
        ("event_batch", 400, public.post("/v1/events/events/batch", {})),
        ("event_stream", 400, secret.get("/v1/events/events/stream?after=x")),
        ("ofrep_evaluate", 400, public.post(ofrep, {"context": {"targetingKey": 7}})),
        ("player_get", 401, Api(None).get(f"{players}/{EXAMPLE_ID}")),
        ("player_list", 403, public.get(players)),
        ("player_register", 403, secret.post(players, {}, origin="https://game.example")),
        ("player_get", 403, evaluates.get(f"{players}/{EXAMPLE_ID}")),
        ("player_get", 404, public.get(f"{players}/{EXAMPLE_ID}")),
        ("flag_evaluate", 404, public.post(f"{flags}/new_tutorial/evaluate", about)),
        ("player_register", 413, public.post(players, b" " * (2**20 + 1))),
        ("player_register", 415, public.request("POST", players, b"x", content_type="text/x")),
    ]
    for id, status, reply in requests:
        assert reply.status == status, (id, reply.json)
        shown = reply.json.get("errorDetails") or reply.error["message"]
        assert shown in documented(id, status), id
    environment.public_keys_restricted = True
    environment.save()
    shown = public.get(f"{players}/{EXAMPLE_ID}").error["message"]
    assert shown in documented("player_get", 403)

    def away(*args: object, **options: object) -> None:
        raise OperationalError

    monkeypatch.setattr(db, "fetch_all", away)
    shown = public.post(players, {"external_id": "x"}).error["message"]
    assert [shown] == documented("player_get", 503)


# --- The endpoint ---------------------------------------------------------------------------------


def test_endpoint__needs_no_key_and_no_query() -> None:
    reply = Api(None).get(URL)
    assert (reply.status, reply.headers["Content-Type"]) == (200, JSON)
    assert reply.json == json.loads(json.dumps(document()))
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert reply.headers["Cache-Control"] == "no-cache"
    assert Api("nonsense").get(URL).status == 200


def test_endpoint__returns_304_for_a_known_etag() -> None:
    etag = Api(None).get(URL).headers["ETag"]
    reply = Api(None).get(URL, if_none_match=f'W/{etag}, "other"')
    assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", etag)
    assert Api(None).get(URL, if_none_match='"other"').status == 200


def test_document__is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Api(None).get(URL)
    monkeypatch.setattr(openapi, "document", lambda: 1 / 0)
    assert Api(None).get(URL).body == first.body

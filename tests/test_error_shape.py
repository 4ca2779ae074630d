"""Every error under /v1 has the published shape, and checks run in the published order."""

import re
from io import BytesIO
from uuid import uuid4

import pytest
from django.db import OperationalError
from django.test import RequestFactory
from pytest_django import DjangoAssertNumQueries

from ilara_admin.api import dispatch
from ilara_admin.core import db, tokens
from ilara_admin.core.api_keys import api_key_revoke
from ilara_admin.core.changes import bump_config_version
from ilara_admin.models import Environment, KeyKind
from players.models import Player
from tests.api_client import EVENTS, FLAGS, PLAYERS, SEGMENTS, Api, Reply
from tests.factories import ACTOR, make_environment, make_key, make_player

EXAMPLE_ID = "550e8400-e29b-41d4-a716-446655440000"


def outcome(reply: Reply) -> tuple[int, str, str]:
    """Status, code and message, after checking the rest of the shape."""
    error = reply.error
    assert set(reply.json) == {"success", "error"}
    assert set(error) in ({"code", "message"}, {"code", "message", "details"})
    for detail in error.get("details", []):
        assert set(detail) == {"field", "message"}
    assert reply.headers["Content-Type"] == "application/json"
    return reply.status, error["code"], error["message"]


# --- Path and method ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v1/", "/v1/nothing", f"{PLAYERS}/", "/v1/players", f"{PLAYERS}/external/", "/ofrep"],
)
def test_unknown_path__is_404_even_without_a_key(path: str) -> None:
    assert outcome(Api(None).get(path)) == (404, "NOT_FOUND", "There is no such path in the API.")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", PLAYERS, "GET, OPTIONS, POST"),
        ("PUT", f"{PLAYERS}/{EXAMPLE_ID}", "GET, OPTIONS, PATCH"),
        ("GET", EVENTS, "OPTIONS, POST"),
        ("POST", f"{EVENTS}/stream", "GET, OPTIONS"),
        ("GET", f"{FLAGS}/evaluate", "OPTIONS, POST"),
        ("POST", f"/v1/segments/player/{EXAMPLE_ID}", "GET, OPTIONS"),
    ],
)
def test_wrong_method__is_405_with_the_allowed_ones(method: str, path: str, allow: str) -> None:
    reply = Api(None).request(method, path)
    assert outcome(reply)[:2] == (405, "VALIDATION_ERROR")
    assert reply.headers["Allow"] == allow


def test_head__is_refused_without_a_body() -> None:
    """The server would log each body that it drops, and anyone could fill the log."""
    response = dispatch.answer(RequestFactory().head(PLAYERS))
    assert (response.status_code, getattr(response, "content", None)) == (405, b"")
    assert response.headers["Allow"] == "GET, OPTIONS, POST"
    assert response.headers["Content-Type"] == "application/json"


def test_query_string_with_too_many_parameters__is_400(secret_api: Api) -> None:
    reply = secret_api.get(f"{PLAYERS}?{'a&' * 1_001}")
    assert outcome(reply) == (400, "VALIDATION_ERROR", "The query string has too many parameters")


# --- Keys -----------------------------------------------------------------------------------------


def one_character_off() -> str:
    token = tokens.new_token("pk", "live")
    return token[:-1] + ("a" if token[-1] != "a" else "b")


@pytest.mark.parametrize(
    "token",
    [
        None,
        "",
        "pk_live_xxxxxxxxxxxx",
        one_character_off(),
        tokens.new_token("pk", "live").replace("pk_", "xk_"),
        tokens.new_token("pk", "live") + "\u00e9",
    ],
    ids=["missing", "empty", "as printed", "wrong checksum", "wrong kind", "not ASCII"],
)
def test_malformed_key__is_401_without_a_query(
    token: str | None, db: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        reply = Api(token).get(f"{PLAYERS}/{EXAMPLE_ID}")
    assert outcome(reply) == (401, "UNAUTHORIZED", "Invalid API key")


def test_unknown_key__is_401(db: None) -> None:
    reply = Api(tokens.new_token("pk", "live")).get(f"{PLAYERS}/{EXAMPLE_ID}")
    assert outcome(reply) == (401, "UNAUTHORIZED", "Invalid API key")


def test_key_in_another_header__is_401(environment: Environment) -> None:
    token = make_key(environment).token
    reply = Api(None).get(f"{PLAYERS}/{EXAMPLE_ID}", authorization=f"Bearer {token}")
    assert outcome(reply)[0] == 401


def test_revoked_key__is_401_with_the_reason(environment: Environment) -> None:
    new = make_key(environment)
    api_key_revoke(new.key, actor=ACTOR)
    reply = Api(new.token).get(f"{PLAYERS}/{EXAMPLE_ID}")
    assert outcome(reply) == (401, "UNAUTHORIZED", "This API key has been revoked")


def test_expired_key__is_401_with_the_reason(environment: Environment) -> None:
    new = make_key(environment)
    new.key.expires_at = new.key.created_at
    new.key.save(update_fields=["expires_at"])
    reply = Api(new.token).get(f"{PLAYERS}/{EXAMPLE_ID}")
    assert outcome(reply) == (401, "UNAUTHORIZED", "This API key has expired")


def test_expired_key__writes_nothing(environment: Environment) -> None:
    new = make_key(environment)
    new.key.expires_at = new.key.created_at
    new.key.save(update_fields=["expires_at"])
    assert Api(new.token).post(PLAYERS, {"external_id": "late"}).status == 401
    assert not Player.objects.of(environment).exists()


def test_key_of_a_deleted_environment__is_401(public_api: Api, environment: Environment) -> None:
    public_api.register()
    Player.objects.of(environment).delete()
    environment.delete()
    assert outcome(public_api.post(PLAYERS, {"external_id": "x"}))[:2] == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("path", [PLAYERS, f"{EVENTS}/stream"])
def test_public_key_where_a_secret_one_is_required__is_403(path: str, public_api: Api) -> None:
    assert outcome(public_api.get(path)) == (403, "UNAUTHORIZED", "This call needs a secret key")


def test_secret_key_in_a_browser__is_403(secret_api: Api) -> None:
    reply = secret_api.get(PLAYERS, origin="https://game.example")
    assert outcome(reply)[:2] == (403, "UNAUTHORIZED")
    assert secret_api.get(PLAYERS).status == 200


def test_public_key_in_a_browser__is_accepted(public_api: Api) -> None:
    reply = public_api.post(PLAYERS, {"external_id": "web"}, origin="https://game.example")
    assert reply.status == 201


def test_restricted_public_key__may_register_track_and_evaluate(
    environment: Environment, secret_api: Api
) -> None:
    environment.public_keys_restricted = True
    environment.save()
    public_api = Api(make_key(environment).token)
    player_id = public_api.register()["id"]
    body = {"player_id": player_id}
    assert public_api.post(EVENTS, {**body, "event_name": "start"}).status == 201
    assert public_api.post(f"{EVENTS}/batch", {"events": [{**body, "event_name": "x"}]}).data
    assert public_api.post(f"{FLAGS}/evaluate", body).status == 200
    assert public_api.post(f"{FLAGS}/new-feature/evaluate", body).status == 200
    for refused in (
        public_api.get(f"{PLAYERS}/{player_id}"),
        public_api.get(f"{PLAYERS}/external/player_123"),
        public_api.patch(f"{PLAYERS}/{player_id}", {"email": None}),
        public_api.post(f"{PLAYERS}/{player_id}/session"),
        public_api.post(f"{PLAYERS}/{player_id}/purchase?amount=1"),
    ):
        assert outcome(refused)[:2] == (403, "UNAUTHORIZED")
    assert secret_api.get(f"{PLAYERS}/{player_id}").status == 200


# --- Bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "The body is not valid JSON: "),
        (b"[]", "The body must be a JSON object"),
        (b'"text"', "The body must be a JSON object"),
        (b"{}", "external_id is required"),
        (b"", "external_id is required"),
        (b'{"external_id": "\xff"}', "external_id must be valid Unicode"),
    ],
)
def test_invalid_body__is_400(body: bytes, message: str, public_api: Api) -> None:
    status, code, actual = outcome(public_api.post(PLAYERS, body))
    assert (status, code) == (400, "VALIDATION_ERROR")
    assert actual.startswith(message)


def test_error_in_a_field__names_the_field(public_api: Api) -> None:
    error = public_api.post(PLAYERS, {"external_id": 5}).error
    message = "external_id must be a string, not an integer"
    assert error["details"] == [{"field": "external_id", "message": message}]


def test_body_over_1_mib__is_413(public_api: Api) -> None:
    reply = public_api.post(PLAYERS, b" " * (1024 * 1024 + 1))
    assert outcome(reply) == (413, "VALIDATION_ERROR", "The body is larger than 1 MiB")


def test_body_of_1_mib__is_accepted(public_api: Api) -> None:
    assert public_api.post(PLAYERS, b'{"external_id":"x"}'.ljust(1024 * 1024)).status == 201


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_body_of_another_type__is_415(content_type: str, public_api: Api) -> None:
    reply = public_api.request("POST", PLAYERS, b'{"external_id":"x"}', content_type=content_type)
    assert outcome(reply)[:2] == (415, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "Application/JSON; charset=utf-8", "application/vnd.game+json"],
)
def test_json_content_types__are_accepted(content_type: str, public_api: Api) -> None:
    reply = public_api.request("POST", PLAYERS, b'{"external_id":"x"}', content_type=content_type)
    assert reply.status == 201


def test_empty_body_of_another_type__is_accepted(public_api: Api) -> None:
    path = f"{PLAYERS}/{public_api.register()['id']}/session"
    assert public_api.request("POST", path, b"", content_type="text/plain").status == 200


def test_body_that_is_cut_short__is_400(public_api: Api) -> None:
    body = b'{"external_id":"x"}'
    environ = {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body) + 1)}
    reply = public_api.request("POST", PLAYERS, environ=environ)
    assert outcome(reply)[:2] == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("length", ["ten", "-5", "1e3"])
def test_invalid_content_length__is_400(length: str, public_api: Api) -> None:
    reply = public_api.request("POST", PLAYERS, b"{}", environ={"CONTENT_LENGTH": length})
    assert outcome(reply)[:2] == (400, "VALIDATION_ERROR")


def chunked(body: bytes) -> dict[str, object]:
    return {
        "wsgi.input": BytesIO(body),
        "HTTP_TRANSFER_ENCODING": "chunked",
        "CONTENT_LENGTH": "",
        "CONTENT_TYPE": "application/json",
    }


def test_chunked_body__is_accepted(public_api: Api) -> None:
    reply = public_api.request("POST", PLAYERS, environ=chunked(b'{"external_id":"x"}'))
    assert reply.data["external_id"] == "x"


def test_chunked_body_over_1_mib__is_413(public_api: Api) -> None:
    reply = public_api.request("POST", PLAYERS, environ=chunked(b" " * (1024 * 1024 + 1)))
    assert outcome(reply)[0] == 413


def test_rest_of_a_refused_body__is_not_read_when_the_request_restarts(
    public_api: Api, environment: Environment
) -> None:
    public_api.register()
    bump_config_version(environment)
    body = b" " * (1024 * 1024 + 1) + b'{"external_id":"rest"}'
    assert outcome(public_api.request("POST", PLAYERS, environ=chunked(body)))[0] == 413
    assert not Player.objects.of(environment).filter(external_id="rest").exists()


class BrokenStream(BytesIO):
    """The stream of a body that the server cannot read to its end."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError("No more data after: None")


@pytest.mark.parametrize("environ", [{"HTTP_TRANSFER_ENCODING": "chunked"}, {"CONTENT_LENGTH": 9}])
def test_body_that_the_server_cannot_read__is_400(
    environ: dict[str, object], public_api: Api
) -> None:
    environ = {"wsgi.input": BrokenStream(), "CONTENT_LENGTH": "", **environ}
    reply = public_api.request("POST", PLAYERS, environ=environ)
    expected = (400, "VALIDATION_ERROR", "The body ends early or its chunks are malformed")
    assert outcome(reply) == expected


def test_unknown_fields__are_listed_in_a_header(public_api: Api) -> None:
    body = {"external_id": "x", "level": 5, "naïve, one": True}
    reply = public_api.post(PLAYERS, body)
    assert reply.status == 201
    assert reply.headers["X-Ilara-Ignored"] == "level, na%C3%AFve%2C%20one"


def test_known_fields_only__send_no_such_header(public_api: Api) -> None:
    assert "X-Ilara-Ignored" not in public_api.post(PLAYERS, {"external_id": "x"}).headers


# --- Resources ------------------------------------------------------------------------------------


def calls_about(player_id: str) -> list[tuple[str, str, object]]:
    body = {"player_id": player_id}
    return [
        ("GET", f"{PLAYERS}/{player_id}", None),
        ("PATCH", f"{PLAYERS}/{player_id}", {"attributes": {"stolen": True}}),
        ("POST", f"{PLAYERS}/{player_id}/session", None),
        ("POST", f"{PLAYERS}/{player_id}/purchase?amount=1", None),
        ("GET", f"{PLAYERS}/{player_id}/lifecycle", None),
        ("GET", f"{PLAYERS}/{player_id}/churn-risk", None),
        ("POST", EVENTS, {**body, "event_name": "start"}),
        ("POST", f"{FLAGS}/new_tutorial/evaluate", body),
        ("POST", f"{FLAGS}/evaluate", body),
        ("POST", f"{SEGMENTS}/beta-testers/evaluate", body),
        ("GET", f"/v1/segments/player/{player_id}", None),
    ]


@pytest.mark.parametrize("number", range(11))
def test_unknown_player__is_404(number: int, public_api: Api) -> None:
    method, path, body = calls_about(EXAMPLE_ID)[number]
    assert outcome(public_api.request(method, path, body)) == (404, "NOT_FOUND", "Player not found")


@pytest.mark.parametrize("number", range(11))
def test_player_of_another_environment__is_404_and_unchanged(number: int, secret_api: Api) -> None:
    stranger = make_player(make_environment(slug="test"))
    method, path, body = calls_about(str(stranger.id))[number]
    assert outcome(secret_api.request(method, path, body))[0] == 404
    stored = Player.objects.filter(pk=stranger.pk).values()[0]
    assert stored["attributes"] == {}
    assert (stored["session_count"], stored["purchase_count"]) == (0, 0)
    assert stored["last_seen_at"] == stranger.last_seen_at


MALFORMED = [
    "1",
    EXAMPLE_ID.replace("-", ""),
    f"{{{EXAMPLE_ID}}}",
    f"urn:uuid:{EXAMPLE_ID}",
    EXAMPLE_ID + "\n",
    EXAMPLE_ID[:-1] + "g",
]


@pytest.mark.parametrize("player_id", MALFORMED)
@pytest.mark.parametrize("number", range(11))
def test_malformed_player_id__is_400(number: int, player_id: str, public_api: Api) -> None:
    method, path, body = calls_about(player_id)[number]
    reply = public_api.request(method, path.replace("\n", "%0A"), body)
    assert outcome(reply) == (400, "VALIDATION_ERROR", "Invalid player_id format")


def test_player_id_in_upper_case__is_the_same(public_api: Api) -> None:
    player_id = public_api.register()["id"]
    assert public_api.get(f"{PLAYERS}/{player_id.upper()}").data["id"] == player_id
    body = {"player_id": player_id.upper()}
    assert public_api.post(f"{FLAGS}/evaluate", body).data["player_id"] == player_id


# --- Order of the checks --------------------------------------------------------------------------


def test_several_errors__are_reported_in_the_published_order(public_api: Api) -> None:
    bad_body = b"{"
    no_key = Api(None)
    assert no_key.post("/v1/nothing", bad_body).status == 404
    assert no_key.request("PUT", PLAYERS, bad_body).status == 405
    assert no_key.post(PLAYERS, bad_body).status == 401
    assert public_api.get(f"{PLAYERS}?limit=none").status == 403
    assert public_api.patch(f"{PLAYERS}/{uuid4()}", bad_body).status == 400
    assert public_api.patch(f"{PLAYERS}/{uuid4()}", {"email": None}).status == 404


# --- Server errors --------------------------------------------------------------------------------


def test_crash__is_500_without_details(
    public_api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(request: object, sql: str, params: object) -> None:
        raise RuntimeError("the password is 1234")

    monkeypatch.setattr("players.statements.run_one", crash)
    reply = public_api.get(f"{PLAYERS}/{EXAMPLE_ID}", x_request_id="trace-1")
    assert outcome(reply) == (500, "INTERNAL_ERROR", "Something went wrong on our side.")
    assert b"1234" not in reply.body
    assert "trace-1" in caplog.text
    assert "the password is 1234" in caplog.text


def test_crash__has_the_common_headers(public_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("players.api.find_player", lambda *args: 1 / 0)
    reply = public_api.get(f"{PLAYERS}/{EXAMPLE_ID}")
    assert reply.status == 500
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert reply.headers["X-Request-Id"]


def test_database_away__is_503_with_retry_after(
    public_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object, **options: object) -> None:
        raise OperationalError("connection refused at 10.1.2.3")

    monkeypatch.setattr(db, "fetch_all", away)
    reply = public_api.post(PLAYERS, {"external_id": "x"})
    assert outcome(reply)[:2] == (503, "INTERNAL_ERROR")
    assert reply.headers["Retry-After"] == "1"
    assert b"10.1.2.3" not in reply.body


# --- Headers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [PLAYERS, f"{FLAGS}/x/evaluate", "/v1/nothing"])
def test_options__is_204_without_a_key(path: str) -> None:
    response = dispatch.answer(RequestFactory().options(path))
    assert (response.status_code, getattr(response, "content", None)) == (204, b"")
    assert "X-API-Key" in response.headers["Access-Control-Allow-Headers"]
    assert {"PATCH", "DELETE"} <= set(response.headers["Access-Control-Allow-Methods"].split(", "))
    assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_any_host__is_accepted(environment: Environment) -> None:
    reply = Api(make_key(environment).token).post(
        PLAYERS, {"external_id": "x"}, host="anything.example"
    )
    assert reply.status == 201


def test_every_reply__has_cors_headers_and_a_request_id(
    public_api: Api, environment: Environment
) -> None:
    replies = [
        public_api.post(PLAYERS, {"external_id": "x"}),
        public_api.post(PLAYERS, b"{"),
        public_api.get("/v1/nothing"),
        public_api.request("DELETE", PLAYERS),
        Api(None).get(PLAYERS),
        public_api.get(f"{PLAYERS}/{EXAMPLE_ID}"),
    ]
    assert [reply.status for reply in replies] == [201, 400, 404, 405, 401, 404]
    for reply in replies:
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        assert "X-Request-Id" in reply.headers["Access-Control-Expose-Headers"]
        assert reply.headers["Cache-Control"] == "no-store"
        assert re.fullmatch("[0-9a-f]{32}", reply.headers["X-Request-Id"])


def test_request_id_of_the_caller__is_returned(public_api: Api) -> None:
    reply = public_api.get("/v1/nothing", x_request_id="my-trace.1_a")
    assert reply.headers["X-Request-Id"] == "my-trace.1_a"


@pytest.mark.parametrize("given", ["", "with space", "x" * 65, "a\u00e9"])
def test_invalid_request_id__is_replaced(given: str) -> None:
    reply = Api(None).get("/v1/nothing", x_request_id=given)
    assert re.fullmatch("[0-9a-f]{32}", reply.headers["X-Request-Id"])


def test_secret_key_of_another_environment__sees_none_of_its_players(secret_api: Api) -> None:
    other = make_environment(slug="test")
    make_player(other)
    assert secret_api.get(PLAYERS).data["players"] == []
    theirs = Api(make_key(other, KeyKind.SECRET).token)
    assert len(theirs.get(PLAYERS).data["players"]) == 1

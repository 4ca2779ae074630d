"""What a key may do: scopes, personal data and networks of secret keys."""

from collections import defaultdict
from typing import Any

import msgspec
import pytest

from events import stream
from events.log_reader import LogEntry
from events.schemas import Status, StreamedEvent
from events.tail import Arrival
from flags.engine.document import Rule, boolean_document
from flags.services import flag_create
from ilara_admin.apidocs.operations import operations
from ilara_admin.core.api_keys import NewKey, api_key_update
from ilara_admin.models import Environment, KeyKind, KeyScope
from players.models import Player
from tests.api_client import FLAGS, PLAYERS, Api, Reply
from tests.factories import ACTOR, make_key, make_player

CALLS = [each for each in operations() if each.endpoint.scope is not None]


def secret_key(environment: Environment, *scopes: str, **options: Any) -> NewKey:
    return make_key(environment, KeyKind.SECRET, scopes=scopes, **options)


def message_of(reply: Reply) -> str:
    text: str = reply.json.get("errorDetails") or reply.error["message"]
    return text


# --- Scopes ---------------------------------------------------------------------------------------


def test_each_call__needs_the_scope_of_its_kind() -> None:
    found = defaultdict(set)
    for each in operations():
        found[each.endpoint.scope].add(each.id)
    assert found == {
        None: {"specification"},
        "read": {
            "player_list", "player_get", "player_get_by_external_id", "player_lifecycle",
            "churn_risk", "experiment_results",
        },
        "track": {
            "player_register", "player_patch", "session_record", "purchase_record", "event_track",
            "event_batch", "alias_link", "alias_unlink",
        },
        "evaluate": {
            "flag_evaluate", "flag_evaluate_all", "ofrep_evaluate", "ofrep_evaluate_all",
            "segment_evaluate", "player_segments",
        },
        "stream": {"event_stream"},
    }  # fmt: skip


@pytest.mark.parametrize("scope", KeyScope.values)
def test_key_with_one_scope__may_make_its_calls_only(environment: Environment, scope: str) -> None:
    api = Api(secret_key(environment, scope).token)
    for call in CALLS:
        path = call.path
        for parameter in call.parameters:
            path = path.replace(f"{{{parameter.name}}}", str(parameter.example))
        # A stream that begins would not end.
        reply = api.request(call.method, f"{path}?after=x" if scope == "stream" else path)
        if call.endpoint.scope == scope:
            assert reply.status in (200, 400, 404), (call.id, reply.body)
        else:
            assert reply.status == 403, (call.id, reply.body)
            needed = f"This key does not have the scope {call.endpoint.scope}. "
            assert message_of(reply).startswith(needed)
            assert "dashboard under API keys" in message_of(reply)
            assert call.path.startswith("/ofrep") or reply.error["code"] == "UNAUTHORIZED"


def test_new_secret_key__has_all_scopes_but_manage(environment: Environment) -> None:
    key = make_key(environment, KeyKind.SECRET).key
    assert {*key.scopes, "manage"} == set(KeyScope.values)
    assert make_key(environment).key.scopes == []


def test_edited_scopes__are_in_force_on_the_next_request(environment: Environment) -> None:
    new = secret_key(environment, "track")
    api, player = Api(new.token), make_player(environment)
    version = Environment.objects.get(pk=environment.pk).config_version
    assert api.get(f"{PLAYERS}/{player.pk}").status == 403
    api_key_update(new.key, {"scopes": ["read"]}, actor=ACTOR)
    assert Environment.objects.get(pk=environment.pk).config_version == version + 1
    assert api.get(f"{PLAYERS}/{player.pk}").status == 200
    assert api.post(PLAYERS, {"external_id": "x"}).status == 403
    assert api_key_update(new.key, {"scopes": ["read"]}, actor=ACTOR) is None
    assert Environment.objects.get(pk=environment.pk).config_version == version + 1


# --- Personal data --------------------------------------------------------------------------------


@pytest.fixture
def ann(environment: Environment) -> Player:
    environment.personal_attributes = ["city"]
    environment.personal_properties = ["city"]
    environment.save()
    return make_player(
        environment,
        "ann",
        email="ann@example.com",
        device_id="device-123",
        attributes={"city": "Ulm", "level": 3},
    )


def shown(reply: Reply) -> tuple[Any, ...]:
    data = reply.data["players"][0] if "players" in reply.data else reply.data
    return data["email"], data["device_id"], data["attributes"]["city"]


def test_key_without_personal__sees_personal_data_masked(ann: Player) -> None:
    scopes = ("read", "track")
    sees = Api(secret_key(ann.environment, *scopes, "personal").token)
    masked = Api(secret_key(ann.environment, *scopes).token)
    for path in (f"{PLAYERS}/{ann.pk}", f"{PLAYERS}/external/ann", PLAYERS):
        assert shown(sees.get(path)) == ("ann@example.com", "device-123", "Ulm")
        assert shown(masked.get(path)) == ("a***@example.com", "devi***", "U***")
    for path in (f"{PLAYERS}/{ann.pk}/session", f"{PLAYERS}/{ann.pk}/purchase?amount=1"):
        assert shown(masked.post(path)) == ("a***@example.com", "devi***", "U***")
    # What the call itself sends is known to the caller.
    patched = masked.patch(f"{PLAYERS}/{ann.pk}", {"email": "new@example.com"})
    assert shown(patched) == ("new@example.com", "devi***", "U***")
    patched = masked.patch(f"{PLAYERS}/{ann.pk}", {"attributes": {"city": "Rome"}})
    assert shown(patched) == ("n***@example.com", "devi***", "Rome")
    again = masked.post(PLAYERS, {"external_id": "ann", "device_id": "device-9"})
    assert shown(again) == ("n***@example.com", "device-9", "R***")


def test_public_key__sees_what_it_always_saw(ann: Player, public_api: Api) -> None:
    path = f"{PLAYERS}/{ann.pk}"
    assert shown(public_api.get(path)) == ("a***@example.com", "device-123", "Ulm")


def test_linked_ids__are_masked_but_for_the_sent_one(ann: Player) -> None:
    sees = Api(secret_key(ann.environment, "track", "personal").token)
    masked = Api(secret_key(ann.environment, "track").token)
    path = f"{PLAYERS}/{ann.pk}/aliases"
    assert sees.post(path, {"external_id": "first"}).data["aliases"] == ["first"]
    assert masked.post(path, {"external_id": "second"}).data["aliases"] == ["f***", "second"]
    assert masked.delete(f"{path}/second").data["aliases"] == ["f***"]


def test_receipt__shows_personal_values_masked(ann: Player) -> None:
    conditions = {
        "operator": "AND",
        "conditions": [
            {"field": "email", "operator": "==", "value": "x"},
            {"field": "city", "operator": "==", "value": "Ulm"},
            {"field": "level", "operator": "==", "value": 3},
        ],
    }
    document = boolean_document(
        enabled=True, rules=(Rule(id="r", variant="enabled", conditions=conditions),)
    )
    flag_create(environment=ann.environment, key="secret", document=document, actor=ACTOR)
    body = {"player_id": str(ann.pk)}
    for path in (f"{FLAGS}/secret/evaluate", f"{FLAGS}/evaluate"):
        for scopes, email, city in (
            (("evaluate",), "“a***”", "“U***”"),
            (("evaluate", "personal"), "“ann@example.com”", "“Ulm”"),
        ):
            api = Api(secret_key(ann.environment, *scopes).token)
            text = api.post(f"{path}?explain=true", body).body.decode()
            for value in (email, city, "3"):
                assert f'"actual":"{value}"' in text
            assert ("ann@example.com" in text) is ("personal" in scopes)
    # A value that the call itself sends is known to the caller.
    api = Api(secret_key(ann.environment, "evaluate").token)
    sent = api.post(f"{FLAGS}/secret/evaluate?explain=true", {**body, "context": {"city": "Bonn"}})
    assert '"actual":"“Bonn”"' in sent.body.decode()


def test_streamed_event__is_masked_without_personal(ann: Player) -> None:
    """The stream itself needs a server: see tests/events/test_v1_stream.py."""
    Api(make_key(ann.environment).token).get(f"{PLAYERS}/{ann.pk}")  # loads the environment
    event = StreamedEvent(
        event_id="e",
        player_id=ann.pk,
        event_name="a",
        timestamp=ann.first_seen_at,
        received_at=ann.first_seen_at,
        status=Status.ACCEPTED,
        session_id=None,
        properties=msgspec.Raw(b'{"city":"Ulm","level":1.50,"text":"to ann@example.com"}'),
    )
    entry = LogEntry(7, event, msgspec.json.encode(event))
    sent = stream.frame(stream.without_personal(ann.environment_id, Arrival(7, entry)))
    assert b'"properties":{"city":"U***","level":1.50,"text":"to a***@example.com"}' in sent
    properties = msgspec.Raw(b'{"a": 1}')
    plain = LogEntry(8, msgspec.structs.replace(event, properties=properties), b"as stored")
    assert stream.without_personal(ann.environment_id, Arrival(8, plain)).entry == plain
    gap = Arrival(9, missed=3)
    assert stream.without_personal(ann.environment_id, gap) == gap


# --- Networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "status"),
    [("10.1.2.3", 200), ("::ffff:10.1.2.3", 200), ("2001:db8::5", 200), ("11.1.2.3", 403)],
)
def test_request__must_come_from_a_network_of_the_key(
    player: Player, address: str, status: int
) -> None:
    networks = ["10.0.0.0/8", "2001:db8::/32"]
    for kind in KeyKind:
        api = Api(make_key(player.environment, kind, networks=networks).token)
        path = f"{PLAYERS}/{player.pk}"
        assert api.request("GET", path, environ={"REMOTE_ADDR": address}).status == status


def test_refused_address__is_named_with_the_fix(environment: Environment, settings: Any) -> None:
    api = Api(secret_key(environment, "read", networks=["10.0.0.0/8"]).token)
    reply = api.get(PLAYERS)
    assert (reply.status, reply.error["code"]) == (403, "UNAUTHORIZED")
    message = message_of(reply)
    assert message.startswith("The address 127.0.0.1 is not among the networks of this key.")
    assert message.endswith("set ILARA_PROXIES.")
    settings.PROXIES = 1
    forwarded = api.get(PLAYERS, x_forwarded_for="203.0.113.9")
    assert "203.0.113.9" in message_of(forwarded)
    assert "PROXIES" not in message_of(forwarded)
    assert api.get(PLAYERS, x_forwarded_for="10.0.0.9").status == 200
    nowhere = api.request("GET", PLAYERS, environ={"REMOTE_ADDR": ""})
    assert message_of(nowhere).startswith("The address of this connection is not")
    ofrep = api.post("/ofrep/v1/evaluate/flags", {"context": {}})
    assert message_of(ofrep).startswith("The address 127.0.0.1 is not among")


def test_edited_networks__are_in_force_on_the_next_request(environment: Environment) -> None:
    new = secret_key(environment, "read")
    assert Api(new.token).get(PLAYERS).status == 200
    api_key_update(new.key, {"networks": ["10.0.0.0/8"]}, actor=ACTOR)
    assert Api(new.token).get(PLAYERS).status == 403

"""POST and PATCH of a player: merging, limits, external ids and masked e-mail addresses."""

from itertools import combinations
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ilara_admin.models import Environment
from players.models import Player, player_id_for
from tests.api_client import PLAYERS, Api, Reply
from tests.factories import make_player
from tests.inputs import inputs

NAMES = inputs("names")


def refused(reply: Reply) -> str:
    assert (reply.status, reply.error["code"]) == (400, "VALIDATION_ERROR")
    return str(reply.error["message"])


def test_first_registration__creates_the_player(public_api: Api, environment: Environment) -> None:
    reply = public_api.post(PLAYERS, {"external_id": "hero"})
    assert reply.status == 201
    assert reply.data["id"] == str(player_id_for(environment.namespace, "hero"))
    assert (reply.data["device_id"], reply.data["email"]) == (None, None)
    assert reply.data["attributes"] == {}
    assert reply.data["first_seen_at"] == reply.data["last_seen_at"]


def test_second_registration__updates_the_player(public_api: Api) -> None:
    first = public_api.register()
    reply = public_api.post(PLAYERS, {"external_id": "player_123"})
    assert reply.status == 200
    assert reply.data["id"] == first["id"]
    assert reply.data["first_seen_at"] == first["first_seen_at"]
    assert reply.data["last_seen_at"] > first["last_seen_at"]


def test_absent_fields__do_not_change_and_null_clears(secret_api: Api) -> None:
    secret_api.register(device_id="d", email="p@example.com", attributes={"a": 1})
    unchanged = secret_api.register()
    assert (unchanged["device_id"], unchanged["email"], unchanged["attributes"]) == (
        "d",
        "p@example.com",
        {"a": 1},
    )
    cleared = secret_api.register(device_id=None, email=None)
    assert (cleared["device_id"], cleared["email"]) == (None, None)
    assert cleared["attributes"] == {"a": 1}


FIELDS = ("device_id", "email", "attributes")


@pytest.mark.parametrize("count", range(4))
@pytest.mark.parametrize("verb", ["register", "patch"])
def test_statement__sets_only_the_columns_that_the_body_gives(
    verb: str, count: int, secret_api: Api
) -> None:
    """Setting a column runs the condition of its trigger."""
    old: dict[str, Any] = {
        "device_id": "d",
        "email": "p@example.com",
        "attributes": {"a": 1, "b": 2},
    }
    new: dict[str, Any] = {"device_id": "new", "email": None, "attributes": {"a": None, "c": 3}}
    stored = {**new, "attributes": {"b": 2, "c": 3}}
    for given in combinations(FIELDS, count):
        name = "-".join(("player", *given))
        path = f"{PLAYERS}/{secret_api.register(name, **old)['id']}"
        body = {field: new[field] for field in given}
        with CaptureQueriesContext(connection) as queries:
            if verb == "register":
                player = secret_api.register(name, **body)
            else:
                player = secret_api.patch(path, body or {"email": ""}).data
        expected = {**old, **{field: stored[field] for field in given}}
        assert {field: player[field] for field in FIELDS} == expected
        assert Player.objects.values(*FIELDS).get(external_id=name) == expected
        writes = [query["sql"] for query in queries if "written AS" in query["sql"]]
        assert len(writes) == (verb == "register" or bool(given))
        for sql in writes:
            assert tuple(field for field in FIELDS if f"{field} = " in sql) == given


def test_empty_text__counts_as_absent(secret_api: Api) -> None:
    player = secret_api.register(device_id="", email="")
    assert (player["device_id"], player["email"]) == (None, None)
    stored = secret_api.register(device_id="d", email="p@example.com")
    assert secret_api.register(device_id="", email="") | {"last_seen_at": ""} == stored | {
        "last_seen_at": ""
    }
    for body in ({"email": ""}, {"device_id": "", "email": ""}, {"email": "", "attributes": None}):
        reply = secret_api.patch(f"{PLAYERS}/{stored['id']}", body)
        assert reply.status == 200
        assert (reply.data["device_id"], reply.data["email"]) == ("d", "p@example.com")


@pytest.mark.parametrize("verb", ["register", "patch"])
def test_attributes__merge_at_the_top_level_only(verb: str, public_api: Api) -> None:
    player = public_api.register(attributes={"a": 1, "b": {"x": 1, "y": 2}, "c": None})
    assert player["attributes"] == {"a": 1, "b": {"x": 1, "y": 2}}
    change = {"a": None, "b": {"z": {"deep": None}}, "d": [None, 1], "e": None}
    if verb == "register":
        changed = public_api.register(attributes=change)
    else:
        path = f"{PLAYERS}/{player['id']}"
        changed = public_api.patch(path, {"attributes": change}).data
    assert changed["attributes"] == {"b": {"z": {"deep": None}}, "d": [None, 1]}


@pytest.mark.parametrize("value", [True, 0, -1.5, "", "é😀", [], {}, [{"a": [1]}], "2026-01-01"])
def test_attribute_of_any_type__is_returned(value: Any, public_api: Api) -> None:
    public_api.register(attributes={"v": value})
    stored = public_api.register()["attributes"]["v"]
    assert (type(stored), stored) == (type(value), value)


def test_null_attributes__count_as_absent(public_api: Api) -> None:
    """A .NET object without attributes is written so."""
    player = public_api.register(attributes={"a": 1})
    assert public_api.register(attributes=None)["attributes"] == {"a": 1}
    reply = public_api.patch(f"{PLAYERS}/{player['id']}", {"attributes": None})
    assert (reply.status, reply.data["attributes"]) == (200, {"a": 1})


# --- Patch ----------------------------------------------------------------------------------------


def test_patch__changes_the_given_fields(secret_api: Api) -> None:
    player = secret_api.register(device_id="d", email="p@example.com", attributes={"a": 1})
    path = f"{PLAYERS}/{player['id']}"
    changed = secret_api.patch(path, {"device_id": "e"}).data
    assert changed == {**player, "device_id": "e"}
    cleared = secret_api.patch(path, {"email": None, "attributes": {"b": 2}}).data
    assert cleared == {**player, "device_id": "e", "email": None, "attributes": {"a": 1, "b": 2}}


def test_patch__does_not_change_last_seen_at(secret_api: Api) -> None:
    player = secret_api.register()
    changed = secret_api.patch(f"{PLAYERS}/{player['id']}", {"device_id": "e"}).data
    assert changed["last_seen_at"] == player["last_seen_at"]


@pytest.mark.parametrize("body", [None, {}, {"external_id": "new"}, {"level": 5}])
def test_patch_without_a_known_field__is_refused(body: Any, public_api: Api) -> None:
    path = f"{PLAYERS}/{public_api.register()['id']}"
    message = "Nothing to change: give device_id, email or attributes"
    assert refused(public_api.patch(path, body)).startswith(message)


def test_patch_with_no_attributes__changes_nothing(public_api: Api) -> None:
    player = public_api.register(attributes={"a": 1})
    assert public_api.patch(f"{PLAYERS}/{player['id']}", {"attributes": {}}).data == player


def test_external_id__is_never_changed(public_api: Api) -> None:
    path = f"{PLAYERS}/{public_api.register()['id']}"
    reply = public_api.patch(path, {"external_id": "new", "device_id": "d"})
    assert reply.data["external_id"] == "player_123"
    assert reply.headers["X-Ilara-Ignored"] == "external_id"


# --- Limits of attributes -------------------------------------------------------------------------

SIZE = "The player's attributes would exceed 64 KiB"
KEYS = "A player can have at most 200 attributes"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"big": "x" * 65_536}, SIZE),
        ({f"k{number}": 1 for number in range(201)}, KEYS),
    ],
)
def test_attributes_over_a_limit__are_refused_at_once(
    body: dict[str, Any], message: str, public_api: Api
) -> None:
    reply = public_api.post(PLAYERS, {"external_id": "x", "attributes": body})
    assert refused(reply) == message
    assert reply.error["details"][0]["field"] == "attributes"
    assert not Player.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_attributes_over_a_limit_by_the_merge__are_refused_and_nothing_changes(
    public_api: Api,
) -> None:
    start = {f"k{number}": 1 for number in range(200)}
    player = public_api.register(attributes=start)
    path = f"{PLAYERS}/{player['id']}"
    assert refused(public_api.patch(path, {"attributes": {"one_more": 1}})) == KEYS
    assert refused(public_api.post(PLAYERS, {"external_id": "player_123", "attributes": {"x": 1}}))
    assert public_api.patch(path, {"attributes": {"k0": None, "one_more": 1}}).status == 200
    assert refused(public_api.patch(path, {"attributes": {"k1": "x" * 65_000}})) == SIZE
    assert public_api.get(path).data["attributes"]["k1"] == 1


def test_attributes_at_the_limits__are_stored(public_api: Api) -> None:
    body = {f"k{number}": "x" * 300 for number in range(200)}
    assert public_api.register(attributes=body)["attributes"] == body


# --- External ids ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("external_id", "in_path"),
    [
        ("steam/76561198000000000", "steam/76561198000000000"),
        ("steam/76561198000000000", "steam%2F76561198000000000"),
        ("a/", "a/"),
        ("//", "%2F%2F"),
        ("100%", "100%25"),
        ("%2F", "%252F"),
        ("a b+c", "a%20b+c"),
        ("a?b#c", "a%3Fb%23c"),
        ("Zoë 😀", "Zo%C3%AB%20%F0%9F%98%80"),
        ("session", "session"),
        ("x/session", "x/session"),
        ("two\nlines", "two%0Alines"),
        ("x" * 255, "x" * 255),
        ("é" * 255, "%C3%A9" * 255),
        ("..", ".."),
    ],
)
def test_external_id_of_any_characters__finds_its_player(
    external_id: str, in_path: str, public_api: Api
) -> None:
    player = public_api.register(external_id)
    assert player["external_id"] == external_id
    assert public_api.get(f"{PLAYERS}/external/{in_path}").data == player


def test_external_ids__are_compared_byte_by_byte(public_api: Api) -> None:
    ids = ["hero", "Hero", "hero.", "h\u00e9ro", "he\u0301ro"]
    assert len({public_api.register(external_id)["id"] for external_id in ids}) == len(ids)


@pytest.mark.parametrize("given", NAMES, ids=lambda given: given["about"])
def test_external_id__needs_something_to_see_and_no_space_outside(
    given: dict[str, Any], public_api: Api
) -> None:
    reply = public_api.post(PLAYERS, {"external_id": given["name"]})
    path = f"{PLAYERS}/external/{quote(given['name'], safe='')}"
    if given["fine"]:
        assert reply.status == 201
        assert public_api.get(path).status == 200
        return
    for each in (reply, public_api.get(path)):
        assert refused(each).startswith("external_id must ")
        assert each.error["details"][0]["field"] == "external_id"
    assert not Player.objects.exists()


def test_player_with_an_id_that_is_refused_now__is_found(
    environment: Environment, public_api: Api
) -> None:
    make_player(environment, "player ")
    assert public_api.get(f"{PLAYERS}/external/player%20").data["external_id"] == "player "


def test_external_id_with_nul_in_the_path__is_refused(public_api: Api) -> None:
    reply = public_api.get(f"{PLAYERS}/external/a%00b")
    assert refused(reply) == "external_id must not contain the character NUL"


def test_external_id_too_long_for_any_player__is_not_found(public_api: Api) -> None:
    assert public_api.get(f"{PLAYERS}/external/{'x' * 300}").status == 404


# --- E-mail ---------------------------------------------------------------------------------------


def test_email__is_masked_for_a_public_key_unless_it_sent_it(
    public_api: Api, secret_api: Api
) -> None:
    player = public_api.register(email="player@example.com")
    path = f"{PLAYERS}/{player['id']}"
    assert player["email"] == "player@example.com"
    masked = "p***@example.com"
    assert public_api.get(path).data["email"] == masked
    assert public_api.get(f"{PLAYERS}/external/player_123").data["email"] == masked
    assert public_api.register()["email"] == masked
    assert public_api.patch(path, {"device_id": "d"}).data["email"] == masked
    assert public_api.post(f"{path}/session").data["email"] == masked
    assert public_api.post(f"{path}/purchase?amount=1").data["email"] == masked
    sent = public_api.patch(path, {"email": "other@example.com"}).data
    assert sent["email"] == "other@example.com"
    assert secret_api.get(path).data["email"] == "other@example.com"


@pytest.mark.parametrize(
    ("email", "masked"),
    [
        ("p@example.com", "p***@example.com"),
        ("a@b@example.com", "a***@example.com"),
        ("@example.com", "***@example.com"),
        ("no address", "n***"),
        ("[email\u00a0protected]", "[***"),
    ],
)
def test_email_of_any_form__is_stored_and_masked(
    email: str, masked: str, public_api: Api, secret_api: Api
) -> None:
    path = f"{PLAYERS}/{public_api.register(email=email)['id']}"
    assert public_api.get(path).data["email"] == masked
    assert secret_api.get(path).data["email"] == email


def test_email__is_shown_to_public_keys_if_the_environment_allows_it(
    environment: Environment, public_api: Api
) -> None:
    Environment.objects.filter(pk=environment.pk).update(public_keys_read_email=True)
    path = f"{PLAYERS}/{public_api.register(email='p@example.com')['id']}"
    assert public_api.get(path).data["email"] == "p@example.com"

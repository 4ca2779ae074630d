"""Endpoints that link and unlink external ids."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from django.db import connection, transaction

from ilara_admin.core import api_keys
from ilara_admin.models import ApiKey, AuditEntry, Environment, KeyKind
from players import aliases
from players.models import Player, PlayerAlias, player_id_for
from tests.api_client import PLAYERS, Api
from tests.factories import ACTOR, make_environment, make_player
from tests.homes import HANG_SECONDS
from tests.threads import until_somebody_waits


@pytest.fixture
def path(player: Player) -> str:
    return f"{PLAYERS}/{player.pk}/aliases"


def test_link__returns_201_and_if_repeated_200(path: str, player: Player, secret_api: Api) -> None:
    for status in (201, 200):
        reply = secret_api.post(path, {"external_id": "guest-7"})
        assert reply.status == status
        assert reply.data == {
            "player_id": str(player.pk),
            "external_id": "player_123",
            "aliases": ["guest-7"],
        }


def test_aliases__are_in_order_of_linking(path: str, secret_api: Api) -> None:
    for external_id in ("zoe", "amy"):
        reply = secret_api.post(path, {"external_id": external_id})
    assert reply.data["aliases"] == ["zoe", "amy"]


@pytest.mark.parametrize("external_id", ["guest-7", "a/b/c", "x y%é", "line\nend", "aliases"])
def test_unlink__takes_the_percent_decoded_id(external_id: str, path: str, secret_api: Api) -> None:
    secret_api.post(path, {"external_id": external_id})
    reply = secret_api.delete(f"{path}/{quote(external_id, safe='/')}")
    assert (reply.status, reply.data["aliases"]) == (200, [])
    reply = secret_api.delete(f"{path}/{quote(external_id, safe='')}")
    assert (reply.status, reply.error["message"]) == (404, "The player has no such alias")


def test_audit_log__names_the_key(path: str, secret_api: Api, environment: Environment) -> None:
    secret_api.post(path, {"external_id": "guest-7"})
    secret_api.delete(f"{path}/guest-7")
    key = environment.api_keys.get(kind=KeyKind.SECRET)
    entries = list(AuditEntry.objects.filter(object_type="player").order_by("-id"))
    assert [entry.action for entry in entries] == ["player.alias_unlinked", "player.alias_linked"]
    assert {(entry.actor_key_id, entry.actor_name) for entry in entries} == {(key.pk, key.name)}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"external_id": "other"}, 409),
        ({"external_id": "player_123"}, 409),
        ({}, 400),
        ({"external_id": ""}, 400),
        ({"external_id": "x" * 256}, 400),
        ({"external_id": "a\0b"}, 400),
        ({"external_id": 7}, 400),
    ],
)
def test_invalid_link__names_the_field(
    body: dict[str, object], status: int, path: str, secret_api: Api, environment: Environment
) -> None:
    make_player(environment, "other")
    reply = secret_api.post(path, body)
    assert (reply.status, reply.error["code"]) == (status, "VALIDATION_ERROR")
    assert reply.error["details"][0]["field"] == "external_id"
    assert not PlayerAlias.objects.exists()


def test_public_key__cannot_link_or_unlink(path: str, public_api: Api) -> None:
    assert public_api.post(path, {"external_id": "guest-7"}).status == 403
    assert public_api.delete(f"{path}/guest-7").status == 403


def test_player_of_another_environment__is_404(secret_api: Api) -> None:
    other = make_player(make_environment(), "guest")
    path = f"{PLAYERS}/{other.pk}/aliases"
    assert secret_api.post(path, {"external_id": "guest-7"}).status == 404
    assert secret_api.delete(f"{path}/guest-7").status == 404


@pytest.mark.django_db(transaction=True)
def test_key_revoked_while_the_call_waits__writes_nothing(
    path: str, player: Player, environment: Environment, secret_api: Api
) -> None:
    alias_id = player_id_for(environment.namespace, "guest-7")
    secret_api.get(f"{PLAYERS}/external/player_123")  # caches the key in the process

    def link() -> tuple[int, str]:
        try:
            reply = secret_api.post(path, {"external_id": "guest-7"})
            return reply.status, reply.error["message"]
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            aliases.lock_for_link(environment.pk, player.pk, alias_id)
            waiting = pool.submit(link)
            until_somebody_waits()
            key = ApiKey.objects.get(kind=KeyKind.SECRET)
            api_keys.api_key_revoke(key, actor=ACTOR)
        reply = waiting.result(timeout=HANG_SECONDS)
    assert reply[0] == 401
    assert reply[1].startswith("Invalid API key: it has been revoked")
    assert not PlayerAlias.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_link_during_a_long_erasure__gives_up_so_that_players_can_register(
    path: str, player: Player, secret_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aliases, "PATIENCE", "50ms")

    def act(_: None) -> tuple[int, int]:
        try:
            linked = secret_api.post(path, {"external_id": "guest-7"})
            return linked.status, secret_api.post(PLAYERS, {"external_id": "new"}).status
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        aliases.lock_for_erasure(player)
        assert pool.submit(act, None).result(timeout=HANG_SECONDS) == (503, 201)

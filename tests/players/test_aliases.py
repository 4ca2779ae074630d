"""Aliases: lookups, linking and unlinking, rows that move."""

from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from flags.models import Flag, FlagOverride
from ilara_admin.core.changes import Conflict, undo
from ilara_admin.models import AuditEntry, Environment
from players import aliases
from players.aliases import (
    MAX_ALIASES,
    aliases_of,
    player_alias_link,
    player_alias_unlink,
    player_id_of,
)
from players.models import Player, PlayerAlias, player_id_for
from segments.lists.services import ids_add, ids_remove, list_import, list_run, list_undo
from segments.models import Segment, SegmentMember
from tests.api_client import EVENTS, PLAYERS, Api
from tests.factories import ACTOR, make_environment, make_player
from tests.pages import HTMX, signed_in, text_of, url_of

OFREP = "/ofrep/v1/evaluate/flags/new_tutorial"


@pytest.fixture
def linked(player: Player) -> Player:
    player_alias_link(player, "guest-7", actor=ACTOR)
    return player


@pytest.fixture
def segment(environment: Environment) -> Segment:
    return Segment.objects.get(environment=environment, key="beta-testers")


def members(segment: Segment) -> list[tuple[Any, str, bool]]:
    rows = SegmentMember.objects.filter(segment=segment).order_by("excluded", "external_id")
    return list(rows.values_list("player_id", "external_id", "excluded"))


def sizes(segment: Segment) -> tuple[int, int]:
    segment.refresh_from_db()
    return segment.included, segment.excluded


# --- Lookups --------------------------------------------------------------------------------------


def test_registration_with_an_alias__updates_the_player(linked: Player, public_api: Api) -> None:
    body = {"external_id": "guest-7", "attributes": {"level": 9}}
    reply = public_api.post(PLAYERS, body)
    assert reply.status == 200
    assert (reply.data["id"], reply.data["external_id"]) == (str(linked.pk), linked.external_id)
    assert Player.objects.get().attributes == {"level": 9}


def test_player_by_an_alias__is_found(linked: Player, public_api: Api) -> None:
    reply = public_api.get(f"{PLAYERS}/external/guest-7")
    assert reply.data["external_id"] == linked.external_id
    assert public_api.get(f"{PLAYERS}/external/guest-8").status == 404


def test_id_derived_from_an_alias__is_not_a_player_id(
    linked: Player, environment: Environment, public_api: Api
) -> None:
    computed = player_id_for(environment.namespace, "guest-7")
    assert public_api.get(f"{PLAYERS}/{computed}").status == 404


def test_alias_of_another_environment__is_unknown(linked: Player) -> None:
    other = make_environment()
    assert player_id_of(other, "guest-7") == player_id_for(other.namespace, "guest-7")


def test_targeting_key__may_be_an_alias(
    linked: Player, environment: Environment, public_api: Api
) -> None:
    flag = Flag.objects.get(environment=environment, key="new_tutorial")
    FlagOverride.objects.create(
        player_id=linked.pk, flag=flag, variant="enabled", author_name="Ada"
    )
    reasons = [
        public_api.post(OFREP, {"context": {"targetingKey": key}}).json["metadata"]["reason"]
        for key in ("guest-7", "guest-8")
    ]
    assert reasons[0] == "override" != reasons[1]


def test_alias_on_a_list__stands_for_its_player(linked: Player, segment: Segment) -> None:
    ids_add(segment, ["guest-7", linked.external_id], excluded=False, actor=ACTOR)
    assert members(segment) == [(linked.pk, linked.external_id, False)]
    assert sizes(segment) == (1, 0)
    ids_remove(segment, ["guest-7"], excluded=False, actor=ACTOR)
    assert (members(segment), sizes(segment)) == ([], (0, 0))


def test_file_that_replaces_a_list__keeps_players_named_by_alias(
    linked: Player, segment: Segment
) -> None:
    ids_add(segment, [linked.external_id, "goes"], excluded=False, actor=ACTOR)
    change = list_import(segment, excluded=False, actor=ACTOR, replace=True)
    list_run(change, [b"guest-7\n"])
    assert members(segment) == [(linked.pk, linked.external_id, False)]


def test_commands__accept_an_alias(linked: Player, environment: Environment) -> None:
    call_command("player_export", str(environment), "guest-7", stdout=(out := StringIO()))
    assert str(linked.pk) in out.getvalue()
    with pytest.raises(CommandError, match="has no player"):
        call_command("player_export", str(environment), "guest-8")


# --- Linking and unlinking ------------------------------------------------------------------------


def test_linking_twice__changes_nothing(linked: Player) -> None:
    entries = AuditEntry.objects.count()
    assert player_alias_link(linked, "guest-7", actor=ACTOR) is None
    assert (AuditEntry.objects.count(), PlayerAlias.objects.count()) == (entries, 1)


@pytest.mark.parametrize(
    ("external_id", "message"),
    [
        ("", "Enter the external id"),
        ("x" * 256, "255 characters at most"),
        ("a\0b", "NUL"),
        ("player_123", "is the external id of this player"),
        ("other", "is the id of another player"),
        ("taken", "linked to another player, other"),
    ],
)
def test_invalid_link__is_refused(
    external_id: str, message: str, player: Player, environment: Environment
) -> None:
    other = make_player(environment, "other")
    player_alias_link(other, "taken", actor=ACTOR)
    with pytest.raises(ValidationError, match=message) as refused:
        player_alias_link(player, external_id, actor=ACTOR)
    assert list(refused.value.message_dict) == ["external_id"]
    assert aliases_of(player.pk) == []


def test_aliases_of_one_player__are_limited(
    player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_ALIASES == 100
    monkeypatch.setattr(aliases, "MAX_ALIASES", 2)
    for number in range(2):
        player_alias_link(player, f"guest-{number}", actor=ACTOR)
    with pytest.raises(ValidationError, match="2 linked ids at most"):
        player_alias_link(player, "guest-2", actor=ACTOR)


def test_link_and_unlink__are_audited(linked: Player) -> None:
    player_alias_unlink(linked, "guest-7", actor=ACTOR, reason="Wrong one")
    unlinked, link = AuditEntry.objects.filter(object_type="player").order_by("-id")[:2]
    assert (link.action, unlinked.action) == ("player.alias_linked", "player.alias_unlinked")
    assert (link.after or {})["alias"] == (unlinked.before or {})["alias"] == "guest-7"
    assert (unlinked.object_name, unlinked.reason) == (linked.external_id, "Wrong one")
    assert player_alias_unlink(linked, "guest-7", actor=ACTOR) is None


def test_unlinked_id__can_be_registered(linked: Player, public_api: Api) -> None:
    player_alias_unlink(linked, "guest-7", actor=ACTOR)
    reply = public_api.post(PLAYERS, {"external_id": "guest-7"})
    assert (reply.status, reply.data["external_id"]) == (201, "guest-7")


def test_link_and_unlink__can_be_undone(linked: Player) -> None:
    link = AuditEntry.objects.get(action="player.alias_linked")
    unlink = undo(link, actor=ACTOR)
    assert unlink is not None
    assert aliases_of(linked.pk) == []
    undo(unlink, actor=ACTOR)
    assert aliases_of(linked.pk) == ["guest-7"]
    with pytest.raises(Conflict):
        undo(unlink, actor=ACTOR)


def test_undo_of_unlinking_a_registered_id__is_refused(
    linked: Player, environment: Environment
) -> None:
    entry = player_alias_unlink(linked, "guest-7", actor=ACTOR)
    assert entry is not None
    make_player(environment, "guest-7")
    with pytest.raises(ValidationError, match="is the id of another player"):
        undo(entry, actor=ACTOR)


# --- Rows stored under an alias -------------------------------------------------------------------


def test_list_rows_of_a_linked_id__move_to_the_player(
    player: Player, segment: Segment, public_api: Api
) -> None:
    ids_add(segment, ["guest-7", "unlinked"], excluded=False, actor=ACTOR)
    path = f"/v1/segments/segments/{segment.key}/evaluate"
    assert not public_api.post(path, {"player_id": str(player.pk)}).data["is_member"]
    player_alias_link(player, "guest-7", actor=ACTOR)
    assert public_api.post(path, {"player_id": str(player.pk)}).data["is_member"]
    unlinked = player_id_for(segment.environment.namespace, "unlinked")
    assert members(segment) == [(player.pk, "player_123", False), (unlinked, "unlinked", False)]
    assert sizes(segment) == (2, 0)


def test_rows_of_both__keep_the_players_rows(player: Player, segment: Segment) -> None:
    own = ids_add(segment, ["player_123"], excluded=False, actor=ACTOR)
    ids_add(segment, ["guest-7"], excluded=False, actor=ACTOR)
    ids_add(segment, ["guest-7"], excluded=True, actor=ACTOR)
    player_alias_link(player, "guest-7", actor=ACTOR)
    assert members(segment) == [
        (player.pk, "player_123", False),
        (player.pk, "player_123", True),
    ]
    assert sizes(segment) == (1, 1)
    assert SegmentMember.objects.get(segment=segment, excluded=False).change_id == own.pk


def test_undo_of_removing_an_alias__restores_its_player(player: Player, segment: Segment) -> None:
    ids_add(segment, ["guest-7"], excluded=False, actor=ACTOR)
    removal = ids_remove(segment, ["guest-7"], excluded=False, actor=ACTOR)
    player_alias_link(player, "guest-7", actor=ACTOR)
    list_run(list_undo(removal, actor=ACTOR))
    assert members(segment) == [(player.pk, "player_123", False)]


def test_override_of_a_linked_id__moves_unless_the_player_has_one(
    player: Player, environment: Environment
) -> None:
    moves, stays = Flag.objects.filter(environment=environment).order_by("id")[:2]
    waiting = player_id_for(environment.namespace, "guest-7")
    for flag, player_id, variant in (
        (moves, waiting, "guest"), (stays, waiting, "guest"), (stays, player.pk, "own"),
    ):  # fmt: skip
        FlagOverride.objects.create(
            player_id=player_id, flag=flag, variant=variant, author_name="Ada"
        )
    player_alias_link(player, "guest-7", actor=ACTOR)
    rows = FlagOverride.objects.order_by("flag_id").values_list("player_id", "flag_id", "variant")
    assert list(rows) == [(player.pk, moves.pk, "guest"), (player.pk, stays.pk, "own")]


# --- In the dashboard -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args"), [("flag_detail", ["new_tutorial"]), ("segment_detail", ["beta-testers"])]
)
def test_try_it_with_an_alias__evaluates_its_player(
    name: str, args: list[str], linked: Player
) -> None:
    url = url_of(linked.environment, name, *args)
    page = text_of(signed_in().get(url, {"player": "guest-7"}, headers=HTMX))
    assert url_of(linked.environment, "player_detail", linked.pk) in page


def test_events_of_an_alias__are_those_of_its_player(linked: Player, public_api: Api) -> None:
    for player_id, event in ((linked.pk, "mine"), (make_player(linked.environment, "o").pk, "its")):
        public_api.post(EVENTS, {"player_id": str(player_id), "event_name": event})
    page = text_of(signed_in().get(url_of(linked.environment, "event_tail"), {"player": "guest-7"}))
    assert (">mine<" in page, ">its<" in page) == (True, False)

"""Changes for the players that are selected in the list."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from ilara_admin.models import AuditEntry, Environment, Role
from players.models import Player, PlayerNote
from segments.lists.services import ids_add
from segments.models import Segment, SegmentMember
from tests.factories import ACTOR, make_environment, make_player
from tests.pages import message_of, text_of, url_of

BACK = "stage=new&sort=id"


@pytest.fixture
def players(environment: Environment) -> list[Player]:
    return [make_player(environment, name) for name in ("ada", "bob", "cyd")]


@pytest.fixture
def client(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.LIVE_OPS)


def post(client: Client, environment: Environment, action: str, players: Any, **data: str) -> Any:
    ids = [str(getattr(each, "pk", each)) for each in players]
    url = url_of(environment, f"player_bulk_{action}")
    return client.post(url, {"player": ids, "back": BACK, **data})


def undo(client: Client, environment: Environment, name: str) -> None:
    entry = AuditEntry.objects.order_by("-id")[0]
    response = client.post(url_of(environment, name, entry.pk))
    assert response.status_code == 302, text_of(response)


def test_players__are_added_to_a_list_in_one_change(
    client: Client, players: list[Player], environment: Environment
) -> None:
    segment = Segment.objects.get(environment=environment, key="beta-testers")
    ids_add(segment, ["bob"], excluded=True, actor=ACTOR)
    review = text_of(post(client, environment, "list", players))
    assert "Add 3 players to a segment" in review
    response = post(
        client, environment, "list", players,
        reviewed="1", segment="beta-testers", which="exclude", reason="They asked",
    )  # fmt: skip
    assert response["Location"] == f"{url_of(environment, 'player_list')}?sort=id&stage=new"
    assert "Added 2 players to the exclude list of beta-testers." in message_of(response)
    members = SegmentMember.objects.filter(segment=segment, excluded=True)
    assert set(members.values_list("external_id", flat=True)) == {"ada", "bob", "cyd"}
    assert AuditEntry.objects.latest("id").reason == "They asked"
    undo(client, environment, "audit_undo")
    assert set(members.values_list("external_id", flat=True)) == {"bob"}
    again = post(
        client, environment, "list", players[1:2],
        reviewed="1", segment="beta-testers", which="exclude",
    )  # fmt: skip
    assert "Nothing was changed." in message_of(again)


def test_note__is_added_to_each_player_and_taken_back_from_all(
    client: Client, players: list[Player], environment: Environment
) -> None:
    assert "Add a note to 2 players" in text_of(post(client, environment, "note", players[:2]))
    empty = post(client, environment, "note", players[:2], reviewed="1", text=" ")
    assert empty.status_code == 422
    response = post(client, environment, "note", players[:2], reviewed="1", text="Refunded")
    assert "Added the note to 2 players." in message_of(response)
    assert set(PlayerNote.objects.values_list("player__external_id", "text")) == {
        ("ada", "Refunded"), ("bob", "Refunded"),
    }  # fmt: skip
    undo(client, environment, "audit_undo_together")
    assert not PlayerNote.objects.exists()


def test_selection__is_checked(
    client: Client, players: list[Player], environment: Environment
) -> None:
    stranger = make_player(make_environment(), "stranger")
    for chosen, reason in (
        ([], "Select players first."),
        (["made-up"], "Select players first."),
        ([stranger], "erased meanwhile"),
    ):
        response = post(client, environment, "note", chosen, reviewed="1", text="x")
        assert reason in message_of(response)
    assert not PlayerNote.objects.exists()


def test_unknown_segment__is_an_error_of_the_form(
    client: Client, players: list[Player], environment: Environment
) -> None:
    response = post(
        client, environment, "list", players, reviewed="1", segment="gone", which="include"
    )
    assert response.status_code == 422
    assert not SegmentMember.objects.exists()

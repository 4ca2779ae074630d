"""Export and erasure of a player in the dashboard."""

import json
from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client

from ilara_admin.models import AuditAction, AuditEntry, Environment, Role
from players.models import Player
from players.notes import note_add
from tests.factories import ACTOR, make_player
from tests.pages import HTMX, message_of, text_of, url_of

pytestmark = pytest.mark.django_db

PIA = "pia_4711"
STRANGE = " pia\u202e\t x "


@pytest.fixture
def admin(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.ADMIN)


@pytest.fixture
def pia(environment: Environment) -> Player:
    player = make_player(environment, PIA, email="pia@example.com", attributes={"level": 3})
    note_add(player, "Lost the gems", actor=ACTOR)
    return player


def test_export__is_that_of_the_command_and_is_audited(admin: Client, pia: Player) -> None:
    url = url_of(pia.environment, "player_data_export", pia.pk)
    html = text_of(admin.get(url, headers=HTMX))
    assert "1 note" in html
    assert "hx-post" not in html  # a download needs a plain form
    response = admin.post(url, {"reason": "Ticket 7"})
    assert f'filename="player-{pia.pk}.json"' in response["Content-Disposition"]
    entry = AuditEntry.objects.get(action=AuditAction.PLAYER_EXPORTED)
    assert (entry.reason, (entry.after or {})["rows"]["player_note"]) == ("Ticket 7", 1)
    written = StringIO()
    call_command("player_export", str(pia.environment), PIA, stdout=written)
    assert json.loads(response.content) == json.loads(written.getvalue())


def test_erasure__needs_the_typed_id_and_says_what_goes(admin: Client, pia: Player) -> None:
    url = url_of(pia.environment, "player_erase", pia.pk)
    html = text_of(admin.get(url))
    for text in ("cannot be undone", "1 note", "Type <code>pia_4711</code> to confirm"):
        assert text in html
    for typed in ({}, {"typed": ""}, {"typed": PIA.upper()}):
        refused = admin.post(url, typed)
        assert refused.status_code == 422
        assert "does not match. Nothing was erased." in text_of(refused)
    assert Player.objects.filter(pk=pia.pk).exists()
    response = admin.post(url, {"typed": f" {PIA} ", "reason": f"{PIA} asked"})
    assert response.headers["Location"] == url_of(pia.environment, "player_list")
    assert "1 in player_note" in message_of(response)
    assert not Player.objects.filter(pk=pia.pk).exists()
    entry = AuditEntry.objects.get(action=AuditAction.PLAYER_ERASED)
    assert PIA not in entry.reason
    assert admin.get(url).status_code == 404


def test_id_that_cannot_be_typed__has_a_form_that_can(
    admin: Client, environment: Environment
) -> None:
    player = make_player(environment, STRANGE)
    url = url_of(environment, "player_erase", player.pk)
    assert r"Type <code>pia\u202e\u0009 x</code>" in text_of(admin.get(url))
    blank = make_player(environment, "   ")
    url = url_of(environment, "player_erase", blank.pk)
    assert admin.post(url, {"typed": ""}).status_code == 422
    assert admin.post(url, {"typed": str(blank.pk)}).status_code == 302

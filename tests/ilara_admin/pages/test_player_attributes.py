"""The editor of a player's attributes: one in a dialog, or all in one form."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils.html import escape

from ilara_admin.models import AuditAction, AuditEntry, Environment, Role
from players.models import Player
from segments.editor import suggestions
from tests.factories import make_player
from tests.form_fields import fields_of
from tests.pages import HTMX, message_of, text_of, url_of

pytestmark = pytest.mark.django_db

NAME = 'a/b.c "d"\n<é>'
STORED: dict[str, Any] = {
    "level": 7, "code": "007", "ratio": 1.0, "big": 9007199254740993, "vip": False, "tags": ["a"],
    "stats": {"wins": 7}, "seen": "2026-05-04T12:00:00+02:00", "poem": "a\r\nb", NAME: " x ",
}  # fmt: skip


@pytest.fixture
def support(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.SUPPORT)


@pytest.fixture
def pia(environment: Environment) -> Player:
    return make_player(environment, "pia", attributes=STORED)


def url_all(player: Player) -> str:
    return url_of(player.environment, "player_attributes", player.pk)


def url_one(player: Player) -> str:
    return url_of(player.environment, "player_attribute", player.pk)


def form_at(client: Client, url: str, **query: str) -> dict[str, list[str]]:
    """The fields of the form at a URL, as a browser posts them: with its kind of line breaks."""
    form_id = "attribute" if "/one/" in url else "editor"
    sent = fields_of(text_of(client.get(url, query)), form_id)
    return {
        name: [("" if name.endswith("name") else "\r\n").join(text.splitlines()) for text in values]
        for name, values in sent.items()
    }


def now(player: Player) -> dict[str, Any]:
    player.refresh_from_db()
    found: dict[str, Any] = player.attributes
    return found


def row_of(sent: dict[str, list[str]], name: str) -> str:
    """The prefix of the row of an attribute."""
    return next(key.removesuffix("name") for key, value in sent.items() if value == [name])


def test_unchanged_form__keeps_every_value_as_it_is(support: Client, pia: Player) -> None:
    assert support.post(url_all(pia), form_at(support, url_all(pia))).status_code == 302
    assert repr(sorted(now(pia).items())) == repr(sorted(STORED.items()))
    assert not AuditEntry.objects.filter(action=AuditAction.PLAYER_UPDATED).exists()


def test_all__adds_changes_renames_and_removes_with_one_undo(support: Client, pia: Player) -> None:
    sent = form_at(support, url_all(pia)) | {"row": ["add"]}
    again = text_of(support.post(url_all(pia), sent))
    assert now(pia) == STORED
    sent = fields_of(again, "editor")
    new = f"attribute-{len(STORED)}-"
    sent |= {f"{new}name": ["coins"], f"{new}type": ["number"], f"{new}value": ["5"]}
    sent[f"{row_of(sent, 'level')}value"] = ["8"]
    sent[f"{row_of(sent, 'code')}type"] = ["number"]
    sent[f"{row_of(sent, 'code')}value"] = ["7"]
    sent[f"{row_of(sent, 'vip')}remove"] = ["on"]
    sent[f"{row_of(sent, 'ratio')}name"] = ["share"]
    Player.objects.filter(pk=pia.pk).update(attributes={**STORED, "by_game": 1, "tags": ["b"]})
    response = support.post(url_all(pia), sent | {"reason": ["Ticket 7"]})
    assert response.status_code == 302
    expected = {**STORED, "by_game": 1, "tags": ["b"], "coins": 5, "level": 8, "code": 7}
    expected["share"] = expected.pop("ratio")
    del expected["vip"]
    assert now(pia) == expected
    entry = AuditEntry.objects.get(action=AuditAction.PLAYER_UPDATED)
    assert entry.reason == "Ticket 7"
    assert set((entry.after or {})["attributes"]) == {"coins", "level", "code", "share"}
    support.post(url_of(pia.environment, "audit_undo", entry.pk))
    assert now(pia) == {**STORED, "by_game": 1, "tags": ["b"]}


def test_errors__name_the_attribute_and_nothing_is_saved(support: Client, pia: Player) -> None:
    sent = form_at(support, url_all(pia))
    sent[f"{row_of(sent, 'level')}value"] = ["seven"]
    sent[f"{row_of(sent, 'ratio')}value"] = ["1e999"]
    sent[f"{row_of(sent, 'code')}name"] = ["vip"]
    sent[f"{row_of(sent, 'stats')}name"] = [""]
    response = support.post(url_all(pia), sent)
    assert response.status_code == 422
    html = text_of(response)
    for text in (
        "“level” must be a number, like 42 or -1.5",
        "“ratio” has a number that is out of range",
        "“vip” exists already",
        "1 to 128 characters",
    ):
        assert text in html
    assert now(pia) == STORED


@pytest.mark.parametrize("name", [*STORED])
def test_one__shows_the_stored_value_and_saves_it_unchanged(
    support: Client, pia: Player, name: str
) -> None:
    sent = form_at(support, url_one(pia), attribute=name)
    url = f"{url_one(pia)}?{support.get(url_one(pia), {'attribute': name}).request['QUERY_STRING']}"
    response = support.post(url, sent)
    assert "Nothing was changed." in message_of(response)
    assert repr(sorted(now(pia).items())) == repr(sorted(STORED.items()))


def test_one__is_changed_renamed_and_removed(support: Client, pia: Player) -> None:
    url = f"{url_one(pia)}?attribute=level"
    response = support.post(
        url, form_at(support, url) | {"value": ["8"], "name": ["lvl"]}, headers=HTMX
    )
    assert response["HX-Redirect"] == url_of(pia.environment, "player_detail", pia.pk)
    assert now(pia)["lvl"] == 8
    assert "level" not in now(pia)
    assert support.get(url).status_code == 404
    url = f"{url_one(pia)}?attribute=lvl"
    support.post(url, form_at(support, url) | {"value": ["?"], "removes": ["1"]})
    assert "lvl" not in now(pia)


def test_new_attribute__cannot_replace_another(support: Client, pia: Player) -> None:
    sent = form_at(support, url_one(pia)) | {"name": ["level"], "value": ["x"]}
    response = support.post(url_one(pia), sent)
    assert response.status_code == 422
    assert "“level” exists already. Edit it, or choose another name." in text_of(response)


def test_change_by_the_game_meanwhile__is_a_conflict(support: Client, pia: Player) -> None:
    url = f"{url_one(pia)}?attribute=level"
    sent = form_at(support, url) | {"value": ["8"]}
    Player.objects.filter(pk=pia.pk).update(attributes={**STORED, "level": 9, "vip": True})
    refused = support.post(url, sent)
    assert refused.status_code == 409
    assert now(pia)["level"] == 9
    assert support.post(url, fields_of(text_of(refused), "conflict")).status_code == 302
    assert now(pia) == {**STORED, "level": 8, "vip": True}


def test_attribute_removed_meanwhile__can_be_written_again(support: Client, pia: Player) -> None:
    url = f"{url_one(pia)}?attribute=level"
    sent = form_at(support, url) | {"value": ["8"]}
    Player.objects.filter(pk=pia.pk).update(attributes={})
    refused = support.post(url, sent)
    assert refused.status_code == 409
    assert support.post(url, fields_of(text_of(refused), "conflict")).status_code == 302
    assert now(pia) == {"level": 8}


def test_suggestions__are_the_names_and_types_of_other_players(
    support: Client, pia: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggestions, "catalogues", {})
    html = text_of(support.get(url_one(pia)))
    assert '<option value="level">number, 100 % of players</option>' in html
    assert f'<option value="{escape(NAME)}">' not in html  # a text input cannot hold it
    assert 'value="stats.wins"' not in html
    sent = form_at(support, url_one(pia)) | {"name": ["vip"], "row": ["name"]}
    html = text_of(support.post(url_one(pia), sent))
    assert '<option value="yes_no" selected>' in html


def test_personal_attributes__are_masked_for_viewers(
    staff_client: Callable[..., Client], pia: Player
) -> None:
    pia.environment.personal_attributes = ["code", "stats"]
    pia.environment.save(update_fields=["personal_attributes"])
    url = url_of(pia.environment, "player_detail", pia.pk)
    html = text_of(staff_client(Role.VIEWER).get(url))
    assert "&quot;007" not in html
    assert "&quot;wins&quot;" not in html
    assert "&quot;0***&quot;" in html
    assert "&quot;007&quot;" in text_of(staff_client(Role.SUPPORT).get(url))

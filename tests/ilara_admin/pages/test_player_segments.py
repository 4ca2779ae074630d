"""The segments on a player's page: those the player is in, those not, and why."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from ilara_admin.models import Environment, Role
from ilara_admin.pages.player_segments import SHOWN_SEGMENTS
from players.models import Player
from segments.language import trace
from segments.models import Segment
from tests.factories import make_player
from tests.pages import HTMX, text_of, url_of

pytestmark = pytest.mark.django_db

LEVELS = 60


@pytest.fixture
def player(environment: Environment) -> Player:
    """A player at level 4.5 of an environment with 60 segments: `level-00`, `level-01`, …"""
    Segment.objects.all().delete()
    for level in range(LEVELS):
        rule = {"field": "level", "operator": ">=", "value": level}
        Segment.objects.create(
            environment=environment,
            key=f"level-{level:02}",
            rule={"operator": "AND", "conditions": [rule]},
        )
    return make_player(environment, "pia", attributes={"level": 4.5}, email="pia@example.com")


def keys(html: str) -> list[str]:
    return re.findall(
        r">(level-\d\d)</a>", html.partition('id="segments"')[2].partition("</ul>")[0]
    )


def test_members__have_their_reason_on_the_page_and_others_on_demand(
    player: Player, staff_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = staff_client(Role.SUPPORT)
    explained: list[int] = []

    def noted(*given: Any) -> str:
        explained.append(1)
        return trace.why(*given)

    monkeypatch.setattr("ilara_admin.pages.player_segments.why", noted)
    html = text_of(client.get(url_of(player.environment, "player_detail", player.pk)))
    assert keys(html) == [f"level-{level:02}" for level in range(5)]
    assert "level is at least 4 (actual: 4.5)." in html
    assert len(explained) == 5
    url = url_of(player.environment, "player_segments", player.pk)
    assert f'hx-get="{url}?show=out"' in html

    explained.clear()
    html = text_of(client.get(url, {"show": "out"}, headers=HTMX))
    assert "<!doctype" not in html
    assert keys(html)[0] == "level-05"
    assert len(keys(html)) == len(explained) == SHOWN_SEGMENTS
    assert "level must be at least 5 (actual: 4.5)." in html
    found, pages = keys(html), 1
    while following := re.search(r'id="segments-older"[^>]*? href="([^"]+)"', html):
        html = text_of(client.get(following[1].replace("&amp;", "&")))
        found += keys(html)
        pages += 1
    assert (found, pages) == ([f"level-{level:02}" for level in range(5, LEVELS)], 3)


def test_search__finds_both(player: Player, staff_client: Callable[..., Client]) -> None:
    url = url_of(player.environment, "player_segments", player.pk)
    html = text_of(staff_client(Role.VIEWER).get(url, {"segment": "LEVEL-2"}))
    assert keys(html) == [f"level-{level}" for level in range(20, 30)]
    html = text_of(staff_client(Role.VIEWER).get(url, {"segment": "-04"}))
    assert keys(html) == ["level-04"]
    html = text_of(staff_client(Role.VIEWER).get(url, {"segment": "none"}))
    assert "No segment has a key with this text." in html


def test_personal_data__is_hidden_from_viewers(
    player: Player, staff_client: Callable[..., Client]
) -> None:
    environment = player.environment
    environment.personal_attributes = ["level"]
    environment.save(update_fields=["personal_attributes"])
    mail = {"field": "email", "operator": "ends_with", "value": "@other.example"}
    rule = {"operator": "AND", "conditions": [mail]}
    Segment.objects.create(environment=environment, key="mail", rule=rule)
    url = url_of(environment, "player_segments", player.pk)
    for role, shown in ((Role.VIEWER, False), (Role.SUPPORT, True)):
        html = text_of(staff_client(role).get(url, {"segment": "mail"}))
        assert ("pia@example.com" in html) is shown
        assert ("(actual: “p***”)" in html) is not shown
        html = text_of(staff_client(role).get(url))
        assert ("(actual: 4.5)" in html) is shown

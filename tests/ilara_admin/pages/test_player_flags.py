"""The flags on a player's page: the order, pages and the filter."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from flags.engine.document import Rule, boolean_document, encode_document
from flags.engine.evaluation import CompiledFlag
from flags.engine.receipt import nearest_miss
from flags.models import Flag
from flags.overrides import override_set
from ilara_admin.models import Environment, Role
from ilara_admin.pages.player_flags import SHOWN_FLAGS
from players.models import Player
from tests.factories import ACTOR
from tests.pages import HTMX, text_of, url_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def player(environment: Environment, player: Player) -> Player:
    """A player of an environment with 60 flags, of which 30 are off and 3 serve by a rule."""
    Flag.objects.all().delete()
    everyone = (Rule(id="r", variant="enabled"),)
    for number in range(60):
        document = boolean_document(enabled=number % 2 == 0, rules=everyone if number >= 54 else ())
        Flag.objects.create(
            environment=environment, key=f"flag-{number:02}", document=encode_document(document)
        )
    override_set(Flag.objects.get(key="flag-31"), player, "enabled", actor=ACTOR)
    return player


def keys(html: str) -> list[str]:
    return re.findall(r'aria-label="Set (flag-\d\d) for', html)


def test_flags_that_matter__come_first_and_the_rest_in_pages(
    player: Player, staff_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, url = staff_client(Role.SUPPORT), url_of(player.environment, "player_detail", player.pk)
    explained: list[str] = []

    def noted(flag: CompiledFlag, *rest: Any) -> str | None:
        explained.append(flag.key)
        return nearest_miss(flag, *rest)

    monkeypatch.setattr("ilara_admin.pages.player_flags.nearest_miss", noted)
    html = text_of(client.get(url))
    first = keys(html)
    assert first[:5] == ["flag-31", "flag-54", "flag-56", "flag-58", "flag-00"]
    assert len(first) == SHOWN_FLAGS
    assert f"1 to {SHOWN_FLAGS} of 60 flags" in html
    assert 0 < len(explained) <= SHOWN_FLAGS  # only what is shown

    found = first
    while later := re.search(r'id="flags-older"[^>]*href="([^"#]*)', html):
        html = text_of(client.get(later[1].replace("&amp;", "&")))
        assert 'id="flags-newer"' in html
        found += keys(html)
    assert sorted(found) == [f"flag-{number:02}" for number in range(60)]


def test_filter__finds_flags_and_works_with_and_without_htmx(
    player: Player, staff_client: Callable[..., Client]
) -> None:
    client, url = staff_client(Role.SUPPORT), url_of(player.environment, "player_detail", player.pk)
    whole = text_of(client.get(url, {"flag": " FLAG-1 "}))
    assert keys(whole) == [f"flag-{number}" for number in (*range(10, 20, 2), *range(11, 20, 2))]
    assert "<h1" in whole
    part = text_of(client.get(url, {"flag": "flag-1"}, headers={**HTMX, "HX-Target": "flags"}))
    assert keys(part) == keys(whole)
    assert "<h1" not in part
    assert "Timeline" not in part
    assert "No flag has a key with this text." in text_of(client.get(url, {"flag": "nothing"}))
    assert keys(text_of(client.get(url, {"start": "-3"}))) != []
    assert "0 of" not in text_of(client.get(url, {"start": "1000"}))

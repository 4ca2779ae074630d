"""The command palette."""

import re
from collections.abc import Callable
from html import unescape
from urllib.parse import quote, urlencode

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import resolve

from events.models import EventName
from flags.models import Flag
from flags.services import flag_set_enabled
from ilara_admin.models import AuditEntry, Environment, Role
from ilara_admin.pages.commands import (
    ACTIONS,
    NAVIGATION_WORDS,
    OBJECT_ACTIONS,
    PAGES,
    Offer,
)
from ilara_admin.web.context_processors import SETTINGS, WORK
from ilara_admin.web.recent import KEPT
from players.aliases import player_alias_link
from players.models import Player
from players.schemas import PlayerPatch
from players.services import player_update
from segments.services import segment_create
from tests.factories import ACTOR, World, make_environment, make_player
from tests.pages import HTMX, text_of, url_of
from tests.pages import PAGES as ADDRESSES

OPTION = re.compile(r'<(a|button) role="option"(.*?)>(.*?)</\1>', re.DOTALL)
GROUP = re.compile(r'<div role="presentation"[^>]*>(.*?)</div>(.*?)(?=<div role="group"|\Z)', re.S)
RULE = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 1}]}


def shown(
    client: Client, environment: Environment, q: str = "", page: str = ""
) -> dict[str, dict[str, str]]:
    """The options by group: their texts, with the attributes of the element. `page` is the path of
    the page behind the palette, below the environment."""
    home = f"/{environment.project.slug}/{environment.slug}/"
    headers = {**HTMX, "HX-Current-URL": f"http://testserver{home}{page}"}
    response = client.get(f"{home}palette/?q={quote(q)}", headers=headers)
    assert response.status_code == 200
    return {
        title: {_text(inner): attributes for _, attributes, inner in OPTION.findall(body)}
        for title, body in GROUP.findall(text_of(response))
    }


def _text(html: str) -> str:
    return unescape(" ".join(re.sub(r"<[^>]*>", " ", html).split()))


def texts(groups: dict[str, dict[str, str]]) -> set[str]:
    return {text for options in groups.values() for text in options}


@pytest.fixture
def viewer(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.VIEWER)


@pytest.fixture
def admin(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.ADMIN)


# --- Without a text -------------------------------------------------------------------------------


def test_empty_box__offers_the_pages_with_their_shortcuts(
    viewer: Client, environment: Environment
) -> None:
    groups = shown(viewer, environment)
    assert list(groups) == ["Pages", "Actions"]
    assert list(groups["Pages"])[:3] == ["Overview g o", "Figures g i", "Players g p"]
    assert "Staff g t" not in groups["Pages"]
    assert list(groups["Actions"]) == ["Switch to test", "Sign out"]


def test_opened_objects__come_first(viewer: Client, environment: Environment) -> None:
    player = make_player(environment, "ada")
    name = EventName.objects.create(
        environment=environment, name="level_up", count=1,
        first_seen_at=player.first_seen_at, last_seen_at=player.last_seen_at,
    )  # fmt: skip
    for page, key in (
        ("flag_detail", "new-feature"), ("player_detail", player.pk), ("event_name", name.pk),
        ("segment_detail", "beta-testers"), ("flag_detail", "new-feature"),
    ):  # fmt: skip
        assert viewer.get(url_of(environment, page, key)).status_code == 200
    viewer.get(url_of(environment, "flag_detail", "no-such-flag"))
    viewer.get(url_of(environment, "flag_detail", "new_tutorial"), headers=HTMX)  # a part of it
    recent = [each.split()[0] for each in shown(viewer, environment)["Recent"]]
    assert recent == ["new-feature", "beta-testers", "level_up", "ada"]
    assert "ada" not in texts(shown(viewer, make_environment()))
    # The page behind is not offered again, and what is gone is not offered at all.
    assert "ada" in texts(shown(viewer, environment, page="flags/new-feature/"))
    Player.objects.filter(pk=player.pk).delete()
    groups = shown(viewer, environment, page="flags/new-feature/")
    assert [each.split()[0] for each in groups["Recent"]] == ["beta-testers", "level_up"]


def test_recent_objects__are_kept_in_the_session_by_id_and_few(
    viewer: Client, environment: Environment
) -> None:
    for number in range(KEPT + 2):
        player = make_player(environment, f"secret-{number}")
        viewer.get(url_of(environment, "player_detail", player.pk))
    kept = viewer.session["recent"][str(environment.pk)]
    assert len(kept) == KEPT
    assert kept[0] == ["player", str(player.pk)]
    assert "secret" not in str(kept)
    with CaptureQueriesContext(connection) as queries:
        viewer.get(url_of(environment, "player_detail", player.pk))
    assert not [each for each in queries if each["sql"].startswith("UPDATE")]


def test_page_of_an_object__offers_its_actions(admin: Client, environment: Environment) -> None:
    player = make_player(environment, "ada")
    for page, wanted in (
        ("flags/new-feature/", "Turn on new-feature"),
        ("flags/new-feature/rules/", "Edit rules of new-feature"),
        (f"players/{player.pk}/", "Add a note to ada"),
        ("segments/beta-testers/lists/", "Add players to beta-testers"),
    ):
        assert wanted in shown(admin, environment, page=page)["This page"]
    for page in ("", "flags/", "flags/+new/", "segments/nothing/", "no/such/page/"):
        assert "This page" not in shown(admin, environment, page=page)


def test_switch__keeps_the_page(viewer: Client, environment: Environment) -> None:
    switches = shown(viewer, environment, "switch test", "flags/new-feature/")["Actions"]
    assert f'href="/{environment.project.slug}/test/flags/new-feature/"' in "".join(
        switches.values()
    )


# --- With a text ----------------------------------------------------------------------------------


def test_text__finds_objects_pages_and_actions(viewer: Client, environment: Environment) -> None:
    make_player(environment, "newbie")
    groups = shown(viewer, environment, "new")
    assert "newbie" in groups["Players"]
    assert {each.split()[0] for each in groups["Flags"]} == {"new-feature", "new_tutorial"}
    assert "All results" in groups["Search"]
    assert "beta-testers Beta testers" in shown(viewer, environment, "TESTER")["Segments"]
    assert "Event catalogue" in shown(viewer, environment, "ec")["Pages"]
    assert "Dark theme" in shown(viewer, environment, "theme")["Actions"]
    assert list(shown(viewer, environment, "zzz")) == ["Search"]


def test_exact_name__is_first(admin: Client, environment: Environment) -> None:
    player = make_player(environment, "new_tutorial")
    groups = shown(admin, environment, "new_tutorial")
    assert next(iter(groups)) == "Exact match"
    links = " ".join(groups["Exact match"].values())
    assert url_of(environment, "player_detail", player.pk) in links
    assert url_of(environment, "flag_detail", "new_tutorial") in links


def test_personal_value__finds_its_player_and_stays_masked(
    environment: Environment, staff_client: Callable[..., Client]
) -> None:
    """For every role: nothing is revealed, and nothing audited, while someone types."""
    player = make_player(environment, "ada")
    player_update(player, PlayerPatch(email="ada@example.com", device_id="d-4711"), actor=ACTOR)
    player_alias_link(player, "guest-77", actor=ACTOR)
    values = ("ada@example.com", "d-4711", "guest-77")
    for role in (Role.VIEWER, Role.SUPPORT):
        client = staff_client(role)
        entries = AuditEntry.objects.count()
        for q in values:
            ((text, option),) = shown(client, environment, q)["Exact match"].items()
            assert text.startswith("ada ")
            assert q not in text
            assert f"/find/?{urlencode({'q': q})}" in option
            response = client.get(url_of(environment, "find"), {"q": q})
            assert response["Location"] == url_of(environment, "player_detail", player.pk)
            part = " ".join(texts(shown(client, environment, q[:-1])))
            assert not [each for each in values if each in part]
        assert AuditEntry.objects.count() == entries


def test_action_on_a_flag__follows_its_state_and_never_hides_the_flag(
    admin: Client, environment: Environment
) -> None:
    def offered(q: str) -> list[str]:
        return list(shown(admin, environment, q).get("Actions", []))

    assert "Turn on new-feature" in offered("turn on new-f")
    assert "Turn on new-feature" in offered("turn on")
    assert "Turn off new-feature" not in offered("turn off new-f")
    flag = Flag.objects.select_related("environment__project").get(
        environment=environment, key="new-feature"
    )
    flag_set_enabled(flag, True, actor=ACTOR)
    assert "Turn off new-feature" in offered("turn off feat")
    titles = list(shown(admin, environment, "feature"))
    assert titles.index("Flags") < titles.index("More actions")
    (attributes,) = [
        each for text, each in shown(admin, environment, "turn off feat")["Actions"].items()
        if text == "Turn off new-feature"
    ]  # fmt: skip
    assert 'hx-target="#dialog"' in attributes


@pytest.mark.parametrize("q", ["q\0z", "x" * 5000, "%", "\\", "'", "<script>alert(1)</script>"])
def test_any_text__is_answered(q: str, viewer: Client, environment: Environment) -> None:
    assert list(shown(viewer, environment, q)) == ["Search"]


def test_other_environments__are_not_searched(viewer: Client, environment: Environment) -> None:
    other = make_environment()
    stranger = make_player(other, "stranger")
    segment_create(environment=other, key="outlying", name="", rule=RULE, actor=ACTOR)
    for q in ("stranger", str(stranger.pk), "outlying"):
        assert list(shown(viewer, environment, q)) == ["Search"]


def test_palette__needs_as_many_queries_for_many_rows_as_for_one(
    admin: Client, environment: Environment
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            shown(admin, environment, "thing")
        return len(captured)

    make_player(environment, "thing-0")
    queries()
    one = queries()
    for number in range(1, 20):
        make_player(environment, f"thing-{number}")
        key = f"thing-{number}"
        segment_create(environment=environment, key=key, name="", rule=RULE, actor=ACTOR)
    assert queries() == one


# --- Roles ----------------------------------------------------------------------------------------


OFFERS = [*PAGES, *ACTIONS, *(each for offers in OBJECT_ACTIONS.values() for each in offers)]


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: str(offer.page))
def test_every_offer__names_a_page(offer: Offer) -> None:
    assert isinstance(ADDRESSES[offer.page].view.role, Role)


def test_words_of_the_navigation__belong_to_its_labels() -> None:
    assert set(NAVIGATION_WORDS) == {label for label, *_ in (*WORK, *SETTINGS)}


# What each role is offered beyond the previous one.
OFFERED = {
    Role.VIEWER: {
        "Sign out", "Switch to test", "Event catalogue", "Change password", "Summary of player_123"
    },
    Role.SUPPORT: {"Edit player_123", "Add a note to player_123", "Link an id to player_123"},
    Role.LIVE_OPS: {
        "New flag", "New segment", "Turn on new-feature", "Edit rules of new-feature",
        "Clone new-feature", "Edit beta-testers", "Add players to beta-testers",
    },
    Role.ADMIN: {"Issue a key", "New member", "New environment", "Edit settings", "Staff g t"},
    Role.OWNER: {"New project"},
}  # fmt: skip


@pytest.mark.parametrize("role", list(Role))
def test_palette__offers_what_the_role_may_do(
    role: Role, world: World, client_of: Callable[[Role], Client]
) -> None:
    client, environment = client_of(role), world.environment
    pages = ("flags/new-feature/", f"players/{world.player.pk}/", "segments/beta-testers/")
    offered = {
        text
        for q, page in (*(("", page) for page in pages), ("new", ""), ("edit", ""), ("c", ""))
        for text in texts(shown(client, environment, q, page))
    }
    for each, wanted in OFFERED.items():
        if each.rank <= role.rank:
            assert wanted <= offered
        else:
            assert not wanted & offered


@pytest.mark.parametrize("role", [Role.VIEWER, Role.SUPPORT, Role.LIVE_OPS, Role.ADMIN])
def test_no_link__needs_a_higher_role(
    role: Role, world: World, client_of: Callable[[Role], Client]
) -> None:
    client, player = client_of(role), f"players/{world.player.pk}/"
    links = {
        unescape(link).partition("?")[0]
        for q, page in (("", "flags/new-feature/"), ("", player), ("n", ""), ("e", ""))
        for options in shown(client, world.environment, q, page).values()
        for attributes in options.values()
        for link in re.findall(r'href="([^"]*)"', attributes)
    }
    assert len(links) > 10
    roles = {link: getattr(resolve(link).func, "role", Role.OWNER) for link in links}
    assert {link: needed for link, needed in roles.items() if needed.rank > role.rank} == {}

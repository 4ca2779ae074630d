"""Tasks of support and admins: find a player, read flags, watch events, manage keys."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Ilara, Window, settled

pytestmark = pytest.mark.browser


def call(ilara: Ilara, path: str, body: dict[str, Any], key: str = "") -> dict[str, Any]:
    request = urllib.request.Request(
        f"{ilara.url}/v1/{path}",
        json.dumps(body).encode(),
        {"X-API-Key": key or ilara.key("live", "public"), "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        data: dict[str, Any] = json.load(reply)["data"]
    return data


def register(ilara: Ilara, **attributes: Any) -> dict[str, Any]:
    body = {"external_id": f"player_{uuid4().hex[:8]}", "attributes": attributes}
    return call(ilara, "players/players", body)


def test_find_a_player_in_one_step_and_read_their_flags(admin: Window, ilara: Ilara) -> None:
    player = register(ilara, level=45)
    page = admin.open("")
    admin.fill(page.get_by_label("Find"), player["external_id"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(player["external_id"])
    row = page.get_by_role("list", name="Flags").get_by_role("listitem")
    row = row.filter(has_text="new_tutorial")
    expect(row).to_contain_text("true")
    expect(row).to_contain_text("in segment beta-testers")


@pytest.mark.parametrize("keyboard", [False, True])
def test_help_a_player_found_by_an_alias(
    keyboard: bool, window: Callable[..., Window], ilara: Ilara
) -> None:
    """Find the player by an alias, add a note, refund a purchase and undo it, link and unlink an
    id."""
    player = register(ilara)
    guest, other = f"guest_{uuid4().hex[:8]}", f"tablet_{uuid4().hex[:8]}"
    path = f"players/players/{player['id']}"
    call(ilara, f"{path}/purchase", {"amount": 4.99, "transaction_id": f"t-{guest}"})
    call(ilara, f"{path}/aliases", {"external_id": guest}, ilara.key("live", "secret"))
    support = window(keyboard=keyboard)
    page = support.open("")
    support.fill(page.get_by_label("Find"), guest)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(player["external_id"])
    expect(page.get_by_text(f"“{guest}” is linked to this player.")).to_be_visible()

    support.fill(page.get_by_role("textbox", name="Note"), "Lost the gems")
    support.press("button", "Add note")
    notes = page.get_by_role("region", name="Notes")
    expect(notes).to_contain_text("Lost the gems")

    facts = page.get_by_role("region", name="Fields")
    expect(facts).to_contain_text("4.99 USD")
    support.press("link", "Refund of 4.99 USD")
    support.fill(page.get_by_role("textbox", name="Reason"), "A child bought it")
    support.press("button", "Mark as refunded")
    expect(page.get_by_role("region", name="Purchases")).to_contain_text("Refunded")
    expect(facts).to_contain_text("0.00 USD")
    support.press("button", "Undo")
    expect(facts).to_contain_text("4.99 USD")
    expect(page.get_by_role("link", name="Refund of 4.99 USD")).to_be_visible()

    support.press("link", "Link an id")
    support.fill(page.get_by_role("textbox", name="External id"), other)
    support.press("button", "Link")
    expect(facts).to_contain_text(other)
    by_other = call(ilara, "players/players", {"external_id": other})
    assert by_other["external_id"] == player["external_id"]
    support.press("link", f"Unlink {other}")
    support.press("button", "Unlink")
    expect(facts).not_to_contain_text(other)
    assert call(ilara, "players/players", {"external_id": other})["external_id"] == other


def test_find_without_results__shows_the_query(admin: Window) -> None:
    page = admin.open("find/?q=no-such-thing-anywhere")
    expect(page.get_by_role("main")).to_contain_text("no-such-thing-anywhere")
    expect(page.get_by_role("main")).not_to_contain_text("Error")


def test_watch_events_arrive(window: Callable[..., Window], ilara: Ilara) -> None:
    player = register(ilara)
    name = f"boss_{uuid4().hex[:6]}"
    page = window().open(f"events/?name={name}")
    expect(page.locator("[data-tail-state]")).to_have_text("Live")
    call(ilara, "events/events", {"player_id": player["id"], "event_name": name})
    expect(page.get_by_role("cell", name=name)).to_have_count(1)
    expect(page.get_by_role("cell", name=player["external_id"])).to_be_visible()


def test_pause_and_resume__lose_nothing(window: Callable[..., Window], ilara: Ilara) -> None:
    player = register(ilara)
    name = f"boss_{uuid4().hex[:6]}"
    page = window().open(f"events/?name={name}")
    event = {"player_id": player["id"], "event_name": name}
    call(ilara, "events/events", event)
    expect(page.get_by_role("cell", name=name)).to_have_count(1)
    page.keyboard.press("p")
    expect(page.locator("#tail").get_by_text("Paused")).to_be_visible()
    for _ in range(3):
        call(ilara, "events/events", event)
    expect(page.locator("#pending")).to_have_text("3 new events")
    expect(page.get_by_role("cell", name=name)).to_have_count(1)
    page.keyboard.press("p")
    expect(page.get_by_role("cell", name=name)).to_have_count(4)
    call(ilara, "events/events", event)
    expect(page.get_by_role("cell", name=name)).to_have_count(5)


def test_watch_events_without_javascript__the_page_refreshes(
    window: Callable[..., Window], ilara: Ilara
) -> None:
    player = register(ilara)
    name = f"boss_{uuid4().hex[:6]}"
    page = window(java_script_enabled=False).open(f"events/?name={name}")
    expect(page.locator("#tail noscript .badge")).to_be_visible()
    page.get_by_role("link", name="Refresh every 5 s").click()
    call(ilara, "events/events", {"player_id": player["id"], "event_name": name})
    expect(page.get_by_role("cell", name=name)).to_have_count(1)


def test_watch_and_open_an_event__by_keyboard_alone(
    window: Callable[..., Window], ilara: Ilara
) -> None:
    player = register(ilara)
    name = f"boss_{uuid4().hex[:6]}"
    admin = window(keyboard=True)
    page = admin.open("")
    admin.press("link", "Live events")
    admin.fill(page.get_by_label("Event name"), name)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**name={name}*")
    settled(page)
    expect(page.locator("[data-tail-state]")).to_have_text("Live")
    call(ilara, "events/events", {"player_id": player["id"], "event_name": name})
    expect(page.get_by_role("cell", name=name)).to_have_count(1)
    admin.press("link", name)
    expect(page.get_by_role("dialog")).to_contain_text("Event id")


def test_event_opens_beside_the_list(window: Callable[..., Window]) -> None:
    page = window().open("events/?name=level_complete")
    page.locator("tbody a").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("Event id")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def token_shown(page: Page) -> str:
    found = re.search(r"[ps]k_live_[0-9A-Za-z]{36}", page.get_by_role("main").inner_text())
    assert found
    return found[0]


def test_issue_rotate_and_revoke_a_key(admin: Window, ilara: Ilara) -> None:
    name = f"Build {uuid4().hex[:6]}"
    page = admin.open("keys/")
    admin.press("link", "New key")
    admin.fill(page.get_by_role("textbox", name="Name"), name)
    admin.press("button", "Create key")
    expect(page.get_by_role("main")).to_contain_text("Copy the key now")
    token = token_shown(page)
    body = {"external_id": f"of-{name}"}
    call(ilara, "players/players", body, token)

    page = admin.open("keys/")
    assert token not in page.content()
    admin.press("link", f"Rotate {name}")
    admin.check(page.get_by_role("radio", name="At once"))
    admin.press("button", "Issue a new key")
    expect(page.get_by_role("main")).to_contain_text("no longer works")
    successor = token_shown(page)
    assert refusal(ilara, token).startswith("Invalid API key: it has expired")
    call(ilara, "players/players", body, successor)

    page = admin.open("keys/?show=usable")
    admin.press("link", f"Revoke {name}")
    admin.fill(page.get_by_role("textbox", name="to confirm"), name)
    admin.press("button", re.compile("^Revoke"))
    expect(page.get_by_role("row").filter(has_text=name).first).to_contain_text("Revoked")
    assert refusal(ilara, successor).startswith("Invalid API key: it has been revoked")


def refusal(ilara: Ilara, token: str) -> str:
    with pytest.raises(urllib.error.HTTPError) as refused:
        call(ilara, "players/players", {"external_id": "x"}, token)
    with refused.value as reply:
        message: str = json.load(reply)["error"]["message"]
    return message


@pytest.mark.parametrize("keyboard", [False, True])
def test_copy_button__puts_the_token_on_the_clipboard(
    keyboard: bool, window: Callable[..., Window]
) -> None:
    admin = window(keyboard=keyboard, permissions=["clipboard-read", "clipboard-write"])
    page = admin.open("keys/new/")
    admin.fill(page.get_by_role("textbox", name="Name"), f"Clip {uuid4().hex[:6]}")
    admin.press("button", "Create key")
    expect(page.get_by_role("main")).to_contain_text("Copy the key now")
    token = token_shown(page)
    button = page.get_by_role("button", name="Copy").first
    if keyboard:
        admin.reach(button)
        page.keyboard.press("Enter")
    else:
        button.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == token

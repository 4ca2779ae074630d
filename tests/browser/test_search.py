"""Tasks of support that begin with a ticket: find a player by what it names."""

import re
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Ilara, Window
from tests.browser.test_support import call, register

pytestmark = pytest.mark.browser


def search(window: Window, page: Page, text: str) -> None:
    window.fill(page.locator("#find"), text)
    page.keyboard.press("Enter")


def test_from_a_transaction_id_to_the_reason_of_a_flag(admin: Window, ilara: Ilara) -> None:
    """Three interactions: the search box, its text, Enter."""
    player = register(ilara, level=45)
    paid = f"GPA.{uuid4().hex[:12]}"
    path = f"players/players/{player['id']}/purchase"
    call(ilara, path, {"amount": 4.99, "transaction_id": paid})
    page = admin.open("")
    search(admin, page, paid)
    expect(page.get_by_role("heading", level=1)).to_contain_text(player["external_id"])
    expect(page).to_have_url(re.compile("#purchase-[0-9a-f]{32}$"))
    flags = page.get_by_role("region", name="Flags", exact=True)
    expect(flags).to_contain_text("in segment beta-testers")


def test_find_a_player_by_what_a_ticket_names(admin: Window, ilara: Ilara) -> None:
    """Declare the user name searchable, which finds the players that exist, then search."""
    name = f"dragon-{uuid4().hex[:8]}"
    player = register(ilara, user_name=name)
    path = f"players/players/{player['id']}"
    call(ilara, f"{path}/session", {"session_id": f"session-{name}"})
    body = {"external_id": player["external_id"], "email": f"{name}@example.com"}
    call(ilara, "players/players", {**body, "device_id": f"device-{name}"})
    page = admin.open("settings/edit/")
    admin.fill(page.get_by_role("textbox", name="Searchable attributes"), "user_name\nusername")
    admin.press("button", "Save")
    expect(page.get_by_role("main")).to_contain_text("user_name")

    heading = page.get_by_role("heading", level=1)
    for text, what in [
        (f"{name.upper()}@EXAMPLE.com", "e-mail address"),
        (f"device-{name}", "device id"),
        (f"session-{name}", "session"),
    ]:
        admin.open("")
        search(admin, page, text)
        expect(heading).to_contain_text(player["external_id"])
        expect(page.get_by_text(f"“{text}” is")).to_contain_text(what)

    for _ in range(60):  # until the job has worked through the players
        admin.open("")
        search(admin, page, name.upper())
        expect(heading).not_to_have_text("Overview")
        if player["external_id"] in heading.inner_text():
            break
        expect(page.get_by_role("region", name="What was tried")).to_contain_text("user_name")
        page.wait_for_timeout(500)
    expect(page.get_by_text(f"“{name.upper()}” is the")).to_contain_text("user_name")
    admin.open(f"find/?q={name}@")
    found = page.get_by_role("region", name="E-mail address")
    expect(found).to_contain_text(f"{name}@example.com")
    expect(found.get_by_role("link", name=player["external_id"])).to_be_visible()

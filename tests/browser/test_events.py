"""Find an event in the catalogue and describe it; see why events were rejected."""

import re
import urllib.error
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Ilara, Window, settled
from tests.browser.test_support import call, register

pytestmark = pytest.mark.browser


def test_find_an_event_describe_it_and_undo(admin: Window) -> None:
    page = admin.open("events/")
    admin.press("link", "Catalogue")
    admin.fill(page.get_by_role("searchbox", name="Search"), "level_comp")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=level_comp*")
    settled(page)
    admin.press("link", "level_complete")
    expect(page.get_by_role("region", name="Properties").last).to_contain_text("number")
    admin.press("link", "Last 30 days")
    expect(page.get_by_role("heading", name="Last 30 days")).to_be_visible()

    description = f"The player finished a level. {uuid4().hex[:6]}"
    admin.press("link", "Describe")
    admin.fill(page.get_by_label("When the game sends it"), description)
    admin.press("button", "Save")
    expect(page.get_by_role("main")).to_contain_text(description)
    admin.press("button", "Undo")
    expect(page.get_by_text("Undone").first).to_be_visible()
    expect(page.get_by_role("main")).not_to_contain_text(description)


def test_see_why_an_event_was_rejected(admin: Window, ilara: Ilara) -> None:
    player = register(ilara)
    name = f"bad-{uuid4().hex[:8]}"
    event = {"player_id": player["id"], "event_name": name, "timestamp": "2099-01-01T00:00:00Z"}
    with pytest.raises(urllib.error.HTTPError, match="400"):
        call(ilara, "events/events", event)
    page = admin.open("events/")
    admin.press("link", "Rejected")
    admin.fill(page.get_by_role("searchbox", name="Event name"), name)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(f"name={name}"))
    settled(page)
    expect(page.get_by_role("main")).to_contain_text("more than 24 hours ahead")
    page.get_by_text("Payload").first.click()
    expect(page.get_by_role("main")).to_contain_text("2099-01-01")

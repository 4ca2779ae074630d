"""Tasks of a support agent on a player's page."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Ilara, Window
from tests.browser.test_support import call

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def player(ilara: Ilara) -> dict[str, Any]:
    """A player with more purchases than the panel shows, and events."""
    name = f"player_{uuid4().hex[:8]}"
    body: dict[str, Any] = {"external_id": name, "attributes": {"level": 45, "country": "PT"}}
    made = call(ilara, "players/players", body)
    path = f"players/players/{made['id']}"
    for number in range(6):
        body = {"amount": 2 + number, "transaction_id": f"{name}-{number}", "product_id": "gems"}
        call(ilara, f"{path}/purchase", body, ilara.key("live", "secret"))
    for number in range(3):
        event = {"event_name": "level_up", "properties": {"level": number, "sword": "rusty"}}
        call(ilara, "events/events", {"player_id": made["id"], **event})
    event = {"event_name": "level_start", "properties": {"sword": "shiny"}}
    call(ilara, "events/events", {"player_id": made["id"], **event})
    return made


def opened(agent: Window, player: dict[str, Any], query: str = "") -> Page:
    return agent.open(f"players/{player['id']}/{query}")


def part(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def test_refund_a_purchase_and_reverse_it(admin: Window, player: dict[str, Any]) -> None:
    page = opened(admin, player)
    purchases = part(page, "Purchases")
    row = purchases.get_by_role("listitem").filter(has_text=f"{player['external_id']}-5")
    expect(row).to_contain_text("Verified")
    admin.press("link", "Refund of 7.00 USD")
    admin.fill(page.get_by_role("textbox", name="Reason"), "A child bought it")
    admin.press("button", "Mark as refunded")
    expect(row).to_contain_text("Refunded")
    expect(row).to_contain_text("by admin")
    expect(row).to_have_attribute("aria-current", "true")
    admin.press("link", "Reverse refund of 7.00 USD")
    admin.press("button", "Reverse the refund")
    expect(row).not_to_contain_text("Refunded")
    expect(part(page, "Timeline")).to_contain_text("reversed a refund of the player")


def test_add_a_note_in_place(admin: Window, player: dict[str, Any]) -> None:
    page, text = opened(admin, player), f"Lost the gems {uuid4().hex[:6]}"
    notes = part(page, "Notes")
    admin.fill(notes.get_by_role("textbox", name="Note"), text)
    admin.press("button", "Add note")
    expect(notes.get_by_role("listitem").first).to_contain_text(text)
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_filter_the_timeline_and_open_an_entry_in_place(
    admin: Window, player: dict[str, Any]
) -> None:
    page = opened(admin, player)
    timeline = part(page, "Timeline")
    admin.fill(timeline.get_by_label("Event name"), "level_up")
    if admin.keyboard:
        page.keyboard.press("Enter")
    else:
        timeline.get_by_role("button", name="Apply").click()
    page.wait_for_url("**event=level_up*")
    entries = timeline.locator(".timeline > li")
    expect(entries).to_have_count(3)
    admin.click(entries.first.locator("summary"))
    expect(entries.first.locator("pre")).to_contain_text('"sword": "rusty"')


def test_search_the_properties_of_events(
    window: Callable[..., Window], player: dict[str, Any]
) -> None:
    page = opened(window(), player)
    timeline = part(page, "Timeline")
    timeline.get_by_text("More filters").click()
    timeline.get_by_label("Text in properties").fill("SHINY")
    page.keyboard.press("Enter")
    expect(timeline.locator(".timeline > li")).to_have_count(1)
    expect(timeline.locator(".timeline")).to_contain_text("level_start")
    expect(timeline.get_by_role("searchbox", name="Text in properties")).to_be_visible()


@pytest.mark.parametrize("keyboard", [False, True])
def test_copy_the_summary(
    keyboard: bool, window: Callable[..., Window], player: dict[str, Any]
) -> None:
    agent = window(keyboard=keyboard, permissions=["clipboard-read", "clipboard-write"])
    page = opened(agent, player)
    agent.press("link", "Summary")
    expect(page.get_by_role("dialog")).to_contain_text("Country: PT")
    agent.press("button", "Copy", exact=True)
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    text = page.evaluate("navigator.clipboard.readText()")
    assert text.startswith(f"Player: {player['external_id']}\n")
    assert f"/players/{player['id']}/\n" in text


def test_summary_without_javascript__is_a_page_to_select_from(
    window: Callable[..., Window], player: dict[str, Any]
) -> None:
    agent = window(java_script_enabled=False)
    page = opened(agent, player)
    agent.press("link", "Summary")
    expect(page.locator("pre")).to_contain_text(f"Player: {player['external_id']}")
    expect(page.get_by_role("button", name="Copy", exact=True)).to_be_hidden()


def test_old_purchase_in_the_address__is_marked_beside_the_reasons_of_flags(
    window: Callable[..., Window], player: dict[str, Any]
) -> None:
    agent = window()
    page = opened(agent, player, "?kind=purchase")
    oldest = part(page, "Timeline").locator(".timeline > li").last
    oldest.locator("summary").click()
    expect(oldest).to_contain_text(f"{player['external_id']}-0")
    oldest.get_by_role("link", name="Show in purchases").click()
    row = part(page, "Purchases").locator(":target")
    expect(row).to_contain_text(f"{player['external_id']}-0")
    expect(row).to_be_in_viewport()
    reason = part(page, "Flags").get_by_text("Rule 1: in segment beta-testers")
    expect(reason).to_be_in_viewport()


def test_override__is_set_and_removed(window: Callable[..., Window], ilara: Ilara) -> None:
    made = call(ilara, "players/players", {"external_id": f"player_{uuid4().hex[:8]}"})
    agent = window()
    page = opened(agent, made)
    with agent.at_most(clicks=2, fields=1):
        agent.press("link", "Set new_tutorial for this player")
        agent.select(page.get_by_label("Value", exact=True), "enabled: true")
        agent.press("button", "Save to live")
    flags = part(page, "Flags")
    row = flags.get_by_role("listitem").filter(has_text="new_tutorial")
    expect(row).to_contain_text("Override")
    with agent.at_most(clicks=2):
        agent.press("link", "Remove the override of new_tutorial")
        agent.press("button", "Remove in live")
    expect(row).not_to_contain_text("Override")
    expect(part(page, "Timeline")).to_contain_text("removed a player's override of the flag")


@pytest.mark.parametrize(("width", "columns"), [(390, 1), (1280, 2), (1920, 3)])
def test_panels__stand_in_one_to_three_columns(
    width: int, columns: int, window: Callable[..., Window], player: dict[str, Any]
) -> None:
    page = opened(window(viewport={"width": width, "height": 800}), player)
    lefts = page.locator(".desk > *").evaluate_all(
        "all => all.map(each => Math.round(each.getBoundingClientRect().left))"
    )
    assert len(set(lefts)) == columns, json.dumps(lefts)
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    if columns > 1:  # in sight without scrolling: who, notes, what happened, flags with reasons
        for name in ("Fields", "Notes", "Purchases", "Timeline", "Flags"):
            expect(part(page, name)).to_be_in_viewport()
        expect(part(page, "Timeline").locator(".timeline > li").first).to_be_in_viewport()
        expect(part(page, "Flags").get_by_role("listitem").first).to_be_in_viewport()

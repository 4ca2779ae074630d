"""What live-ops staff do with flags: create, switch, percentage, variants, segment, undo."""

import re
from collections.abc import Callable
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Window, settled

pytestmark = pytest.mark.browser


def create_flag(admin: Window, *, value: str = "On or off", first: str = "") -> str:
    key = f"flag-{uuid4().hex[:8]}"
    page = admin.open("flags/")
    admin.press("link", "New flag")
    admin.fill(page.get_by_role("textbox", name="Key", exact=True), key)
    admin.select(page.get_by_label("Value", exact=True), value)
    if first:
        admin.fill(page.get_by_label("First value"), first)
    admin.press("button", "Create flag")
    expect(page.get_by_role("heading", level=1)).to_contain_text(key)
    return key


def heading(page: Page) -> str:
    return page.get_by_role("heading", level=1).inner_text()


def test_create_switch_and_undo(admin: Window) -> None:
    create_flag(admin)
    page = admin.page
    assert "Off" in heading(page)

    admin.press("link", "Turn on")
    admin.fill(page.get_by_label("Reason"), "The event begins")
    admin.press("button", "Turn on in live")
    expect(page.get_by_role("heading", level=1)).to_contain_text("On")
    expect(page.locator("#history")).to_contain_text("The event begins")

    admin.press("button", "Undo")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Off")
    expect(page.locator("#history")).to_contain_text("Restored revision 1")


def test_segment_and_percentage(admin: Window) -> None:
    create_flag(admin)
    page = admin.page
    admin.press("link", "Edit rules")
    admin.press("button", "Add rule")
    admin.select(page.get_by_label("Who"), "beta-testers")
    admin.fill(page.get_by_role("spinbutton", name="Percentage"), "12.5")
    admin.press("button", "Review changes")
    expect(page.get_by_role("main")).to_contain_text("beta-testers: enabled to 12.5 %")
    admin.press("button", "Save to live")
    expect(page.locator(".rules")).to_contain_text("Players in beta-testers get enabled")
    expect(page.locator(".rules")).to_contain_text("12.5 %")

    admin.press("link", "Set the percentage of rule 1")
    admin.fill(page.get_by_role("spinbutton", name="Percentage"), "40")
    admin.press("button", "Save to live")
    expect(page.locator(".rules")).to_contain_text("40 %")
    expect(page.locator("#history")).to_contain_text("12.5 % → 40 %")


def test_variants_and_split(admin: Window) -> None:
    create_flag(admin, value="Text", first="hello")
    page = admin.page
    admin.press("link", "Edit", exact=True)
    admin.press("button", "Add variant")
    added = page.get_by_role("group", name="Variant 2")
    admin.fill(added.get_by_role("textbox", name="Key"), "short")
    admin.fill(added.get_by_label("Value"), "hi")
    admin.press("button", "Review changes")
    admin.press("button", "Save to live")
    expect(page.get_by_role("main")).to_contain_text('"hi"')

    admin.press("link", "Edit rules")
    admin.press("button", "Add rule")
    admin.select(page.get_by_label("Gets"), "A split")
    admin.fill(page.get_by_label("default, %"), "70")
    admin.fill(page.get_by_label("short, %"), "20")
    admin.press("button", "Review changes")
    expect(page.get_by_role("main")).to_contain_text("they make 90 %")
    admin.fill(page.get_by_label("short, %"), "30")
    admin.press("button", "Review changes")
    admin.press("button", "Save to live")
    expect(page.locator(".rules")).to_contain_text(re.compile(r"default\s+70 %\s*short\s+30 %"))


def test_flag_that_changed_meanwhile__loses_neither_change(window: Callable[..., Window]) -> None:
    mine, theirs = window(), window()
    key = create_flag(mine)
    mine.page.get_by_role("link", name="Edit rules").click()
    mine.page.get_by_role("button", name="Add rule").click()
    settled(mine.page)
    mine.page.get_by_role("spinbutton", name="Percentage").fill("10")

    theirs.open(f"flags/{key}/turn-on/")
    theirs.page.get_by_role("button", name="Turn on in live").click()
    expect(theirs.page.get_by_role("heading", level=1)).to_contain_text("On")

    mine.page.get_by_role("button", name="Review changes").click()
    expect(mine.page.get_by_role("alert").first).to_contain_text("while you were editing")
    expect(mine.page.get_by_role("alert").first).to_contain_text("off → on")
    assert "enabled to 10 %" in mine.page.get_by_role("main").inner_text()


def test_kill_switch__by_keyboard_alone(window: Callable[..., Window]) -> None:
    admin = window()
    key = create_flag(admin)
    page = admin.open(f"flags/{key}/turn-on/")
    page.keyboard.press("Tab")
    page.locator("#confirm-reason").focus()
    page.keyboard.type("On by keyboard")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("On")

    # The find box leads to the flag, and Tab reaches the switch and the dialog that asks.
    page.keyboard.press("/")
    page.keyboard.type(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(key)
    press_until_focused(page, "Turn off")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    press_until_focused(page, "Turn off in live")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Off")


def press_until_focused(page: Page, name: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            return
    raise AssertionError(f"Tab does not reach {name}")

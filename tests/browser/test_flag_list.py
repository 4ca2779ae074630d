"""The list of flags: change the selected ones at once, saved views."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Window

pytestmark = pytest.mark.browser

CHOSEN = ("energy-minutes", "vulkan-renderer")


def keys(page: Page) -> list[str]:
    return page.locator("tbody th a.mono").all_inner_texts()


def test_bulk_archive_and_undo(admin: Window) -> None:
    page = admin.open("flags/?q=e&sort=-key")
    before = keys(page)
    assert set(CHOSEN) <= set(before)
    with admin.at_most(clicks=len(CHOSEN) + 2, fields=1):
        for key in CHOSEN:
            admin.tick(page.get_by_role("checkbox", name=f"Select {key}"))
        admin.press("button", "Archive")
        expect(page.get_by_role("heading", level=1)).to_contain_text("Archive 2 flags")
        for key in CHOSEN:
            expect(page.get_by_role("row", name=key)).to_contain_text("archived")
        admin.fill(page.get_by_label("Reason"), "The event is over")
        admin.press("button", "Archive 2 flags in live")
    expect(page.get_by_text("Archived 2 flags.")).to_be_visible()
    assert page.url.endswith("?q=e&sort=-key")
    assert keys(page) == [key for key in before if key not in CHOSEN]

    admin.press("button", "Undo")
    expect(page.get_by_text("Undone.")).to_be_visible()
    admin.open("flags/?q=e&sort=-key")
    assert keys(page) == before


def test_saved_view(admin: Window) -> None:
    page = admin.open("flags/?state=off&sort=-changed")
    shown = keys(page)
    admin.press("link", "Save view")
    admin.fill(page.get_by_label("Name"), "Switched off")
    admin.press("button", "Save", exact=True)
    view = page.get_by_role("navigation", name="Views").get_by_role("link", name="Switched off")
    expect(view).to_have_attribute("aria-current", "page")
    assert keys(page) == shown

    admin.open("flags/")
    admin.press("link", "Switched off")
    expect(view).to_have_attribute("aria-current", "page")
    assert keys(page) == shown
    admin.press("link", "Delete view")
    admin.press("button", "Delete", exact=True)
    expect(page.get_by_text("Deleted the view Switched off.")).to_be_visible()
    expect(view).to_have_count(0)


def test_rows__are_selected_in_ranges_and_by_page(window: Callable[..., Window]) -> None:
    page = window(viewport={"width": 390, "height": 800}).open("flags/")
    boxes = page.locator("tbody input[type=checkbox]")
    boxes.nth(1).click()
    boxes.nth(4).click(modifiers=["Shift"])
    expect(page.get_by_text("4 selected")).to_be_visible()
    every = page.get_by_role("checkbox", name="All on this page")
    every.click()
    expect(page.get_by_text(f"{boxes.count()} selected")).to_be_visible()
    boxes.nth(2).click()
    expect(every).not_to_be_checked()
    every.click()
    every.click()
    expect(page.get_by_role("button", name="Archive")).to_be_hidden()

    page = window(java_script_enabled=False).open("flags/")
    page.get_by_role("link", name="Select all on this page").click()
    assert page.locator("tbody :checked").count() == page.locator("tbody tr").count()
    expect(page.get_by_role("button", name="Archive")).to_be_visible()

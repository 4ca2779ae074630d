"""Stale flags: find one, see why and who asks, archive it after a shadow period, keep it."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Window

pytestmark = pytest.mark.browser


def test_find_stale_flags__archive_one_later_and_keep_it(admin: Window) -> None:
    page = admin.open("flags/")
    admin.press("link", "Stale", exact=True)
    row = page.get_by_role("row").filter(has_text="cloud-saves")
    expect(row).to_contain_text("Everyone has got enabled for 30 days")
    expect(row).to_contain_text("It was expected to end on")
    expect(row).to_contain_text("sample-game/2.2.0")

    admin.press("link", "Archive cloud-saves")
    admin.select(page.get_by_label("When"), "After 30 days")
    admin.press("button", "Archive", exact=True)
    expect(page.get_by_role("heading", level=1)).to_contain_text("cloud-saves")
    expect(page.get_by_role("main")).to_contain_text("Until then it serves as before.")

    admin.press("link", "Keep it")
    admin.press("button", "Keep the flag")
    expect(page.get_by_role("main")).to_contain_text("Is it still needed?")

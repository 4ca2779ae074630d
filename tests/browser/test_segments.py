"""Creating and changing a segment."""

import re
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Window

pytestmark = pytest.mark.browser


def test_create_preview_change_and_delete(admin: Window) -> None:
    key = f"segment-{uuid4().hex[:8]}"
    page = admin.open("segments/")
    admin.press("link", "New segment")
    admin.fill(page.get_by_role("textbox", name="Key", exact=True), key)
    first = page.get_by_role("group", name="Condition 1")
    admin.fill(first.get_by_label("Field"), "country")
    admin.select(first.get_by_label("Operator"), "is one of")
    admin.fill(first.get_by_label("Value"), "BR, PT")
    admin.press("button", "Add condition")
    second = page.get_by_role("group", name="Condition 2")
    admin.fill(second.get_by_label("Field"), "session_count")
    admin.select(second.get_by_label("Operator"), "is at least")
    admin.fill(second.get_by_label("Value"), "2")
    admin.press("button", "Preview")
    expect(page.get_by_role("main")).to_contain_text(re.compile(r"of [\d,]+ players match"))
    admin.press("button", "Create segment")
    expect(page.get_by_role("main")).to_contain_text(
        "country is one of “BR”, “PT” and session_count is at least 2"
    )

    admin.press("link", "Edit", exact=True)
    admin.fill(page.get_by_role("group", name="Condition 2").get_by_label("Value"), "many")
    admin.press("button", "Save to live")
    expect(page.get_by_role("main")).to_contain_text("Give a number")
    admin.fill(page.get_by_role("group", name="Condition 2").get_by_label("Value"), "5")
    admin.press("button", "Save to live")
    expect(page.get_by_role("main")).to_contain_text("session_count is at least 5")

    page = admin.open(f"segments/{key}/delete/")
    admin.fill(page.get_by_label("to confirm"), key)
    admin.press("button", f"Delete {key}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Segments")
    expect(page.get_by_role("main")).not_to_contain_text("session_count is at least 5")

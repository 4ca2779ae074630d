"""Creating and changing a segment."""

from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Window

pytestmark = pytest.mark.browser


def test_create_preview_change_and_delete(admin: Window) -> None:
    key = f"segment-{uuid4().hex[:8]}"
    page = admin.open("segments/")
    page.get_by_role("link", name="New segment").click()
    page.get_by_role("textbox", name="Key", exact=True).fill(key)
    first = page.get_by_role("group", name="Condition 1")
    first.get_by_label("Field").fill("country")
    first.get_by_label("Operator").select_option("is one of")
    first.get_by_label("Value").fill("BR, PT")
    page.get_by_role("button", name="Add condition").click()
    second = page.get_by_role("group", name="Condition 2")
    second.get_by_label("Field").fill("session_count")
    second.get_by_label("Operator").select_option("is at least")
    second.get_by_label("Value").fill("2")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("main")).to_contain_text("of players match")
    page.get_by_role("button", name="Create segment").click()
    expect(page.get_by_role("main")).to_contain_text(
        "country is one of “BR”, “PT” and session_count is at least 2"
    )

    page.get_by_role("link", name="Edit", exact=True).click()
    page.get_by_role("group", name="Condition 2").get_by_label("Value").fill("many")
    page.get_by_role("button", name="Save to live").click()
    expect(page.get_by_role("main")).to_contain_text("Give a number")
    page.get_by_role("group", name="Condition 2").get_by_label("Value").fill("5")
    page.get_by_role("button", name="Save to live").click()
    expect(page.get_by_role("main")).to_contain_text("session_count is at least 5")

    page = admin.open(f"segments/{key}/delete/")
    page.get_by_label("to confirm").fill(key)
    page.get_by_role("button", name=f"Delete {key}").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Segments")
    expect(page.get_by_role("main")).not_to_contain_text("session_count is at least 5")

"""Find a call in the API reference and copy it in another language."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Window

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("keyboard", [False, True])
def test_find_how_to_record_a_purchase_choose_python_and_copy(
    keyboard: bool, window: Callable[..., Window]
) -> None:
    reader = window(keyboard=keyboard, permissions=["clipboard-read", "clipboard-write"])
    page = reader.open("developers/")
    reader.press("link", "Search all calls")
    expect(page.get_by_role("heading", level=1)).to_have_text("API reference")
    reader.fill(page.get_by_label("Search paths, descriptions and fields"), "purchase transaction")
    expect(page.get_by_role("row").filter(has_text="/v1/")).to_have_count(1)
    expect(page).to_have_url(f"{reader.base}/sample-game/live/developers/reference/"
                             "?q=purchase+transaction")  # fmt: skip
    reader.press("link", "Record a purchase")
    expect(page.get_by_role("heading", level=1)).to_have_text("Record a purchase")

    sample = page.get_by_role("region", name="Request")
    expect(sample).to_contain_text("curl -X POST")
    reader.press("link", "Python")
    expect(sample).to_contain_text("ilara.record_purchase(")
    expect(page.get_by_role("link", name="Python")).to_have_attribute("aria-current", "true")
    button = sample.get_by_role("button", name="Copy")
    if keyboard:
        expect(page.get_by_role("link", name="Python")).to_be_focused()
        reader.reach(button)
        page.keyboard.press("Enter")
    else:
        button.click()
    expect(sample.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == sample.locator("pre").inner_text()
    compile(copied, "copied", "exec")

    # The language applies to other pages.
    reader.press("link", "Record a session", exact=True)
    expect(page.get_by_role("heading", level=1)).to_have_text("Record a session")
    expect(page.get_by_role("region", name="Request")).to_contain_text("ilara.record_session(")


def test_reference__works_without_javascript(window: Callable[..., Any]) -> None:
    page = window(java_script_enabled=False).open("developers/reference/")
    page.get_by_label("Search paths, descriptions and fields").fill("purchase transaction")
    page.get_by_role("button", name="Apply").click()
    page.get_by_role("link", name="Record a purchase").click()
    page.get_by_role("link", name="Go", exact=True).click()
    sample = page.get_by_role("region", name="Request")
    expect(sample).to_contain_text("client.RecordPurchase(")
    page.get_by_text("Another example: address").click()
    expect(page.get_by_text("purchase?amount=4.99").last).to_be_visible()

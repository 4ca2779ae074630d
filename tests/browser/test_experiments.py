"""From the page of a flag to a running experiment, and shipping it with a review."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Window

pytestmark = pytest.mark.browser

FLAG = "onboarding-copy"


def test_measure_and_ship__by_keyboard(window: Callable[..., Window]) -> None:
    """The rule of a flag is measured; shipping waits for a second person."""
    staff = window(keyboard=True)
    page = staff.open(f"flags/{FLAG}/")
    staff.press("link", "Measure rule 1")
    staff.fill(page.get_by_label("Hypothesis"), "A story keeps more players")
    staff.select(page.get_by_label("Control"), "control")
    staff.select(page.get_by_label("Metric", exact=True), "sessions: Sessions per player")
    staff.fill(page.get_by_label("Planned players"), "2000")
    staff.press("button", "How many players?")
    needed = page.get_by_role("status", name="Players needed")
    expect(needed).to_contain_text("players of sessions")
    staff.press("button", "Create draft")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Draft")
    staff.press("link", "Start")
    staff.press("button", "Start in live")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Running")

    guard(staff, on=True)
    try:
        page = staff.open(f"experiments/{FLAG}/")
        staff.press("link", "Decide")
        staff.select(page.get_by_label("Decision", exact=True), "Ship story")
        expect(page.get_by_role("dialog")).to_contain_text("switch")
        staff.press("button", "Decide in live")
        staff.fill(page.locator("#guard-reason"), "It keeps more players")
        staff.press("button", "Request review")
        page.wait_for_url(re.compile(r"/requests/[0-9]+/$"))
        expect(page.get_by_role("main")).to_contain_text("Shipped variant")
        expect(page.get_by_role("main")).to_contain_text("Needs one approval by someone else")
        staff.press("link", "Withdraw")
        staff.press("button", re.compile("^Withdraw"))
        expect(page.get_by_role("heading", level=1)).to_contain_text("Withdrawn")
    finally:
        guard(staff, on=False)
    page = staff.open(f"experiments/{FLAG}/")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Running")
    staff.press("link", "Decide")
    staff.select(page.get_by_label("Decision", exact=True), "Stop without shipping")
    staff.press("button", "Decide in live")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Decided to stop")


def guard(staff: Window, *, on: bool) -> None:
    """Changes of rules and percentages need a second person, or no longer do."""
    page = staff.context.new_page()
    page.goto(staff.address("settings/guard/"))
    for box in page.get_by_role(
        "checkbox", name=re.compile("(percentage|rules).*Second person")
    ).all():
        box.set_checked(on)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Guard of live saved.")).to_be_visible()
    page.close()

"""A guarded rollout: guard a percentage in the dialog, and see the guards on the flag's page."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Window
from tests.browser.test_every_page import problems
from tests.browser.test_flags import clone_flag

pytestmark = pytest.mark.browser
LOWER = re.compile("lower is better")


def test_percentage__is_guarded_in_the_dialog(admin: Window) -> None:
    key = clone_flag(admin)
    page = admin.page
    admin.press("link", "Turn on")
    admin.press("button", "Turn on in live")
    expect(page.get_by_role("heading", level=1)).to_contain_text("On")
    admin.press("link", "Set the percentage of rule 1")
    admin.fill(page.get_by_role("spinbutton", name="Percentage"), "20")
    tolerance = page.get_by_label("Worst tolerable change, %")
    expect(tolerance).to_be_hidden()
    admin.tick(page.get_by_label("Guard this rollout"))
    expect(tolerance).to_be_visible()
    admin.tick(page.get_by_role("checkbox", name=LOWER).first)
    admin.fill(tolerance, "10")
    admin.press("button", "Save to live")

    guards = page.get_by_role("list", name=f"Guard metrics of {key}-rollout-1")
    expect(guards).to_contain_text("+10 %")
    expect(guards).to_contain_text("Too few players yet")


def test_guards__are_accessible(window: Callable[..., Window]) -> None:
    admin = window()
    clone_flag(admin)
    page = admin.page
    admin.press("link", "Turn on")
    admin.press("button", "Turn on in live")
    expect(page.get_by_role("heading", level=1)).to_contain_text("On")
    admin.press("link", "Set the percentage of rule 1")
    admin.tick(page.get_by_label("Guard this rollout"))
    admin.press("button", "Save to live")
    expect(page.get_by_text("Choose at least one metric.")).to_be_visible()
    assert problems(page) == []
    admin.tick(page.get_by_role("checkbox", name=LOWER).first)
    admin.press("button", "Save to live")
    expect(page.get_by_text("Guarded", exact=True)).to_be_visible()
    assert problems(page) == []

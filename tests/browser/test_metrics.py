"""Metrics: build one with a preview, and see it measured."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Window

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("mode", [{"keyboard": True}, {"java_script_enabled": False}], ids=str)
def test_metric__is_built_with_a_preview(
    mode: dict[str, bool], window: Callable[..., Window]
) -> None:
    admin, key = window(**mode), f"gems-{uuid4().hex[:8]}"
    page = admin.open("metrics/")
    admin.press("link", "New metric")
    kind = page.get_by_label("Measures")
    admin.select(kind, "Sum of a property per player")
    if not admin.keyboard:
        admin.press("button", "Show its fields")
    expect(page.locator("#id_property")).to_be_visible()
    admin.fill(page.locator("#id_event"), "purchase")
    admin.fill(page.locator("#id_property"), "price")
    admin.press("button", "Add condition")
    condition = page.get_by_role("group", name="Property 1")
    admin.fill(condition.get_by_label("Property", exact=True), "item_id")
    admin.fill(condition.get_by_label("Value"), "gems_small")
    admin.fill(page.get_by_label("Cap at percentile"), "99")
    admin.fill(page.locator("#id_key"), key)
    admin.fill(page.get_by_label("Unit"), "USD")
    if not admin.keyboard:
        admin.press("button", "Preview")
    preview = page.get_by_role("region", name="Last 14 days")
    sentence = (
        "Sum of “price” of “purchase” events whose item_id is “gems_small”, per player, since "
        "exposure, values above the 99th percentile capped."
    )
    expect(preview).to_contain_text(sentence)
    expect(preview).to_contain_text("Mean per active player in USD, by UTC day")
    expect(page.locator("#id_property_helptext")).to_contain_text("number, 100 % of purchase")
    admin.press("button", "Create metric")
    expect(page.get_by_role("heading", level=1)).to_contain_text(key)
    expect(page.get_by_role("main")).to_contain_text(sentence)
    expect(page.get_by_role("main")).to_contain_text("No experiment or guarded rollout uses this")

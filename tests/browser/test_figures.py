"""The page of figures: range and breakdown, the download, values of the heat map."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Window

pytestmark = pytest.mark.browser


def test_range_and_breakdown__change_what_is_shown_and_downloaded(
    window: Callable[..., Window],
) -> None:
    admin = window(keyboard=True)
    page = admin.open("figures/")
    heat = page.locator("figure[data-kind=heat]")
    expect(heat).to_contain_text("Retention by first day")
    admin.select(page.get_by_label("Range"), "7 days")
    page.wait_for_url(re.compile("range=7"))
    admin.select(page.get_by_label("Broken down by"), "Country")
    page.wait_for_url(re.compile("by=country"))
    expect(heat).to_contain_text("Retention by country")
    values = page.get_by_role("region", name="Figures by country")
    expect(values.get_by_role("row")).to_have_count(13)  # the sample game has twelve countries
    admin.reach(heat.locator("summary"))
    page.keyboard.press("Enter")
    expect(heat.get_by_role("columnheader", name="Day 30")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("utc_day,dimension,value,active,new,returning")
    assert {line.split(",")[1] for line in lines[1:]} == {"country"}

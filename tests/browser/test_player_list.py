"""The list of players: filters, columns and views, changes of the selected ones, CSV."""

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE_MILLISECONDS, Window

pytestmark = pytest.mark.browser


def names(page: Page) -> list[str]:
    return page.locator("tbody a.mono").all_inner_texts()


def test_filters_and_columns_are_kept_in_a_view(admin: Window) -> None:
    page = admin.open("players/")
    admin.select(page.get_by_label("Stage"), "At risk")
    admin.press("button", "Search")
    expect(page.get_by_role("link", name="Remove filter Stage")).to_be_visible()
    admin.press("link", "Columns")
    admin.tick(page.get_by_role("checkbox", name="level"))
    admin.press("button", "Show")
    expect(page.get_by_role("columnheader", name="level")).to_be_visible()
    shown = names(page)
    assert shown
    admin.press("link", "Save view")
    admin.fill(page.get_by_label("Name"), "Leaving")
    admin.press("button", "Save", exact=True)
    view = page.get_by_role("navigation", name="Views").get_by_role("link", name="Leaving")
    expect(view).to_have_attribute("aria-current", "page")

    admin.open("players/")
    admin.press("link", "Leaving")
    expect(page.get_by_role("columnheader", name="level")).to_be_visible()
    assert names(page) == shown
    admin.press("link", "Delete view")
    admin.press("button", "Delete", exact=True)
    expect(view).to_have_count(0)


def test_selected_players_get_a_list_entry_and_a_note(admin: Window) -> None:
    address = "players/?q=player_&sort=id"  # those of the sample game
    page = admin.open(address)
    chosen = names(page)[:3]

    def tick() -> None:
        for name in chosen:
            admin.tick(page.get_by_role("checkbox", name=f"Select {name}", exact=True))

    tick()
    admin.press("button", "Add to a list")
    admin.select(page.get_by_label("Segment", exact=True), "whales")
    admin.press("button", "Add 3 players to a segment's list in live")
    expect(page.get_by_text("Added 3 players to the include list of whales.")).to_be_visible()
    assert page.url.endswith(address)
    admin.press("button", "Undo")
    expect(page.get_by_text("Undone.")).to_be_visible()

    admin.open(address)
    tick()
    admin.press("button", "Add a note")
    admin.fill(page.get_by_label("Note"), "Asked about the gems")
    admin.press("button", "Add a note to 3 players in live")
    expect(page.get_by_text("Added the note to 3 players.")).to_be_visible()
    admin.press("button", "Undo")
    expect(page.get_by_text("Undone.")).to_be_visible()


def test_list_is_exported_as_csv(admin: Window, tmp_path: Path) -> None:
    page = admin.open("players/?stage=at_risk&columns=.level,email")
    first = names(page)
    admin.press("button", "CSV", exact=True)
    expect(page.get_by_role("heading", name="Exports of players")).to_be_visible()
    newest = page.locator("tbody tr").first
    download = newest.get_by_role("link", name=re.compile("Download"))
    for _ in range(PATIENCE_MILLISECONDS // 500):
        if download.count():
            break
        page.wait_for_timeout(500)  # with JavaScript the page asks by itself
        if newest.get_by_role("link", name="Reload").count():
            admin.press("link", "Reload")
    expect(newest).to_contain_text("Stage: At risk")
    with page.expect_download() as started:
        download.press("Enter")  # as a click does
    started.value.save_as(tmp_path / "players.csv")
    with (tmp_path / "players.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["player_id", "external_id", "level", "email"]
    assert set(first) <= {row[1] for row in rows}

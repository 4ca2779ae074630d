"""Lists of a segment: add, find, remove, undo, import and clear ids."""

import re
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Window

pytestmark = pytest.mark.browser


def test_add_find_remove_undo_import_and_clear(admin: Window, tmp_path: Path) -> None:
    mark = uuid4().hex[:8]
    page = admin.open("segments/android-players/lists/?list=exclude")
    admin.press("link", "Add ids")
    admin.fill(page.get_by_label("External ids"), "x" * 256)
    admin.press("button", "Add ids")
    expect(page.get_by_text("longer than 255 characters").first).to_be_visible()
    admin.fill(page.get_by_label("External ids"), f"{mark}-a")
    admin.press("button", "Add ids")
    expect(page.get_by_role("row", name=f"{mark}-a")).to_contain_text("not registered yet")

    admin.press("button", f"Remove {mark}-a")
    expect(page.get_by_role("row", name=f"{mark}-a")).to_have_count(0)
    undo = page.get_by_role("button", name="Undo: removed 1 id from the exclude list").first
    undo.press("Enter")
    expect(page.get_by_role("row", name=f"{mark}-a")).to_be_visible()

    file = tmp_path / f"{mark}.csv"
    file.write_text("".join(f"{mark}-{number:05}\n" for number in range(30_000)) + '""\n')
    admin.press("link", "Import a file")
    page.get_by_label("CSV file").set_input_files(file)
    admin.press("button", "Import")
    changes = page.get_by_role("region", name="Last changes")
    expect(changes).to_contain_text("30,000 added, 1 invalid line skipped", timeout=60_000)
    expect(page.get_by_role("navigation", name="Lists")).to_contain_text("Exclude 30,001")

    admin.fill(page.get_by_label("External id starts with"), f"{mark}-2999")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name=f"{mark}-29999")).to_be_visible()
    expect(page.get_by_role("row", name=f"{mark}-00000")).to_have_count(0)

    page = admin.open("segments/android-players/lists/clear/?list=exclude")
    admin.fill(page.get_by_label("to confirm"), "android-players")
    admin.press("button", re.compile("^Clear the exclude list"))
    expect(page.get_by_role("main")).to_contain_text("30,001 removed", timeout=60_000)
    expect(page.get_by_role("heading", name="No excluded ids")).to_be_visible()

"""Tasks with one player's data: edit attributes, find out why, export, erase."""

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Ilara, Window, settled
from tests.browser.test_support import register

pytestmark = pytest.mark.browser


def stored(ilara: Ilara, player: dict[str, Any]) -> dict[str, Any]:
    path = f"players/players/{player['id']}"
    found: dict[str, Any] = fetch(ilara, path)["attributes"]
    return found


def fetch(ilara: Ilara, path: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{ilara.url}/v1/{path}", headers={"X-API-Key": ilara.key("live", "public")}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        data: dict[str, Any] = json.load(reply)["data"]
    return data


def attributes_of(page: Page) -> Any:
    return page.get_by_role("region", name="Attributes", exact=True)


def test_edit_one_attribute_and_undo(admin: Window, ilara: Ilara) -> None:
    player = register(ilara, level=7, code="007")
    page = admin.open(f"players/{player['id']}/")
    admin.press("link", "Edit level: 7")
    admin.fill(page.get_by_role("textbox", name="Value"), "seven")
    admin.press("button", "Save")
    refused = page.get_by_role("alert").filter(has_text="“level” must be a number, like 42")
    expect(refused).to_be_visible()
    admin.fill(page.get_by_role("textbox", name="Value"), "8")
    admin.press("button", "Save")
    expect(attributes_of(page)).to_contain_text("8")
    assert stored(ilara, player) == {"level": 8, "code": "007"}
    admin.press("button", "Undo")
    expect(page.get_by_role("link", name="Edit level: 7")).to_be_visible()
    assert stored(ilara, player) == {"level": 7, "code": "007"}


def test_edit_all_attributes_in_one_form(admin: Window, ilara: Ilara) -> None:
    player = register(ilara, level=7, vip=True, old=1)
    page = admin.open(f"players/{player['id']}/")
    admin.press("link", "Edit all attributes")
    row = page.get_by_role("group", name="level")
    admin.fill(row.get_by_role("textbox", name="Value"), "8")
    admin.tick(page.get_by_role("group", name="old").get_by_role("checkbox", name="Remove"))
    admin.press("button", "Add attribute")
    row = page.get_by_role("group", name="New attribute")
    admin.fill(row.get_by_role("combobox", name="Name"), "coins")
    admin.select(row.get_by_role("combobox", name="Type"), "Number")
    admin.fill(row.get_by_role("textbox", name="Value"), "5")
    admin.press("button", "Save")
    expect(attributes_of(page)).to_contain_text("coins")
    assert stored(ilara, player) == {"level": 8, "vip": True, "coins": 5}


def test_why_and_why_not_in_a_segment(admin: Window, ilara: Ilara) -> None:
    player = register(ilara, level=45)
    page = admin.open(f"players/{player['id']}/")
    panel = page.get_by_role("region", name="Segments", exact=True)
    expect(panel).to_contain_text("level is at least 40 (actual: 45)")
    admin.press("link", "Not in")
    expect(panel).to_contain_text("must")
    expect(panel.get_by_role("link", name="beta-testers")).to_have_count(0)


def test_export_the_data(admin: Window, ilara: Ilara, tmp_path: Path) -> None:
    player = register(ilara, level=7)
    page = admin.open(f"players/{player['id']}/")
    open_menu(admin, "Export data")
    with page.expect_download() as download:
        admin.press("button", "Download")
    download.value.save_as(tmp_path / "player.json")
    document = json.loads((tmp_path / "player.json").read_text())
    assert document["player"]["external_id"] == player["external_id"]
    assert document["player"]["attributes"] == {"level": 7}
    page = admin.open(f"audit/?object=player:{player['id']}")
    expect(page.get_by_role("main")).to_contain_text("xported")


def test_erase_a_player(admin: Window, ilara: Ilara) -> None:
    player = register(ilara, level=7)
    page = admin.open(f"players/{player['id']}/")
    open_menu(admin, "Erase")
    typed = page.get_by_role("textbox", name="to confirm")
    admin.fill(typed, "wrong")
    button = page.get_by_role("button", name="Erase")
    if page.locator("dialog[open]").count():
        expect(button).to_be_disabled()
    else:
        admin.press("button", "Erase")
        expect(page.get_by_role("alert").filter(has_text="Nothing was erased")).to_be_visible()
    admin.fill(page.get_by_role("textbox", name="to confirm"), player["external_id"])
    admin.press("button", "Erase")
    expect(page.get_by_text("The player was erased")).to_be_visible()
    page = admin.open(f"players/?q={player['external_id']}")
    expect(page.get_by_role("main")).to_contain_text("No players match")


def open_menu(admin: Window, name: str) -> None:
    admin.click(admin.page.get_by_label("More actions"))
    admin.press("link", name)


def test_new_attribute__takes_the_type_that_others_have(
    window: Callable[..., Window], ilara: Ilara
) -> None:
    name = "level"  # a number of the sample game's players
    player = register(ilara)
    support = window()
    page = support.open(f"players/{player['id']}/")
    support.press("link", "Add an attribute")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("combobox", name="Name")).to_be_focused()  # as it opens
    settled(page)  # htmx focuses it again when it settles
    dialog.get_by_role("combobox", name="Type").focus()
    dialog.get_by_role("combobox", name="Type").select_option("Yes or no")
    expect(dialog.locator("select[name=value]")).to_be_visible()
    expect(dialog.get_by_role("combobox", name="Type")).to_be_focused()
    support.fill(dialog.get_by_role("combobox", name="Name"), name)
    dialog.get_by_role("combobox", name="Name").press("Tab")
    expect(dialog.get_by_role("combobox", name="Type")).to_have_value("number")
    support.fill(dialog.get_by_role("textbox", name="Value"), "6")
    support.press("button", "Add")
    expect(attributes_of(page)).to_contain_text(name)
    assert stored(ilara, player) == {name: 6}

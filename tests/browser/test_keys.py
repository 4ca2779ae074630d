"""API keys: create one with few scopes, edit it, and see who used it last."""

import json
import urllib.error
import urllib.request
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Ilara, Window

pytestmark = pytest.mark.browser


def call(ilara: Ilara, token: str) -> int:
    """The status of a list of players, as a match server asks for it."""
    headers = {"X-API-Key": token, "User-Agent": "match-server/4.2 (eu-1)"}
    url = f"{ilara.url}/v1/players/players?limit=1"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as reply:
            assert json.load(reply)["success"]
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_key_with_few_scopes__is_created_edited_and_seen_in_use(
    ilara: Ilara, admin: Window
) -> None:
    page = admin.open("keys/new/")
    name = f"Match server {uuid4().hex[:6]}"
    admin.fill(page.get_by_role("textbox", name="Name"), name)
    expect(page.get_by_text("with the e-mail masked")).to_be_visible()
    track = page.locator('[name="scopes"][value="track"]')
    expect(track).to_be_hidden()
    admin.check(page.get_by_label("Secret", exact=True))
    for scope in ("track", "evaluate", "personal", "stream"):
        box = page.locator(f'[name="scopes"][value="{scope}"]')
        expect(box).to_be_checked()
        if admin.keyboard:
            admin.tick(box)
        else:
            box.uncheck()
    networks = page.get_by_label("Allowed networks")
    admin.fill(networks, "127.0.0.0/8\n10.0.0.300")
    admin.press("button", "Create key")
    expect(page.locator("#id_networks_error")).to_contain_text("Line 2: “10.0.0.300” is no address")
    admin.fill(networks, "127.0.0.0/8")
    admin.press("button", "Create key")
    expect(page.get_by_text("Scopes: read.")).to_be_visible()
    token = page.locator("pre").first.inner_text().strip()
    assert call(ilara, token) == 200

    admin.press("link", "Done")
    row = page.get_by_role("row").filter(has_text=name).first
    expect(row).to_contain_text("only from 127.0.0.0/8")
    admin.press("link", f"Edit {name}", exact=True)
    admin.tick(track)
    admin.fill(page.get_by_label("Allowed networks"), "10.0.0.0/8")
    admin.press("button", "Save")
    expect(row).to_contain_text("read, track")
    expect(row).to_contain_text("only from 10.0.0.0/8")
    assert call(ilara, token) == 403

    used = row.get_by_text("by match-server/4.2 from 127.0.0.1")
    for _ in range(60):  # uses are written every ten seconds
        if used.is_visible():
            break
        page.wait_for_timeout(1_000)
        page.reload()
    expect(used).to_be_visible()

"""The first day in one test, from the first start to the audit log."""

import re
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import PATIENCE_MILLISECONDS, Ilara, running_ilara, settled

pytestmark = pytest.mark.browser


def paste(line: str) -> str:
    """Run a command as shown, and return its output."""
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_first_day(tmp_path: Path, chromium: Browser) -> None:
    with running_ilara(tmp_path / "home") as ilara:
        first_day(ilara, chromium)


def first_day(ilara: Ilara, chromium: Browser) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    page = context.new_page()
    try:
        page.goto(ilara.url)
        page.get_by_label("Username").fill("admin")
        page.get_by_label("Password").fill(ilara.password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")

        rail = page.get_by_role("navigation", name="Main")
        rail.get_by_role("link", name="API keys").click()
        page.get_by_role("link", name="New key").click()
        settled(page)
        page.get_by_role("textbox", name="Name").fill("First build")
        page.get_by_role("button", name="Create key").click()
        line = page.locator("pre").filter(has_text="curl").inner_text()
        reply = paste(line)
        assert '"success":true' in reply
        player_id = re.search(r'"id":"([0-9a-f-]{36})"', reply)
        external_id = re.search(r'"external_id":"([^"]+)"', reply)
        assert player_id
        assert external_id

        rail.get_by_role("link", name="Players").click()
        page.get_by_role("link", name=external_id[1]).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(external_id[1])

        rail.get_by_role("link", name="Live events").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Live events")
        event = f'{{"player_id": "{player_id[1]}", "event_name": "first_light"}}'
        track = re.sub(r"players/players", "events/events", line)
        track = re.sub(r"-d '.*'", f"-d '{event}'", track, flags=re.DOTALL)
        assert '"status":"accepted"' in paste(track)
        expect(page.get_by_role("cell", name="first_light")).to_be_visible()

        rail.get_by_role("link", name="API keys").click()
        page.get_by_role("link", name="Revoke First build").click()
        settled(page)
        page.get_by_role("textbox", name="to confirm").fill("First build")
        page.get_by_role("button", name=re.compile("^Revoke")).last.click()
        expect(page.get_by_role("row").filter(has_text="First build")).to_contain_text("Revoked")
        assert "Invalid API key: it has been revoked" in paste(line)

        rail.get_by_role("link", name="Audit").click()
        log = page.get_by_role("main")
        expect(log).to_contain_text(re.compile(r"admin revoked the API key\s+First build"))
        expect(log).to_contain_text(re.compile(r"admin issued the API key\s+First build"))
    finally:
        context.close()

"""Environments: switch between them, and copy a flag to live."""

import json
import re
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Ilara, Window
from tests.running import bash

pytestmark = pytest.mark.browser

SEGMENT = {
    "operator": "AND",
    "conditions": [{"field": "session_count", "operator": ">=", "value": 3}],
}
FLAG = {
    "value_type": "boolean", "enabled": True, "default": "disabled", "off": "disabled",
    "variants": [{"key": "enabled", "value": True}, {"key": "disabled", "value": False}],
    "rules": [{"id": "r1", "segment": "spring-fans", "variant": "enabled"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def in_test(ilara: Ilara, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a flag that is on in test, with a segment that live lacks, too."""
    config = {
        "version": 1,
        "segments": {"spring-fans": {"rule": SEGMENT}},
        "flags": {"spring-sale": FLAG},
    }
    path: Path = tmp_path_factory.mktemp("config") / "spring.json"
    path.write_text(json.dumps(config))
    command = f"{sys.executable} manage.py import_config sample-game/test {path} --apply"
    bash(command, {"ILARA_HOME": str(ilara.serve.home)})
    return "/sample-game/test/flags/spring-sale/"


def test_copy_to_live_with_a_missing_segment(admin: Window, in_test: str) -> None:
    page = admin.open(in_test)
    main = page.get_by_role("main")
    admin.press("link", "Copy to live")
    expect(main).to_contain_text("New in live")
    expect(page.get_by_label("Copy the segment spring-fans, too")).to_be_checked()
    admin.tick(page.get_by_label("Turn it on in live, too"))
    if page.get_by_role("button", name="Update the review").count():  # without JavaScript
        admin.press("button", "Update the review")
    expect(main).to_contain_text(re.compile(r"[1-9][\d,.]* (% )?of ([\d,]+ )?players switch"))
    admin.fill(page.get_by_label("Reason"), "Spring begins")
    admin.press("button", "Copy to live")
    expect(page.get_by_role("heading", level=1)).to_contain_text("On")
    assert page.url.endswith("/live/flags/spring-sale/")
    expect(main).to_contain_text("spring-fans")
    expect(page.locator("#history")).to_contain_text("Spring begins")

    admin.press("button", "Undo")
    expect(main).to_contain_text("deleted the segment spring-fans")
    expect(main).to_contain_text("deleted the flag spring-sale")
    admin.open("flags/spring-sale/")
    expect(main).to_contain_text("There is no flag spring-sale in")


def switch(admin: Window, slug: str) -> None:
    admin.click(admin.page.locator("summary", has_text="switch project or environment"))
    admin.press("link", slug, exact=True)


def test_switching__keeps_the_flag_in_sight(admin: Window, in_test: str) -> None:
    page = admin.open("flags/new_tutorial/")
    switch(admin, "Test")
    expect(page).to_have_url(re.compile("/test/flags/new_tutorial/$"))
    page = admin.open(in_test)
    switch(admin, "Live")
    expect(page.get_by_role("main")).to_contain_text("There is no flag spring-sale in")
    admin.press("link", "Copy it here from test")
    expect(page.get_by_role("main")).to_contain_text("New in live")

    page = admin.open("flags/")
    admin.fill(page.get_by_role("searchbox", name="Search", exact=True), "tutorial")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"q=tutorial"))
    switch(admin, "Test")
    expect(page).to_have_url(re.compile(r"/test/flags/\?.*q=tutorial"))

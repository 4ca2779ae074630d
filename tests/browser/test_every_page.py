"""Every page, in both themes and both widths: nothing on the console, nothing that axe finds."""

import json
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.conftest import Ilara, Window
from tests.browser.test_support import register

pytestmark = pytest.mark.browser

PAGES = [
    "", "players/", "players/?stage=churned", "players/?q=nobody", "flags/", "flags/+new/",
    "flags/?show=archived", "flags/?q=nothing", "flags/new-shop/", "flags/onboarding-copy/",
    "flags/onboarding-copy/rules/", "flags/onboarding-copy/variants/", "flags/new-shop/turn-off/",
    "flags/new-shop/restore/1/", "flags/new-shop/archive/", "segments/", "segments/+new/",
    "segments/whales/", "segments/whales/edit/", "segments/whales/delete/",
    "segments/whales/lists/", "segments/whales/lists/?list=exclude", "segments/whales/lists/add/",
    "segments/whales/lists/import/", "segments/whales/lists/clear/", "events/",
    "events/?paused=1", "events/?name=nothing", "keys/", "keys/new/", "audit/", "developers/",
    "settings/", "settings/edit/", "staff/", "staff/new/", "find/?q=player_1000", "find/?q=zzz",
    "/account/", "/sign-in/", "/nowhere/",
]  # fmt: skip


def problems(page: Page) -> list[str]:
    """What axe finds, and a page that is wider than the window."""
    found = Axe().run(page).response["violations"]
    said = []
    for item in found:
        places = json.dumps([node["html"][:160] for node in item["nodes"]][:3])
        said.append(f"{page.url}: {item['id']}: {places}")
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        said.append(f"{page.url}: scrolls sideways")
    return said


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page(scheme: str, width: int, window: Callable[..., Window], ilara: Ilara) -> None:
    player = register(ilara, level=45)
    admin = window(color_scheme=scheme, viewport={"width": width, "height": 900})
    found: list[str] = []
    for path in [*PAGES, f"players/{player['id']}/", f"players/{player['id']}/edit/"]:
        found += problems(admin.open(path))
    # Dialogs are pages too, and lie on top of one.
    page = admin.open("flags/new-shop/")
    page.get_by_role("link", name="Turn off").click()
    page.get_by_role("dialog").wait_for()
    found += problems(page)
    assert found == []

"""Update the pictures of the README: `uv run python -m tests.browser.screenshots`."""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

from tests.browser.conftest import ARGUMENTS, Ilara, chromium_path, running_ilara

FOLDER = Path(__file__).resolve().parents[2] / "static/img/readme"
PAGES = {
    "overview": "",
    "flag": "flags/onboarding-copy/",
    "player": "players/?stage=active&payer=yes",
    "events": "events/",
}
SIZE: ViewportSize = {"width": 1280, "height": 800}


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="ilara-pictures-"))
    try:
        with running_ilara(home, "--demo") as ilara:
            draw(ilara)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def draw(ilara: Ilara) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        for scheme in ("light", "dark"):
            context = browser.new_context(color_scheme=scheme, viewport=SIZE)
            page = context.new_page()
            sign_in(page, ilara)
            for name, path in PAGES.items():
                page.goto(f"{ilara.url}/sample-game/live/{path}")
                if name == "player":
                    page.locator("tbody a").first.click()
                    page.wait_for_url("**/players/*-*/")
                page.wait_for_timeout(500)
                page.screenshot(path=FOLDER / f"{name}-{scheme}.png")
            context.close()
        browser.close()


def sign_in(page: Page, ilara: Ilara) -> None:
    page.goto(f"{ilara.url}/sign-in/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(ilara.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/sample-game/live/")


if __name__ == "__main__":
    main()

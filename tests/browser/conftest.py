"""A real Ilara with its sample game, and a real Chromium to look at it with."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    expect,
    sync_playwright,
)

from tests.homes import HANG_SECONDS
from tests.processes import program
from tests.running import Serve

# Bounds a hang. Playwright's own 5 seconds are short for one worker on a busy machine.
PATIENCE_MILLISECONDS = 60_000
expect.set_options(timeout=PATIENCE_MILLISECONDS)

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Ilara:
    """A running `serve`, and what it printed."""

    serve: Serve

    @property
    def url(self) -> str:
        return self.serve.address

    @property
    def password(self) -> str:
        return self.serve.says("sign in").removeprefix("admin / ")

    def key(self, environment: str, kind: str) -> str:
        return self.serve.says(f"{environment} {kind}")


@contextmanager
def running_ilara(home: Path, *options: str) -> Iterator[Ilara]:
    serve = Serve(home, "--workers", "1", *options)
    try:
        yield Ilara(serve.ready(4 * HANG_SECONDS))  # it may fill a sample game first
        serve.stop()
    finally:
        serve.clean_up()


@pytest.fixture(scope="session")
def ilara(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ilara]:
    with running_ilara(tmp_path_factory.mktemp("ilara-home"), "--demo") as ilara:
        yield ilara


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = program("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Window:
    """A browser context that notes what no page may do: complain on the console or fail.

    Its acts are those of a hand: by the mouse, or by Tab, letters and Enter alone.
    """

    context: BrowserContext
    page: Page
    base: str
    keyboard: bool = False
    complaints: list[str] = field(default_factory=list)

    def address(self, path: str) -> str:
        """Of a page of the sample game's live environment, or of the whole site (leading slash)."""
        return self.base + (path if path.startswith("/") else f"/sample-game/live/{path}")

    def open(self, path: str) -> Page:
        self.page.goto(self.address(path))
        return self.page

    def press(self, role: str, name: str | re.Pattern[str], *, exact: bool = False) -> None:
        """Use a link or a button."""
        target = self.page.get_by_role(cast(Any, role), name=name, exact=exact).last
        if self.keyboard:
            self.reach(target)
            self.page.keyboard.press("Enter")
        else:
            target.click()

    def fill(self, target: Locator, text: str) -> None:
        settled(self.page)
        if self.keyboard:
            self.reach(target)
            self.page.keyboard.press("ControlOrMeta+a")
            self.page.keyboard.type(text)
        else:
            target.fill(text)

    def select(self, target: Locator, label: str) -> None:
        settled(self.page)
        if self.keyboard:
            self.reach(target)
            self.page.keyboard.type(label)
        else:
            target.select_option(label)

    def tick(self, box: Locator) -> None:
        settled(self.page)
        if self.keyboard:
            self.reach(box)
            self.page.keyboard.press("Space")
        else:
            box.check()

    def check(self, target: Locator) -> None:
        """Choose one of several radio buttons, which the arrow keys walk through."""
        settled(self.page)
        if not self.keyboard:
            target.check()
            return
        self.reach(self.page.locator("input[type=radio]:checked"))
        for _ in range(10):
            if target.is_checked():
                return
            self.page.keyboard.press("ArrowDown")
        raise AssertionError("The arrow keys do not lead to it")

    def reach(self, target: Locator) -> None:
        """Press Tab until the focus is there."""
        settled(self.page)
        target.wait_for()
        for _ in range(200):
            if target.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {target}")

    def listen(self, page: Page) -> None:
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))

    def _on_console(self, message: ConsoleMessage) -> None:
        # Chromium itself notes each 4xx; a refused form is meant to be one.
        refused = "the server responded with a status of 4" in message.text
        if message.type in ("error", "warning") and not refused:
            self.complaints.append(f"{self.page.url}: {message.text}")


@pytest.fixture(scope="session")
def signed_in(ilara: Ilara, chromium: Browser) -> Any:
    """The cookies of an admin."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{ilara.url}/sign-in/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(ilara.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/sample-game/live/")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def window(ilara: Ilara, chromium: Browser, signed_in: Any) -> Iterator[Callable[..., Window]]:
    """Opens windows of a signed-in admin; at the end none may have complained."""
    opened: list[Window] = []

    def open_window(*, keyboard: bool = False, **options: Any) -> Window:
        options.setdefault("storage_state", signed_in)
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = chromium.new_context(**options)
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        page = context.new_page()
        made = Window(context, page, ilara.url, keyboard)
        made.listen(page)
        opened.append(made)
        return made

    yield open_window
    for made in opened:
        made.context.close()
    assert [complaint for made in opened for complaint in made.complaints] == []


MODES: dict[str, dict[str, Any]] = {
    "mouse": {},
    "keyboard": {"keyboard": True},
    "no-script": {"java_script_enabled": False},
}


@pytest.fixture(params=list(MODES))
def admin(request: pytest.FixtureRequest, window: Callable[..., Window]) -> Window:
    """The same task by mouse, by keyboard alone, and without JavaScript."""
    return window(**MODES[request.param])


def settled(page: Page) -> None:
    """Wait until htmx is done: it moves the focus at the end, and takes typing with it."""
    busy = page.locator(".htmx-request, .htmx-swapping, .htmx-settling, .htmx-added")
    expect(busy).to_have_count(0)

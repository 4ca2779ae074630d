"""A running Ilara with the sample game, and Chromium."""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
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
from tests.running import Serve, free_port
from tests.used_homes import UsedHomes

# Playwright's default of 5 seconds is too short for one worker on a busy machine.
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
    """A running `serve`, with values from its output."""

    serve: Serve
    webhook_port: int  # which channels may have on this machine

    @property
    def url(self) -> str:
        return self.serve.address

    @property
    def password(self) -> str:
        return self.serve.says("sign in").removeprefix("admin / ")

    @property
    def mails(self) -> Path:
        """The folder of the e-mails that it has sent."""
        return self.serve.home / "mails"

    def key(self, environment: str, kind: str) -> str:
        return self.serve.says(f"{environment} {kind}")


@contextmanager
def running_ilara(
    home: Path, *options: str, printed: str = "", env: Mapping[str, str] | None = None
) -> Iterator[Ilara]:
    port = free_port()
    given = {
        "EMAIL_URL": f"filemail://{home}/mails",
        "ILARA_WEBHOOK_HOSTS": f"http://127.0.0.1:{port}",
    }
    environment = {**given, **(env or {})}
    serve = Serve(home, "--workers", "1", *options, env=environment, printed=printed)
    try:
        yield Ilara(serve.ready(2 * HANG_SECONDS), port)  # may fill a sample game first
        serve.stop()
    finally:
        serve.clean_up()


@pytest.fixture(scope="session")
def ilara(used_homes: UsedHomes) -> Iterator[Ilara]:
    with (
        used_homes(demo=True) as used,
        running_ilara(used.home, printed=used.printed) as ilara,
    ):
        yield ilara


def chromium_path() -> str:
    """Chromium without its own windows, which take as much CPU as the pages, if it is installed."""
    shell = shutil.which("chromium-headless-shell")
    return shell or program("chromium", "chromium-headless-shell")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Window:
    """A browser context that records console errors and script errors, which no page may have.

    Its methods act as a user does: by mouse, or with `keyboard` only by Tab, letters and Enter.
    """

    context: BrowserContext
    page: Page
    base: str
    keyboard: bool = False
    complaints: list[str] = field(default_factory=list)
    clicks: int = 0
    fields: int = 0

    @contextmanager
    def at_most(self, *, clicks: int, fields: int = 0) -> Iterator[None]:
        """A task that may take so many clicks, and so many fields to fill in or choose from.

        By keyboard, activating or ticking something counts as a click, and Tab does not count.
        """
        last_click, last_field = self.clicks + clicks, self.fields + fields
        yield
        assert self.clicks <= last_click, f"{self.clicks - last_click} more clicks than {clicks}"
        assert self.fields <= last_field, f"{self.fields - last_field} more fields than {fields}"

    def address(self, path: str) -> str:
        """The URL of a page in sample-game/live, or with a leading slash of any page."""
        return self.base + (path if path.startswith("/") else f"/sample-game/live/{path}")

    def open(self, path: str) -> Page:
        """Open a page of the sample game's live environment, or with a leading slash any page."""
        self.page.goto(self.address(path))
        return self.page

    def press(self, role: str, name: str | re.Pattern[str], *, exact: bool = False) -> None:
        """Activate a link or a button."""
        self.click(self.page.get_by_role(cast(Any, role), name=name, exact=exact).last)

    def click(self, target: Locator) -> None:
        """Activate something that may have no role, such as the title of a collapsed part."""
        self.clicks += 1
        if self.keyboard:
            self.reach(target)
            self.page.keyboard.press("Enter")
        else:
            target.click()

    def fill(self, target: Locator, text: str) -> None:
        self.fields += 1
        settled(self.page)
        if self.keyboard:
            self.reach(target)
            self.page.keyboard.press("ControlOrMeta+a")
            self.page.keyboard.type(text)
        else:
            target.fill(text)

    def fill_time(self, target: Locator, text: str) -> None:
        """Set a date and time, also by keyboard in one step: the order in which its parts are
        typed depends on the browser's language."""
        self.fields += 1
        settled(self.page)
        target.fill(text)

    def select(self, target: Locator, label: str) -> None:
        settled(self.page)
        if suggestions := target.get_attribute("list"):  # a field with many choices
            find = "(all, label) => all.find(each => (each.label || each.value) === label).value"
            options = self.page.locator(f"#{suggestions} option")
            self.fill(target, options.evaluate_all(find, label))
            return
        self.fields += 1
        if self.keyboard:
            self.reach(target)
            self.page.keyboard.type(label)
        else:
            target.select_option(label)

    def tick(self, box: Locator) -> None:
        self.clicks += 1
        settled(self.page)
        if self.keyboard:
            self.reach(box)
            self.page.keyboard.press("Space")
        else:
            box.check()

    def check(self, target: Locator) -> None:
        """Choose a radio button, for the keyboard by the arrow keys."""
        self.clicks += 1
        settled(self.page)
        if not self.keyboard:
            target.check()
            return
        self.reach(self.page.locator("input[type=radio]:checked"))
        for _ in range(10):
            if target.is_checked():
                return
            self.page.keyboard.press("ArrowDown")
        raise AssertionError("the arrow keys do not reach it")

    def reach(self, target: Locator) -> None:
        """Press Tab until the target has the focus."""
        settled(self.page)
        # Not at each Tab: to find a role, Chromium computes that of each element.
        element = target.element_handle()
        for _ in range(200):
            state = element.evaluate(
                "element => element.isConnected && [element === document.activeElement]"
            )
            if not state:  # htmx has replaced it meanwhile
                element = target.element_handle()
            elif state[0]:
                return
            else:
                self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not reach {target}")

    def listen(self, page: Page) -> None:
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))

    def _on_console(self, message: ConsoleMessage) -> None:
        # Chromium logs each 4xx, but that is the correct status of an invalid form.
        refused = "the server responded with a status of 4" in message.text
        # htmx logs each request that a newer one replaces. It names other failures, too.
        replaced = message.text.startswith(("htmx:afterRequest,", "htmx:sendAbort,"))
        if message.type in ("error", "warning") and not refused and not replaced:
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
    """Opens windows of a signed-in admin; at the end none may have recorded errors."""
    opened: list[Window] = []

    def open_window(*, keyboard: bool = False, **options: Any) -> Window:
        options.setdefault("storage_state", signed_in)
        options.setdefault("viewport", {"width": 1280, "height": 900})
        # Without transitions: axe must not measure colours in between, and they take CPU.
        options.setdefault("reduced_motion", "reduce")
        context = chromium.new_context(**options)
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        page = context.new_page()
        new = Window(context, page, ilara.url, keyboard)
        new.listen(page)
        opened.append(new)
        return new

    yield open_window
    for each in opened:
        each.context.close()
    assert [complaint for each in opened for complaint in each.complaints] == []


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
    """Wait until htmx is done: it moves the focus at the end, which would disturb typing."""
    busy = page.locator(".htmx-request, .htmx-swapping, .htmx-settling, .htmx-added")
    expect(busy).to_have_count(0)

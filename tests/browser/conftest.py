"""A real Ilara with its sample game, and a real Chromium to look at it with."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

START_SECONDS = 120
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

    url: str
    said: str
    home: Path

    @property
    def password(self) -> str:
        return self._find(r"sign in +admin / (\S+)")

    def key(self, environment: str, kind: str) -> str:
        return self._find(rf"{environment} {kind} key +(\S+)")

    def _find(self, pattern: str) -> str:
        found = re.search(pattern, self.said)
        assert found, f"serve did not print {pattern}:\n{self.said}"
        return found[1]


def start_ilara(home: Path, *options: str) -> tuple[Ilara, subprocess.Popen[str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--port", str(port), "--workers", "1", *options],
        cwd=settings.BASE_DIR,
        env={**environment, "ILARA_HOME": str(home), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    # A start that hangs must not hang the tests: the output ends with the process.
    watchdog = threading.Timer(START_SECONDS, process.kill)
    watchdog.start()
    said = ""
    assert process.stdout
    for line in process.stdout:
        said += line
        if "Ctrl-C" in line:
            break
    else:
        pytest.fail(f"serve ended:\n{said}")
    watchdog.cancel()
    # Somebody must read on: a full pipe would block the server.
    threading.Thread(target=process.stdout.read, daemon=True).start()
    return Ilara(f"http://127.0.0.1:{port}", said, home), process


def stop_ilara(process: subprocess.Popen[str]) -> None:
    process.terminate()
    code = process.wait(30)
    assert process.stdout
    process.stdout.close()
    assert code == 0


@pytest.fixture(scope="session")
def ilara(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ilara]:
    home = tmp_path_factory.mktemp("ilara-home")
    ilara, process = start_ilara(home, "--demo")
    yield ilara
    stop_ilara(process)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        message = "Browser tests need Chromium: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Window:
    """A browser context that notes what no page may do: complain on the console or fail."""

    context: BrowserContext
    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """A page of the sample game's live environment, or of the whole site (leading slash)."""
        url = path if path.startswith("/") else f"/sample-game/live/{path}"
        self.page.goto(self.base + url)
        return self.page

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

    def open_window(**options: Any) -> Window:
        options.setdefault("storage_state", signed_in)
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = chromium.new_context(**options)
        context.set_default_timeout(10_000)
        page = context.new_page()
        made = Window(context, page, ilara.url)
        made.listen(page)
        opened.append(made)
        return made

    yield open_window
    for made in opened:
        made.context.close()
    assert [complaint for made in opened for complaint in made.complaints] == []


MODES = {"mouse": {}, "no-script": {"java_script_enabled": False}}


@pytest.fixture(params=list(MODES))
def admin(request: pytest.FixtureRequest, window: Callable[..., Window]) -> Window:
    """The same task with and without JavaScript."""
    return window(**MODES[request.param])

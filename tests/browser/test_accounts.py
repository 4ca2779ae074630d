"""Second factors and sessions in a browser: an app, a passkey, recovery codes, signing out."""

import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Ilara, Window
from tests.browser.test_every_page import problems
from tests.factories import PASSWORD
from tests.running import bash

pytestmark = pytest.mark.slow


def code_of(secret: str, steps: int = 0) -> str:
    """The code of an app now, or in so many steps of 30 seconds. Ilara takes those of the next and
    the previous step, too, each once."""
    code: str = format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps))
    return code


@pytest.fixture(scope="module")
def local(ilara: Ilara) -> str:
    """The server's address by a name: no passkey belongs to an IP address."""
    return ilara.url.replace("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def accounts(ilara: Ilara) -> Iterator[str]:
    """Names of new accounts."""
    names = [f"member-{number}" for number in range(20)]
    code = (
        "from django.contrib.auth.hashers import make_password; "
        "from ilara_admin.models import User; "
        f"password = make_password({PASSWORD!r}); "
        "User.objects.bulk_create("
        f"User(username=name, password=password, is_owner=True) for name in {names})"
    )
    variables = {"ILARA_HOME": str(ilara.serve.home)}
    bash(f"{sys.executable} manage.py shell --no-imports -c {shlex.quote(code)}", variables)
    return iter(names)


@pytest.fixture
def account(accounts: Iterator[str]) -> str:
    return next(accounts)


@pytest.fixture
def visit(chromium: Browser, local: str) -> Iterator[Callable[..., Window]]:
    """Opens windows that are not signed in; at the end none may have recorded errors."""
    opened: list[Window] = []

    def open_window(*, keyboard: bool = False, **options: Any) -> Window:
        context = chromium.new_context(reduced_motion="reduce", **options)
        window = Window(context, context.new_page(), local, keyboard)
        window.listen(window.page)
        opened.append(window)
        return window

    yield open_window
    for window in opened:
        window.context.close()
    assert not [complaint for window in opened for complaint in window.complaints]


def password_step(window: Window, account: str) -> Page:
    page = window.open("/sign-in/")
    window.fill(page.get_by_label("Username"), account)
    window.fill(page.get_by_label("Password"), PASSWORD)
    window.press("button", "Sign in", exact=True)
    return page


def code_step(window: Window, code: str) -> None:
    window.page.get_by_role("heading", name="Second factor").wait_for()
    window.fill(window.page.get_by_role("textbox", name=re.compile("code", re.I)), code)
    window.press("button", "Sign in")


def is_in(page: Page) -> None:
    page.wait_for_url("**/sample-game/live/")


def add_app(window: Window) -> tuple[str, list[str]]:
    """Set up an app. Returns its secret and the recovery codes."""
    page = window.open("/account/security/")
    window.press("link", "Set up")
    secret = page.locator(".copy .mono").inner_text().replace(" ", "")
    window.fill(page.get_by_role("textbox", name="Code"), code_of(secret, -1))
    window.press("button", "Add")
    codes = page.locator(".code pre").inner_text().split()
    assert len(codes) == 10
    return secret, codes


def add_passkey(window: Window, name: str) -> None:
    """With a virtual authenticator, which lasts as long as the window."""
    page = window.page
    devtools = window.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    window.open("/account/security/")
    window.press("link", "Add")
    window.fill(page.get_by_label("Name"), name)
    window.press("button", "Add")


def sign_out(window: Window) -> None:
    # The search for problems ends at the width of a phone, where the button is in a menu.
    window.page.set_viewport_size({"width": 1280, "height": 720})
    window.press("button", "Sign out", exact=True)
    window.page.get_by_role("heading", name="Sign in").wait_for()


@pytest.mark.parametrize("way", ["mouse", "keyboard", "no script"])
def test_app_and_recovery_code(way: str, account: str, visit: Callable[..., Window]) -> None:
    window = visit(keyboard=way == "keyboard", java_script_enabled=way != "no script")
    is_in(password_step(window, account))
    secret, codes = add_app(window)
    window.press("link", "I have saved them")
    expect(window.page.get_by_text("10 left")).to_be_visible()
    if way == "mouse":
        assert not problems(window.page)
    sign_out(window)

    password_step(window, account)
    code_step(window, "000000")
    expect(window.page.get_by_text("This code is wrong, too old, or already used.")).to_be_visible()
    if way == "mouse":
        assert not problems(window.page)
    code_step(window, code_of(secret))
    is_in(window.page)
    sign_out(window)

    password_step(window, account)
    code_step(window, codes[0])
    is_in(window.page)
    window.open("/account/security/")
    expect(window.page.get_by_text("9 left")).to_be_visible()


@pytest.mark.parametrize("keyboard", [False, True], ids=["mouse", "keyboard"])
def test_passkey(keyboard: bool, account: str, visit: Callable[..., Window]) -> None:
    window = visit(keyboard=keyboard)
    page = window.page
    is_in(password_step(window, account))
    add_passkey(window, "Laptop")
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    if not keyboard:
        assert not problems(page)
    window.press("link", "I have saved them")
    expect(page.get_by_text("“Laptop”")).to_be_visible()
    sign_out(window)

    window.press("button", "Sign in with a passkey")  # instead of the password
    is_in(page)
    sign_out(window)

    password_step(window, account)
    window.press("button", "Use a passkey")  # after it
    is_in(page)

    window.open("/account/security/")
    window.press("link", "Remove the passkey Laptop")
    window.press("button", "Remove passkey “Laptop”")
    expect(page.get_by_text("Passkey “laptop” removed.")).to_be_visible()
    sign_out(window)
    window.press("button", "Sign in with a passkey")
    expect(page.get_by_text("This passkey was not accepted.")).to_be_visible()


def test_passkey_that_is_missing__is_explained(visit: Callable[..., Window]) -> None:
    window = visit()
    window.open("/sign-in/")
    window.page.evaluate("() => { navigator.credentials.get = () => Promise.reject() }")
    window.press("button", "Sign in with a passkey")
    expect(window.page.get_by_text("The browser gave no passkey")).to_be_visible()


@pytest.mark.parametrize("way", ["keyboard", "no script"])
def test_other_session__is_signed_out(way: str, account: str, visit: Callable[..., Window]) -> None:
    here = visit(keyboard=way == "keyboard", java_script_enabled=way != "no script")
    others = [visit(user_agent=f"agent-{number}/1.0") for number in range(2)]
    for window in (here, *others):
        is_in(password_step(window, account))
    here.open("/account/security/")
    here.press("button", "Sign out agent-0, 127.0.0.1")
    expect(here.page.get_by_text("agent-0 is signed out.")).to_be_visible()
    others[0].open("/account/")
    expect(others[0].page.get_by_role("heading", name="Sign in")).to_be_visible()
    others[1].open("/account/")
    expect(others[1].page.get_by_role("heading", name="Your account")).to_be_visible()

    here.press("link", "Sign out everywhere else")
    here.press("button", "Sign out everywhere else")
    expect(here.page.get_by_text("other session signed out.")).to_be_visible()
    others[1].open("/account/")
    expect(others[1].page.get_by_role("heading", name="Sign in")).to_be_visible()

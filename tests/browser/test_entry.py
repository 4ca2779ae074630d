"""Getting in: invites, and passwords that were forgotten."""

import re
from collections.abc import Callable
from email import message_from_bytes, policy
from itertools import count

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MODES, Ilara, Window, settled
from tests.browser.test_every_page import problems
from tests.homes import wait_until
from tests.running import query

pytestmark = pytest.mark.browser

PASSWORD = "a quite long phrase"
NEW = "an even longer phrase"
WRONG = "This link does not work"
_numbers = count(1)

type Windows = Callable[..., Window]


def invited(admin: Window, email: str = "") -> tuple[str, str]:
    """Invite a new person; returns a username for them and the link."""
    username = f"guest-{next(_numbers)}"
    page = admin.open("staff/")
    admin.press("link", "Invite", exact=True)
    form = page.get_by_role("dialog") if page.get_by_role("dialog").count() else page
    admin.fill(form.get_by_label("Name"), username)
    admin.fill(form.get_by_label("E-mail"), email)
    viewer = form.get_by_label("Viewer")
    settled(page)
    if admin.keyboard:
        admin.reach(page.get_by_role("radio").first)
        page.keyboard.press("Space")
    else:
        viewer.check()
    admin.press("button", "Create invite")
    expect(page.get_by_role("heading", name=f"Invite for {username}")).to_be_visible()
    return username, shown_link(page)


def shown_link(page: Page) -> str:
    found = re.search(
        r"http://127\.0\.0\.1:\d+(/(?:invite|sign-in/reset)/[^<\"\s]+)", page.content()
    )
    assert found
    return found[1]


def accept(guest: Window, link: str, username: str) -> None:
    page = guest.open(link)
    expect(page.get_by_role("heading", name="Join")).to_be_visible()
    guest.fill(page.get_by_label("Username"), username)
    guest.fill(page.get_by_label("Password"), PASSWORD)
    guest.press("button", "Create account")
    expect(page.get_by_text(f"Your account {username} is ready")).to_be_visible()


def sign_in(guest: Window, username: str, password: str) -> None:
    page = guest.open("/sign-in/")
    guest.fill(page.get_by_label("Username"), username)
    guest.fill(page.get_by_label("Password"), password)
    guest.press("button", "Sign in")


def set_password(guest: Window, link: str) -> None:
    page = guest.open(link)
    guest.fill(page.get_by_label("New password", exact=True), NEW)
    guest.fill(page.get_by_label("New password again"), NEW)
    guest.press("button", "Set password")
    expect(page.get_by_text("is changed. Sign in with it")).to_be_visible()


@pytest.mark.parametrize("mode", MODES)
def test_invite__is_accepted_once(window: Windows, mode: str) -> None:
    username, link = invited(window(**MODES[mode]))
    guest = window(storage_state=None, **MODES[mode])
    accept(guest, link, username)
    sign_in(guest, username, PASSWORD)
    guest.page.wait_for_url("**/sample-game/live/")
    late = window(storage_state=None).open(link)
    expect(late.get_by_role("heading", name=WRONG)).to_be_visible()


def test_wrong_expired_and_revoked_invites__say_whom_to_ask(window: Windows, ilara: Ilara) -> None:
    admin, guest = window(), window(storage_state=None)
    _, expired = invited(admin)
    query(
        ilara.serve.home,
        "UPDATE invite SET expires_at = now() WHERE accepted_at IS NULL RETURNING id",
    )
    name, revoked = invited(admin)
    page = admin.open("staff/")
    row = page.get_by_role("row").filter(has_text=name)
    row.get_by_role("link", name="Revoke").click()
    page.get_by_role("button", name="Revoke invite").click()
    expect(page.get_by_text("The invite is revoked")).to_be_visible()
    for link in ("/invite/wrong/", expired, revoked):
        page = guest.open(link)
        expect(page.get_by_role("heading", name=WRONG)).to_be_visible()
        expect(page.get_by_text("Ask the person who invited you")).to_be_visible()


def test_forgotten_password__is_reset_by_mail(window: Windows, ilara: Ilara) -> None:
    """The invite of the account is sent by e-mail as well."""
    address = "guest@example.com"
    username, link = invited(window(), address)
    assert mailed(ilara, address, "/invite/") == link
    guest = window(storage_state=None)
    page = guest.open(link)
    assert problems(page) == []
    accept(guest, link, username)
    page = guest.open("/sign-in/")
    page.get_by_role("link", name="Forgot your password?").click()
    assert problems(page) == []
    page.get_by_label("Username or e-mail").fill(address)
    page.get_by_role("button", name="Send link").click()
    expect(page.get_by_text("a link is on its way")).to_be_visible()
    link = mailed(ilara, address, "/sign-in/reset/")
    assert problems(guest.open(link)) == []
    set_password(guest, link)
    sign_in(guest, username, NEW)
    page.wait_for_url("**/sample-game/live/")
    expect(window(storage_state=None).open(link).get_by_role("heading", name=WRONG)).to_be_visible()


def test_forgotten_password__is_reset_by_the_link_of_an_owner(window: Windows) -> None:
    admin, guest = window(), window(storage_state=None)
    username, link = invited(admin)
    accept(guest, link, username)
    page = admin.open("staff/")
    page.get_by_role("link", name=username, exact=True).click()
    page.get_by_role("link", name="Reset password").click()
    page.get_by_role("button", name="Create link").click()
    expect(page.get_by_role("heading", name=f"Link for {username}")).to_be_visible()
    set_password(guest, shown_link(page))
    sign_in(guest, username, NEW)
    guest.page.wait_for_url("**/sample-game/live/")


def mailed(ilara: Ilara, address: str, path: str) -> str:
    """Wait for an e-mail to this address with a link below this path; returns the link's path."""
    found: list[str] = []

    def arrived() -> bool:
        for file in ilara.mails.glob("*"):
            for text in file.read_bytes().split(b"-" * 79):
                message = message_from_bytes(text.strip(), policy=policy.default)
                body = message.get_content() if message["To"] == address else ""
                found.extend(re.findall(rf"({re.escape(path)}\S+)", body))
        return bool(found)

    wait_until(arrived)
    return found[-1]

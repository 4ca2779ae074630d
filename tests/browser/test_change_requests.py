"""A guarded environment: Ana asks for a change, Ben approves it, and it is applied."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from playwright.sync_api import Browser, Locator, Page, expect

from ilara_admin.models import Role
from tests.browser.conftest import MODES, PATIENCE_MILLISECONDS, Ilara, Window, running_ilara
from tests.browser.test_support import call, register
from tests.factories import PASSWORD
from tests.running import OURS
from tests.used_homes import UsedHomes

pytestmark = pytest.mark.browser

REQUEST = re.compile(r"/requests/[0-9]+/$")


@dataclass
class Live:
    """A guarded live environment. `open` opens a window of one of its staff."""

    ilara: Ilara
    path: str  # of the environment
    open: Callable[..., Window]

    def value(self, key: str, player: str) -> Any:
        """What the API answers."""
        return call(self.ilara, f"flags/flags/{key}/evaluate", {"player_id": player})["value"]


@pytest.fixture(scope="module")
def started(used_homes: UsedHomes) -> Iterator[Ilara]:
    """An Ilara of its own: other tests change the sample game's live environment."""
    with used_homes() as used, running_ilara(used.home, printed=used.printed) as ilara:
        for name in ("ana", "ben"):
            arguments = (
                "staff_create", name, "--project", "my-game", "--role", Role.LIVE_OPS,
                "--password-stdin",
            )  # fmt: skip
            env = {"ILARA_HOME": str(used.home)}
            process = OURS.start(
                "manage.py", *arguments, folder=settings.BASE_DIR, env=env, stdin=-1
            )
            process.communicate(f"{PASSWORD}\n", timeout=120)
            assert process.returncode == 0
        yield ilara


@pytest.fixture(scope="module")
def sessions(started: Ilara, chromium: Browser) -> dict[str, Any]:
    """The cookies of each member of staff."""
    found: dict[str, Any] = {}
    for name, password in (("admin", started.password), ("ana", PASSWORD), ("ben", PASSWORD)):
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"{started.url}/sign-in/")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Overview").wait_for()
        found[name] = context.storage_state()
        found["path"] = page.url.removeprefix(started.url)
        context.close()
    return found


@pytest.fixture(scope="module")
def guarded(started: Ilara, chromium: Browser, sessions: dict[str, Any]) -> None:
    """Turning flags on and percentages need a second person; keys a reason and the name."""
    context = chromium.new_context(storage_state=sessions["admin"])
    page = context.new_page()
    page.goto(f"{started.url}{sessions['path']}settings/guard/")
    for change in ("Turn a flag on", "Change a percentage"):
        page.get_by_role("checkbox", name=f"{change}: Second person").check()
    for need in ("Reason", "Type the name"):
        page.get_by_role("checkbox", name=f"revoke an API key: {need}").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Guard of live saved.")).to_be_visible()
    context.close()


@pytest.fixture
def live(
    started: Ilara, chromium: Browser, sessions: dict[str, Any], guarded: None
) -> Iterator[Live]:
    opened: list[Window] = []

    def open_window(name: str, *, keyboard: bool = False, **options: Any) -> Window:
        context = chromium.new_context(storage_state=sessions[name], **options)
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        new = Window(context, context.new_page(), started.url, keyboard)
        new.listen(new.page)
        opened.append(new)
        return new

    yield Live(started, sessions["path"], open_window)
    for each in opened:
        each.context.close()
    assert [complaint for each in opened for complaint in each.complaints] == []


def main(page: Page) -> Locator:
    return page.get_by_role("main")


def clone(live: Live, who: Window) -> str:
    """A flag that is off, with a rule for players of level 40 and above."""
    key = f"flag-{uuid4().hex[:8]}"
    page = who.open(f"{live.path}flags/new_tutorial/clone/")
    page.get_by_role("textbox", name="Key").fill(key)
    page.get_by_role("button", name="Clone").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(key)
    return key


def ask(live: Live, who: Window, key: str, *, verb: str = "Turn on") -> str:
    """Ask for a flag to be turned on, and return the URL of the request."""
    page = who.open(f"{live.path}flags/{key}/")
    who.press("link", verb, exact=True)
    who.press("button", f"{verb} in live")
    who.fill(page.locator("#guard-reason"), "The event begins")
    who.press("button", "Request review")
    page.wait_for_url(REQUEST)
    return page.url


def approve(who: Window, url: str) -> None:
    page = who.open(url.removeprefix(who.base))
    who.press("button", "Approve")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Approved")


def apply(who: Window, url: str) -> None:
    who.open(url.removeprefix(who.base))
    who.press("link", "Apply")
    who.press("button", "Apply to live")


@pytest.mark.parametrize("mode", MODES)
def test_request_approve_and_apply(live: Live, mode: str) -> None:
    """Four clicks follow the saved change: request, approve, apply, and its confirmation."""
    ana, ben = live.open("ana", **MODES[mode]), live.open("ben", **MODES[mode])
    player, key = register(live.ilara, level=50)["id"], clone(live, live.open("ana"))
    url = ask(live, ana, key)
    expect(main(ana.page)).to_contain_text("Needs one approval by someone else")
    expect(ana.page.get_by_role("button", name="Approve")).to_be_disabled()
    expect(main(ana.page)).to_contain_text("another person must approve it")
    if mode == "no-script":
        ana.press("link", f"Who switches: {key}")
    expect(main(ana.page)).to_contain_text("players switch")
    assert live.value(key, player) is False

    page = ben.open(live.path)
    expect(main(page)).to_contain_text("wait")
    ben.press("link", f"Turn on {key}")
    approve(ben, url)
    assert live.value(key, player) is False
    apply(ana, url)
    expect(ana.page.get_by_role("heading", level=1)).to_contain_text("Applied")
    assert live.value(key, player) is True
    ana.open(f"{live.path}audit/?object=flag:{key}")
    number = url.rstrip("/").rpartition("/")[2]
    expect(main(ana.page)).to_contain_text(f"from request {number}")


def test_edit_after_the_approval__voids_it(live: Live) -> None:
    ana, ben = live.open("ana"), live.open("ben")
    key = clone(live, ana)
    page = ana.open(f"{live.path}flags/{key}/")
    ana.press("link", "Set the percentage of rule 1")
    ana.fill(page.get_by_role("spinbutton", name="Percentage"), "12.5")
    ana.press("button", "Save to live")
    ana.fill(page.locator("#guard-reason"), "A few")
    ana.press("button", "Request review")
    page.wait_for_url(REQUEST)
    url = page.url
    approve(ben, url)

    ana.open(url.removeprefix(ana.base))
    ana.press("button", "Edit in the flag's editor")
    share = page.get_by_role("spinbutton", name="Percentage")
    expect(share).to_have_value("12.5")
    ana.fill(share, "80")
    ana.press("button", "Review changes")
    ana.press("button", "Save to live")
    ana.fill(page.locator("#guard-reason"), "Many")
    ana.press("button", "Update request")
    page.wait_for_url(url)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Needs approval")
    expect(page.get_by_role("button", name="Apply")).to_be_disabled()
    expect(main(page)).to_contain_text("Earlier version")
    expect(main(page)).to_contain_text("80 %")

    ben.open(url.removeprefix(ben.base))
    ben.fill(ben.page.get_by_label("Comment"), "Too many")
    ben.press("button", "Ask for changes")
    expect(main(ben.page)).to_contain_text("Changes were requested.")
    ana.open(url.removeprefix(ana.base))
    ana.press("link", "Withdraw")
    ana.press("button", "Withdraw")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Withdrawn")
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)


def test_change_around_the_guard__is_a_conflict(live: Live) -> None:
    ana, ben, admin = live.open("ana"), live.open("ben"), live.open("admin")
    key = clone(live, ana)
    url = ask(live, ana, key)
    approve(ben, url)
    page = admin.open(f"{live.path}flags/{key}/")
    expect(main(page)).to_contain_text("1 open change request touches this flag")
    admin.press("link", "Turn on", exact=True)
    admin.press("button", "Turn on in live")
    admin.fill(page.locator("#guard-reason"), "The shop is broken")
    admin.press("button", "Break glass")
    expect(page.get_by_role("heading", level=1)).to_contain_text("On")
    admin.open(f"{live.path}audit/?show=break_glass")
    expect(main(page).get_by_role("listitem").filter(has_text=key)).to_contain_text("Break-glass")

    apply(ana, url)
    expect(ana.page.get_by_role("dialog")).to_contain_text("Nothing was applied.")
    ana.open(url.removeprefix(ana.base))
    expect(main(ana.page)).to_contain_text("Applying now would conflict.")


def test_three_flags__are_turned_off_at_once_and_on_by_one_request(live: Live) -> None:
    ana, ben, admin = live.open("ana"), live.open("ben"), live.open("admin")
    player = register(live.ilara, level=50)["id"]
    keys = sorted(clone(live, ana) for _ in range(3))
    for key in keys:
        page = admin.open(f"{live.path}flags/{key}/")
        admin.press("link", "Turn on", exact=True)
        admin.press("button", "Turn on in live")
        admin.fill(page.locator("#guard-reason"), "Preparing")
        admin.press("button", "Break glass")
        expect(page.get_by_role("heading", level=1)).to_contain_text("On")
    page = ana.open(f"{live.path}flags/?q=flag-")
    for key in keys:
        ana.tick(page.get_by_role("checkbox", name=f"Select {key}"))
    ana.press("button", "Turn off")
    ana.press("button", "Turn off 3 flags in live")
    expect(page.get_by_text("Turned off 3 flags.")).to_be_visible()
    assert [live.value(key, player) for key in keys] == [False] * 3

    ana.press("button", "Undo")
    ana.fill(page.locator("#guard-reason"), "By mistake")
    ana.press("button", "Request review")
    page.wait_for_url(REQUEST)
    url = page.url
    for key in keys:
        expect(main(page)).to_contain_text(f"Turn on the flag {key}")
    assert [live.value(key, player) for key in keys] == [False] * 3
    approve(ben, url)
    apply(ana, url)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Applied")
    assert [live.value(key, player) for key in keys] == [True] * 3


@pytest.mark.parametrize("mode", ["mouse", "no-script"])
def test_key__needs_a_reason_and_the_name(live: Live, mode: str) -> None:
    admin = live.open("admin", **MODES[mode])
    page = admin.open(f"{live.path}keys/new/")
    admin.fill(page.get_by_role("textbox", name="Name"), "Build server")
    admin.press("button", "Create key")
    admin.fill(page.locator("#guard-reason"), "A new server")
    typed = page.get_by_label("Type live to confirm")
    if mode == "no-script":
        admin.fill(typed, "life")
        admin.press("button", "Continue in live")
        expect(main(page)).to_contain_text("The name does not match.")
    admin.fill(typed, "live")
    admin.press("button", "Continue in live")
    expect(main(page)).to_contain_text("Copy the key now.")


def test_freeze__stops_everything_but_turning_off(live: Live) -> None:
    ana, admin = live.open("ana"), live.open("admin")
    key = clone(live, ana)
    now = datetime.now(UTC)
    page = admin.open(f"{live.path}settings/")
    admin.press("link", "Plan a freeze")
    admin.fill(page.get_by_label("From"), f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M}")
    admin.fill(page.get_by_label("Until"), f"{now + timedelta(days=1):%Y-%m-%dT%H:%M}")
    admin.fill(page.get_by_label("Reason"), "Christmas sale")
    admin.press("button", "Plan", exact=True)
    expect(page.get_by_role("row", name="Christmas sale")).to_contain_text("Frozen")

    page = ana.open(f"{live.path}flags/new_tutorial/")
    expect(main(page)).to_contain_text("Changes are frozen until")
    expect(main(page)).to_contain_text("Christmas sale")
    ana.press("link", "Turn off")
    ana.press("button", "Turn off in live")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Off")
    page = ana.open(f"{live.path}flags/{key}/")
    ana.press("link", "Turn on", exact=True)
    ana.press("button", "Turn on in live")
    expect(page.get_by_role("dialog")).to_contain_text("Only an admin can make this change now.")

    page = admin.open(f"{live.path}settings/")
    admin.press("link", "Delete the freeze Christmas sale")
    admin.press("button", "Delete")
    admin.fill(page.locator("#guard-reason"), "The sale is over")
    admin.press("button", "Break glass")
    expect(main(page).get_by_text("Changes are frozen")).to_have_count(0)

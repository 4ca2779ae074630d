"""The command palette: by keyboard alone, by touch, and without JavaScript."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Ilara, Window
from tests.browser.test_support import register

pytestmark = pytest.mark.browser


def box_of(page: Page) -> Locator:
    return page.get_by_role("combobox", name="Find")


def heading_of(page: Page) -> Locator:
    return page.get_by_role("heading", level=1)


def options_of(page: Page) -> Locator:
    return page.get_by_role("listbox", name="Results").get_by_role("option")


def option(page: Page, name: str) -> Locator:
    return page.get_by_role("listbox", name="Results").get_by_role("option", name=name, exact=True)


def expect_chosen(page: Page, name: str | re.Pattern[str]) -> None:
    """The box names this option to screen readers, and it is the only one selected."""
    chosen = page.get_by_role("listbox", name="Results").get_by_role("option", selected=True)
    expect(chosen).to_have_accessible_name(name)
    assert chosen.get_attribute("id") == box_of(page).get_attribute("aria-activedescendant")


def test_open_a_flag_by_keyboard_only(window: Callable[..., Window]) -> None:
    page = window().open("players/")
    page.keyboard.press("Control+k")
    expect(box_of(page)).to_be_focused()
    expect(box_of(page)).to_have_attribute("aria-expanded", "true")
    page.keyboard.type("new-shop")
    expect(
        page.get_by_role("status").filter(has_text=re.compile("^[0-9]+ results"))
    ).to_be_attached()
    expect_chosen(page, re.compile("^new-shop New shop"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/sample-game/live/flags/new-shop/")


def test_enter_waits_for_what_was_typed(window: Callable[..., Window], ilara: Ilara) -> None:
    """An id that is typed at once, with the key that focuses the box, opens the player."""
    player = register(ilara)
    page = window().open("")
    page.keyboard.press("/")
    page.keyboard.insert_text(player["external_id"])
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/players/{player['id']}/")
    # Opened once, it comes back first.
    page.goto(ilara.url + "/sample-game/live/segments/")
    page.keyboard.press("Control+k")
    recent = page.get_by_role("group", name="Recent").get_by_role("option")
    expect(recent.first).to_have_accessible_name(player["external_id"])


def test_arrows_home_end_and_escape(window: Callable[..., Window]) -> None:
    page = window().open("flags/")
    search = page.get_by_role("searchbox", name="Search", exact=True)
    search.focus()
    page.keyboard.press("Control+k")
    option(page, "Sign out").wait_for()
    names = options_of(page).evaluate_all(
        "all => all.map(each => each.innerText.replace(/\\s+/g, ' ').trim())"
    )
    expect_chosen(page, names[0])
    for key, place in (
        ("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("End", -1), ("ArrowDown", 0),
        ("ArrowUp", -1), ("Home", 0),
    ):  # fmt: skip
        page.keyboard.press(key)
        expect_chosen(page, names[place])
    page.keyboard.type("x")
    page.keyboard.press("Escape")
    expect(search).to_be_focused()
    expect(page.get_by_role("listbox")).to_be_hidden()
    expect(box_of(page)).to_have_value("")
    assert page.url.endswith("/flags/")


def test_box__names_no_option_that_is_gone(window: Callable[..., Window]) -> None:
    """Also while the options change, which takes htmx some milliseconds."""
    page = window().open("flags/")
    page.keyboard.press("Control+k")
    option(page, "Sign out").wait_for()
    page.evaluate("""() => {
      window.named = [];
      document.getElementById("palette").addEventListener("htmx:afterSwap", () =>
        named.push(document.getElementById("find").getAttribute("aria-activedescendant")));
    }""")
    page.keyboard.type("turn off new-sh")
    option(page, "Turn off new-shop").wait_for()
    expect_chosen(page, "Turn off new-shop")
    named = page.evaluate("named")
    assert named
    assert not any(named)


def test_action_opens_in_the_dialog_and_gives_the_focus_back(
    window: Callable[..., Window],
) -> None:
    page = window().open("segments/")
    page.get_by_role("link", name="New segment").first.focus()
    page.keyboard.press("Control+k")
    page.keyboard.type("turn off new-sh")
    option(page, "Turn off new-shop").wait_for()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Turn off new-shop")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("link", name="New segment").first).to_be_focused()
    # A page and a form, by the first letters.
    page.keyboard.press("Control+k")
    page.keyboard.type("nf")
    option(page, "New flag").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_url("**/flags/+new/")
    page.keyboard.press("Control+k")
    page.keyboard.type("dark")
    option(page, "Dark theme").wait_for()
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.url.endswith("/flags/+new/")


def test_control_enter_opens_a_tab(window: Callable[..., Window]) -> None:
    opened = window()
    page = opened.open("")
    page.keyboard.press("Control+k")
    page.keyboard.type("settings")
    expect_chosen(page, "Settings g c")
    with opened.context.expect_page() as other:
        page.keyboard.press("Control+Enter")
    other.value.wait_for_url("**/live/settings/")
    assert page.url.endswith("/live/")


def test_touch_on_a_phone(window: Callable[..., Window]) -> None:
    phone = {"width": 390, "height": 844}
    page = window(viewport=phone, has_touch=True, is_mobile=True).open("")
    box_of(page).tap()
    list_of = page.get_by_role("listbox", name="Results")
    expect(list_of).to_be_visible()
    page.get_by_role("button", name="Close").tap()
    expect(list_of).to_be_hidden()
    box_of(page).tap()
    box_of(page).fill("whales")
    option(page, "whales Whales").tap()
    page.wait_for_url("**/segments/whales/")
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_without_a_script_the_box_is_a_form(window: Callable[..., Window], ilara: Ilara) -> None:
    player = register(ilara)
    page = window(java_script_enabled=False).open("flags/")
    search = page.get_by_role("searchbox", name="Find")
    search.fill("new-shop")
    search.press("Enter")
    page.wait_for_url("**/flags/new-shop/")
    page.get_by_role("searchbox", name="Find").fill(player["external_id"][:-1])
    page.keyboard.press("Enter")
    page.wait_for_url("**/find/?q=*")
    page.get_by_role("link", name=player["external_id"]).click()
    expect(heading_of(page)).to_contain_text(player["external_id"])

"""Flags: create, turn on and off, percentage, variants, segments, schedule, undo."""

import re
from collections.abc import Callable
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Ilara, Window, settled
from tests.browser.test_every_page import problems
from tests.browser.test_support import register

pytestmark = pytest.mark.browser


def create_flag(admin: Window, *, value: str = "", first: str = "") -> str:
    """A new flag, which is on or off unless another kind of value is given."""
    key = f"flag-{uuid4().hex[:8]}"
    page = admin.open("flags/")
    admin.press("link", "New flag")
    admin.fill(page.get_by_role("textbox", name="Key", exact=True), key)
    if value:
        admin.select(page.get_by_label("Value", exact=True), value)
        admin.fill(page.get_by_label("First value"), first)
    admin.press("button", "Create flag")
    expect(page.get_by_role("heading", level=1)).to_contain_text(key)
    return key


def heading(page: Page) -> str:
    return page.get_by_role("heading", level=1).inner_text()


def test_create_switch_and_undo(admin: Window) -> None:
    with admin.at_most(clicks=2, fields=1):
        create_flag(admin)
    page = admin.page
    assert "Off" in heading(page)

    admin.press("link", "Turn on")
    admin.fill(page.get_by_label("Reason"), "The event begins")
    admin.press("button", "Turn on in live")
    expect(page.get_by_role("heading", level=1)).to_contain_text("On")
    expect(page.locator("#history")).to_contain_text("The event begins")

    admin.press("button", "Undo")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Off")
    expect(page.locator("#history")).to_contain_text("Undone")


def clone_flag(admin: Window) -> str:
    """A copy of a flag with a rule for everyone."""
    key = f"flag-{uuid4().hex[:8]}"
    page = admin.open("flags/new-shop/clone/")
    admin.fill(page.get_by_role("textbox", name="Key"), key)
    admin.press("button", "Clone")
    expect(page.get_by_role("heading", level=1)).to_contain_text(key)
    return key


def test_first_rule_at_5_percent__then_10(admin: Window) -> None:
    create_flag(admin)
    page = admin.page
    percentage = page.get_by_role("spinbutton", name="Percentage")
    with admin.at_most(clicks=4, fields=1):
        admin.press("link", "Edit rules")
        admin.press("button", "Add rule")
        admin.fill(percentage, "5")
        admin.press("button", "Review changes")
        admin.press("button", "Save to live")
    expect(page.locator(".rules")).to_contain_text("5 % of players get enabled")

    with admin.at_most(clicks=2, fields=1):
        admin.press("link", "Set the percentage of rule 1")
        admin.fill(percentage, "10")
        admin.press("button", "Save to live")
    expect(page.locator("#history")).to_contain_text(
        "5 % of players get enabled → 10 % of players get enabled"
    )


def test_kill_undo_and_archive(admin: Window) -> None:
    clone_flag(admin)
    page = admin.page
    admin.press("link", "Turn on")
    admin.press("button", "Turn on in live")
    with admin.at_most(clicks=2):
        admin.press("link", "Turn off")
        admin.press("button", "Turn off in live")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Off")
    with admin.at_most(clicks=1):
        admin.press("button", "Undo")
    expect(page.get_by_role("heading", level=1)).to_contain_text("On")
    with admin.at_most(clicks=3):
        admin.click(page.get_by_label("More actions"))
        admin.press("link", "Archive", exact=True)
        admin.press("button", "Archive", exact=True)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Archived")


def test_restore_and_compare(admin: Window) -> None:
    key = clone_flag(admin)
    page = admin.page
    admin.press("link", "Set the percentage of rule 1")
    admin.fill(page.get_by_role("spinbutton", name="Percentage"), "7")
    admin.press("button", "Save to live")
    admin.press("link", "Compare revisions")
    expect(page.get_by_role("main")).to_contain_text("→ 7 %")
    admin.press("link", "Revision 1", exact=True)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Revision 1")
    admin.open(f"flags/{key}/")
    with admin.at_most(clicks=2):
        admin.press("link", "Restore revision 1")
        admin.press("button", "Restore in live")
    expect(page.locator("#history")).to_contain_text("Restored revision 1")
    expect(page.locator("#history")).to_contain_text("7 % of players get enabled →")


def test_override_and_remove(admin: Window, ilara: Ilara) -> None:
    key, player = clone_flag(admin), register(ilara, level=3)
    page = admin.open(f"flags/{key}/players/{player['id']}/")
    admin.select(page.get_by_label("Value", exact=True), "enabled: true")
    admin.fill(page.get_by_label("Reason"), "Device of a tester")
    admin.press("button", "Save to live")
    expect(page.get_by_role("heading", level=1)).to_contain_text(player["external_id"])

    admin.open(f"flags/{key}/")
    overrides = page.locator("section", has=page.get_by_role("heading", name="Overrides"))
    expect(overrides).to_contain_text("Device of a tester")
    admin.press("link", f"Remove the override of {player['external_id']}")
    admin.press("button", "Remove in live")
    expect(overrides).to_have_count(0)
    admin.press("button", "Undo")
    admin.press("link", "Remove all")
    expect(page.get_by_text("One undo sets them again.")).to_be_visible()
    admin.press("button", "Remove 1 in live")
    expect(overrides).to_have_count(0)


def test_details(admin: Window) -> None:
    clone_flag(admin)
    page = admin.page
    admin.press("link", "Edit details")
    admin.fill(page.get_by_label("Owner"), "Shop team")
    admin.fill(page.get_by_label("Tags"), "shop, economy")
    admin.fill(page.get_by_label("Links"), "Ticket https://tracker.example/12")
    admin.press("button", "Save", exact=True)
    expect(page.get_by_role("link", name="Ticket")).to_be_visible()
    expect(page.get_by_role("region", name="Details")).to_contain_text("economy shop")


def test_segment_and_percentage(admin: Window) -> None:
    create_flag(admin)
    page = admin.page
    admin.press("link", "Edit rules")
    admin.press("button", "Add rule")
    admin.select(page.get_by_label("Who"), "beta-testers")
    admin.fill(page.get_by_role("spinbutton", name="Percentage"), "12.5")
    admin.press("button", "Review changes")
    expect(page.get_by_role("main")).to_contain_text("12.5 % of beta-testers get enabled")
    admin.press("button", "Save to live")
    expect(page.locator(".rules")).to_contain_text("12.5 % of beta-testers get enabled")
    expect(page.locator(".rules")).to_contain_text("12.5 %")

    admin.press("link", "Set the percentage of rule 1")
    admin.fill(page.get_by_role("spinbutton", name="Percentage"), "40")
    if page.get_by_role("button", name="Who switches?").count():  # without JavaScript
        admin.press("button", "Who switches?")
    expect(page.locator("#confirm-preview")).to_contain_text("players switch")
    admin.press("button", "Save to live")
    expect(page.locator(".rules")).to_contain_text("40 %")
    expect(page.locator("#history")).to_contain_text(
        "12.5 % of beta-testers get enabled → 40 % of beta-testers get enabled"
    )


def test_variants_and_split(admin: Window) -> None:
    create_flag(admin, value="Text", first="hello")
    page = admin.page
    admin.press("link", "Edit", exact=True)
    admin.press("button", "Add variant")
    added = page.get_by_role("group", name="Variant 2")
    admin.fill(added.get_by_role("textbox", name="Key"), "short")
    admin.fill(added.get_by_role("textbox", name="Value"), "hi")
    admin.press("button", "Review changes")
    admin.press("button", "Save to live")
    expect(page.get_by_role("main")).to_contain_text('"hi"')

    admin.press("link", "Edit", exact=True)
    admin.tick(page.get_by_role("group", name="Variant 1").get_by_label("No value"))
    admin.fill(page.get_by_label("Metadata"), "team = growth")
    admin.press("button", "Review changes")
    expect(page.get_by_role("main")).to_contain_text('"hello" → no value')
    admin.press("button", "Save to live")
    expect(page.get_by_role("main")).to_contain_text("no value: the default in the code")

    admin.press("link", "Edit rules")
    admin.press("button", "Add rule")
    settled(page)
    admin.press("button", "Review changes")
    admin.press("button", "Save to live")

    split = "everyone gets default (70 %) or short (30 %)"
    with admin.at_most(clicks=3, fields=3):
        admin.press("link", "Edit rules")
        admin.select(page.get_by_label("Gets"), "A split")
        admin.fill(page.get_by_label("default, %"), "70")
        admin.fill(page.get_by_label("short, %"), "30")
        admin.press("button", "Review changes")
        expect(page.get_by_role("main")).to_contain_text(split)
        admin.press("button", "Save to live")
    expect(page.locator("#history")).to_contain_text(split)
    expect(page.locator(".rules")).to_contain_text(re.compile(r"default\s+70 %\s*short\s+30 %"))

    admin.press("link", "Edit rules")
    admin.fill(page.get_by_label("short, %"), "20")
    admin.press("button", "Review changes")
    expect(page.get_by_role("main")).to_contain_text("not 90 %")
    admin.fill(page.get_by_label("short, %"), "30")
    admin.press("button", "Review changes")
    expect(page.get_by_role("main")).to_contain_text("No changes.")


def test_schedule_and_what_it_means_for_players(admin: Window) -> None:
    create_flag(admin)
    page = admin.page
    admin.press("link", "Edit rules")
    admin.press("button", "Add rule")
    admin.fill(page.get_by_role("spinbutton", name="Percentage"), "5")
    admin.press("button", "Schedule")
    admin.select(page.get_by_label("The percentage"), "Changes in steps")
    admin.fill(page.get_by_label("Steps"), "soon 50")
    admin.press("button", "Review changes")
    expect(page.get_by_role("main")).to_contain_text("write it like")
    admin.fill(page.get_by_label("Steps"), "2090-01-01 09:00 50")
    admin.press("button", "Review changes")
    expect(page.get_by_role("main")).to_contain_text("0 players switch")
    admin.press("button", "Save to live")
    expect(page.locator(".rules")).to_contain_text("5 %; 50 % from 1 Jan 2090, 09:00 UTC")

    admin.press("link", "Turn on")
    expect(page.get_by_text(re.compile(r"of 5,\d+ players switch"))).to_be_visible()
    admin.press("button", "Turn on in live")
    expect(page.get_by_role("heading", level=1)).to_contain_text("On")


def test_schedule_a_ramp_and_read_its_path(admin: Window) -> None:
    clone_flag(admin)
    page = admin.page
    path = page.get_by_role("region", name="Who switches, by date")
    rows = path.locator("tbody tr")
    with admin.at_most(clicks=4, fields=5):
        admin.press("link", "Edit rules")
        admin.press("button", "Schedule")
        admin.select(page.get_by_label("The percentage"), "Moves evenly")
        admin.fill(page.get_by_label("From, %"), "0")
        admin.fill(page.get_by_label("To, %"), "100")
        admin.fill_time(page.get_by_label("Between"), "2090-01-01T09:00")
        admin.fill_time(page.get_by_label("And", exact=True), "2090-01-05T09:00")
        admin.press("button", "Review changes")
        expect(rows.nth(0)).to_contain_text(re.compile(r"Now\s+0\s+0\s+disabled 100 %"))
        expect(rows.nth(1)).to_contain_text("Once it is turned on")
        expect(rows.nth(4)).to_contain_text(
            re.compile(r"3 Jan 2090, 09:00\s+Rule 1 at 50 %.*(enabled|disabled) 5\d(\.\d)? %", re.S)
        )
        expect(rows.nth(6)).to_contain_text(re.compile(r"5 Jan 2090, 09:00.*enabled 100 %", re.S))
        expect(rows).to_have_count(7)
        admin.press("button", "Save to live")
    expect(page.locator(".rules")).to_contain_text("rising evenly to 100 %")

    admin.press("link", "Turn on")
    expect(rows.last).to_contain_text("enabled 100 %")
    admin.press("button", "Turn on in live")
    expect(page.get_by_role("heading", level=1)).to_contain_text("On")


def test_time_that_is_skipped__is_a_question(admin: Window) -> None:
    """In Europe/Berlin, 02:30 is skipped on 28 March 2027 and occurs twice on 31 October."""
    in_time_zone(admin, "Europe/Berlin")
    try:
        create_flag(admin)
        page = admin.page
        admin.press("link", "Edit rules")
        admin.press("button", "Add rule")
        admin.fill(page.get_by_role("spinbutton", name="Percentage"), "5")
        admin.press("button", "Schedule")
        admin.fill_time(page.get_by_label("Starts"), "2027-03-28T02:30")
        admin.fill_time(page.get_by_label("Ends"), "2027-10-31T02:30")
        admin.press("button", "Review changes")
        expect(page.get_by_role("main")).to_contain_text("02:30 is skipped, as clocks go forward")
        expect(page.get_by_role("spinbutton", name="Percentage")).to_have_value("5")
        admin.select(page.get_by_label("Which time: Starts"), "03:30 UTC+02:00, 28 Mar 2027")
        admin.select(page.get_by_label("Which time: Ends"), "02:30 UTC+01:00, 31 Oct 2027")
        admin.press("button", "Review changes")
        period = "enabled from 28 Mar 2027, 03:30 until 31 Oct 2027, 02:30 UTC+01:00"
        expect(page.get_by_role("main")).to_contain_text(period)
        admin.press("button", "Save to live")
        admin.press("link", "Edit rules")
        expect(page.get_by_label("Which time: Ends")).to_have_value("2027-10-31T02:30:00+01:00")
        admin.press("button", "Review changes")
        expect(page.get_by_role("main")).to_contain_text("No changes.")
    finally:
        in_time_zone(admin, "UTC")


def test_question_about_a_time__is_accessible(window: Callable[..., Window]) -> None:
    admin = window()
    in_time_zone(admin, "Europe/Berlin")
    try:
        page = admin.open("flags/new_tutorial/rules/")
        admin.press("button", "Schedule")
        page.get_by_label("Ends").fill("2027-10-31T02:30")
        admin.press("button", "Review changes")
        expect(page.get_by_label("Which time: Ends")).to_be_visible()
        assert problems(page) == []
    finally:
        in_time_zone(admin, "UTC")


def in_time_zone(admin: Window, zone: str) -> None:
    page = admin.open("/account/")
    page.get_by_label("Time zone").select_option(zone)
    with page.expect_navigation():
        page.get_by_role("button", name="Save").click()


def test_prerequisite_and_clone(admin: Window) -> None:
    key = create_flag(admin)
    page = admin.open(f"flags/{key}/prerequisites/")
    admin.press("button", "Add prerequisite")
    admin.select(page.get_by_label("Only if"), "new_tutorial serves enabled")
    admin.press("button", "Review changes")
    admin.press("button", "Save to live")
    expect(page.get_by_role("main")).to_contain_text("Only if new_tutorial serves enabled")

    admin.open(f"flags/{key}/clone/")
    admin.fill(page.get_by_role("textbox", name="Key"), f"{key}-two")
    admin.press("button", "Clone")
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{key}-two")
    expect(page.locator("#history")).to_contain_text(f"Cloned from {key}")


def test_order_of_rules(admin: Window) -> None:
    clone_flag(admin)
    page = admin.page
    with admin.at_most(clicks=6, fields=1):
        admin.press("link", "Edit rules")
        admin.press("button", "Add rule")
        second = page.get_by_role("group", name="Rule 2")
        admin.select(second.get_by_label("Who"), "beta-testers")
        admin.press("button", "Review changes")
        admin.press("button", "Save to live")
        admin.press("link", "Move rule 2 up")
        admin.press("button", "Move up in live")
    expect(page.locator(".rules > li").first).to_contain_text("beta-testers get enabled")


def test_receipt__of_made_up_attributes_at_another_time(admin: Window) -> None:
    page = admin.open("flags/new_tutorial/")
    admin.fill(page.get_by_label("Attributes"), "level: 45")
    admin.press("button", "Evaluate")
    expect(page.locator("#try")).to_contain_text("Rule 1: in segment beta-testers.")
    page.locator("#id_at").fill("2020-01-31T12:00")
    admin.press("button", "Evaluate")
    expect(page.locator("#try")).to_contain_text("The flag did not exist then")


def test_conditions_by_the_builder(admin: Window) -> None:
    create_flag(admin)
    page = admin.page
    admin.press("link", "Edit rules")
    admin.press("button", "Add rule")
    admin.press("button", "Add conditions to rule 1")
    rule = page.get_by_role("group", name="Rule 1", exact=True)
    condition = rule.get_by_role("group", name="Condition 1", exact=True)
    admin.fill(condition.get_by_label("Field"), "level")
    admin.select(condition.get_by_label("Operator"), "is at least")
    admin.fill(condition.get_by_label("Value"), "10")
    admin.press("button", "Add event")
    event = rule.get_by_role("group", name="Condition 2", exact=True)
    admin.fill(event.get_by_label("Event"), "level_complete")
    if page.get_by_role("button", name="Preview rule 1").count():  # without JavaScript
        admin.press("button", "Preview rule 1")
    # Other tests register players without attributes.
    expect(condition).to_contain_text(re.compile(r"number, [\d.]+ % of players"))
    expect(rule.get_by_label("Audience")).to_contain_text("players match")
    admin.press("button", "Done with the conditions of rule 1")
    words = "level is at least 10 and did “level_complete” at least once within the last 7 days"
    expect(rule).to_contain_text(words)

    admin.fill(rule.get_by_role("spinbutton", name="Percentage"), "25")
    admin.press("button", "Edit the conditions of rule 1")
    admin.press("button", "Edit as JSON")
    text = rule.get_by_role("textbox", name="JSON")
    admin.fill(text, text.input_value().replace("10", "20"))
    admin.press("button", "Edit as conditions")
    expect(condition.get_by_label("Value")).to_have_value("20")
    admin.press("button", "Review changes")
    words = words.replace("10", "20")
    expect(page.get_by_role("main")).to_contain_text(f"25 % of players where {words} get enabled")
    admin.press("button", "Save to live")
    expect(page.locator(".rules")).to_contain_text(words)


def test_receipt__shows_reason_and_nearest_miss(admin: Window, ilara: Ilara) -> None:
    external_id = register(ilara, level=39)["external_id"]
    page = admin.open("flags/new_tutorial/")
    admin.fill(page.get_by_label("External id of a player"), external_id)
    admin.press("button", "Evaluate")
    expect(page.locator("#try")).to_contain_text(
        "does not match: level must be at least 40 (actual: 39)"
    )
    admin.click(page.locator("summary", has_text="Receipt").last)
    expect(page.locator(".receipt")).to_contain_text("level is at least 40 no 39")


def test_two_editors_in_conflict__see_both_changes(
    admin: Window, window: Callable[..., Window]
) -> None:
    mine, theirs = admin, window()
    key = create_flag(mine)
    mine.press("link", "Edit rules")
    mine.press("button", "Add rule")
    mine.fill(mine.page.get_by_role("spinbutton", name="Percentage"), "10")

    theirs.open(f"flags/{key}/turn-on/")
    theirs.page.get_by_role("button", name="Turn on in live").click()
    expect(theirs.page.get_by_role("heading", level=1)).to_contain_text("On")

    mine.press("button", "Review changes")
    expect(mine.page.get_by_role("alert").first).to_contain_text("while you were editing")
    expect(mine.page.get_by_role("main")).to_contain_text("off → on")
    assert "10 % of players get enabled" in mine.page.get_by_role("main").inner_text()


def test_kill_switch__by_keyboard_alone(window: Callable[..., Window]) -> None:
    admin = window()
    key = create_flag(admin)
    page = admin.open(f"flags/{key}/turn-on/")
    page.keyboard.press("Tab")
    page.locator("#confirm-reason").focus()
    page.keyboard.type("On by keyboard")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("On")

    # The find box opens the flag, and Tab reaches the switch and the confirmation.
    page.keyboard.press("/")
    page.keyboard.type(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(key)
    press_until_focused(page, "Turn off")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    press_until_focused(page, "Turn off in live")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Off")


def press_until_focused(page: Page, name: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            return
    raise AssertionError(f"Tab does not reach {name}")

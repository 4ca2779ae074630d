"""Tasks on the Live events page: filter by a property, search the past, open a row, download."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Ilara, Window, settled
from tests.browser.event_flood import WATCH, Flood, wait_until_accounted
from tests.browser.test_support import call, register

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def name(ilara: Ilara) -> str:
    """An event name of which a player has sent levels 1 to 4."""
    name = f"boss_{uuid4().hex[:6]}"
    player = register(ilara)["id"]
    events = [event_of(player, name, level=level) for level in range(1, 5)]
    call(ilara, "events/events/batch", {"events": events})
    return name


def event_of(player_id: str, name: str, **properties: Any) -> dict[str, Any]:
    return {"player_id": player_id, "event_name": name, "properties": properties}


def levels(page: Page) -> list[int]:
    """The levels in the rows, as they are in sight."""
    cells = page.locator(".tail tr td:last-child").all_inner_texts()
    return [json.loads(each)["level"] for each in cells]


def in_part(page: Page, part: str) -> None:
    page.wait_for_url(f"**{part}*")
    settled(page)


def test_filter_by_a_property_and_download(admin: Window, name: str, tmp_path: Path) -> None:
    page = admin.open("events/")
    admin.fill(page.get_by_label("Event name"), name)
    admin.fill(page.get_by_label("Property"), "level")
    admin.select(page.get_by_label("Comparison"), "is at least")
    admin.fill(page.get_by_role("searchbox", name="Value"), "3")
    page.keyboard.press("Enter")
    in_part(page, "operand=3")
    expect(page.get_by_label("Active filters")).to_contain_text("level is at least 3")
    assert levels(page) == [4, 3]
    with page.expect_download() as download:
        admin.press("button", "Download CSV")
    download.value.save_as(tmp_path / "events.csv")
    lines = (tmp_path / "events.csv").read_text("utf-8-sig").splitlines()
    assert len(lines) == 3
    assert all(name in line for line in lines[1:])


def test_search_past_events(admin: Window, name: str) -> None:
    """The sample game has thirty days of events, and the admin is in UTC."""
    page = admin.open(f"events/?name={name}")
    day = datetime.now(UTC) - timedelta(days=3)
    field = page.get_by_label("From")
    if admin.keyboard:
        admin.reach(field)
        page.keyboard.type(f"{day:%m%d%Y}")
        page.keyboard.press("ArrowRight")
        page.keyboard.type("0130AM")
    else:
        field.fill(f"{day:%Y-%m-%d}T01:30")
    page.keyboard.press("Enter")
    in_part(page, f"start={day:%Y-%m-%d}")
    expect(page.get_by_text("Past events, not live")).to_be_visible()
    assert levels(page) == [4, 3, 2, 1]
    admin.press("link", "Remove filter Event name")
    expect(page.locator(".tail tr")).to_have_count(50)
    older = page.get_by_role("link", name="Older events").first
    if admin.keyboard:
        admin.reach(older)
    older.press("Enter")
    in_part(page, "before=")
    expect(page.locator(".tail tr")).to_have_count(50)
    admin.press("link", "Back to live")
    expect(page.get_by_role("link", name="Pause")).to_be_visible()


def test_open_the_whole_event_and_come_back(
    window: Callable[..., Window], ilara: Ilara, name: str
) -> None:
    """A long value is whole, and the focus returns to the row."""
    long, player = "long " * 2_000, register(ilara)["id"]
    other = f"{name}_long"
    call(ilara, "events/events", event_of(player, other, text=long, key="k" * 3_000))
    admin = window(keyboard=True, viewport={"width": 390, "height": 800})
    page = admin.open(f"events/?name={other}")
    admin.press("link", other)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(long.strip())
    assert page.evaluate(
        """() => ["html", "dialog"].every(
             (each) => document.querySelector(each).scrollWidth <= innerWidth)"""
    )
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("link", name=other, exact=True)).to_be_focused()


def test_state_of_the_stream__is_said_in_words(window: Callable[..., Window], name: str) -> None:
    """The words change on the page, and a screen reader hears them."""
    page = window().open(f"events/?name={name}")
    state = page.locator("[data-tail-state]")
    expect(state).to_have_text("Live")
    expect(page.locator("#announce")).to_have_text("Live events: Live")
    # In one step: the server's next word may come at any time.
    texts = page.evaluate(
        """() => {
          htmx.trigger("[data-tail-state]", "sse:state", { data: "12", lastEventId: "1" });
          return ["[data-tail-state]", "#announce"].map(
            (each) => document.querySelector(each).textContent.trim());
        }"""
    )
    assert texts == ["12 s behind", "Live events: 12 s behind"]
    expect(state).to_have_text("Live")  # with the next word of the server


def test_two_tabs_at_200_events_a_second__miss_no_event_and_answer_clicks(
    window: Callable[..., Window], ilara: Ilara
) -> None:
    name, player = f"flood_{uuid4().hex[:6]}", register(ilara)["id"]
    tabs = [window().open(f"events/?name={name}") for _ in range(2)]
    for tab in tabs:
        expect(tab.locator("[data-tail-state]")).to_have_text("Live")
        tab.evaluate(WATCH)
    flood = Flood(ilara, player, name, rate=200, seconds=10)
    for tab in tabs:
        tab.locator(".tail a").first.wait_for()
        tab.get_by_role("button", name="Keyboard shortcuts").click()
        expect(tab.get_by_role("dialog")).to_be_visible()
        tab.keyboard.press("Escape")
    sent = flood.finish()
    assert sent >= 1_000
    for tab in tabs:
        wait_until_accounted(tab, sent)
        assert tab.locator(".tail tr").count() <= 201
        expect(tab.locator("[data-tail-left]")).to_contain_text("older ones left it")

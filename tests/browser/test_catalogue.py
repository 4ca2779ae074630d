"""The event catalogue and segments: who owns an event, what stopped, what uses what, sizes."""

import re
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Ilara, Window, settled
from tests.running import query

pytestmark = pytest.mark.browser

# An event with 900 an hour, of which none arrived in the last four complete hours.
STOPPED = """
WITH name AS (
    INSERT INTO event_name (environment_id, name, first_seen_at, last_seen_at, count)
    SELECT id, 'a_boss_defeated', now() - interval '30 days',
           date_trunc('hour', now()) - interval '4 hours 1 minute', 200000
    FROM environment WHERE slug = 'live' ORDER BY id LIMIT 1
    ON CONFLICT (environment_id, name) DO UPDATE SET count = excluded.count
    RETURNING id, environment_id)
INSERT INTO event_hour (environment_id, start, event_name_id, count)
SELECT environment_id, date_trunc('hour', now(), 'UTC') - ago * interval '1 hour', id, 900
FROM name, generate_series(5, 240) ago
ON CONFLICT DO NOTHING RETURNING 1"""

SIZES = """
INSERT INTO segment_size (segment_id, hour, size, among)
SELECT s.id, date_trunc('hour', now(), 'UTC') - ago * interval '1 day', 1234 + ago, 9000
FROM segment s JOIN environment e ON e.id = s.environment_id, generate_series(1, 40) ago
WHERE s.key = 'whales' AND e.slug = 'live'
ON CONFLICT DO NOTHING RETURNING 1"""


def test_find_out_who_owns_an_event(admin: Window) -> None:
    owner = f"Team {uuid4().hex[:6]}"
    page = admin.open("events/names/?q=session_start")
    admin.press("link", "session_start", exact=True)
    admin.press("link", "Describe")
    admin.fill(page.get_by_label("Owner"), owner)
    admin.press("button", "Save")
    expect(page.get_by_role("main")).to_contain_text(owner)
    admin.press("link", "Last 90 days")
    expect(page.get_by_role("heading", name="Last 90 days")).to_be_visible()

    page = admin.open("events/names/")
    admin.fill(page.get_by_role("searchbox", name="Search"), owner)
    page.keyboard.press("Enter")
    page.wait_for_url("**q=Team*")
    settled(page)
    expect(page.get_by_role("row", name="session_start")).to_contain_text(owner)
    expect(page.locator("tbody tr")).to_have_count(1)


def test_event_that_stopped__is_pointed_out(admin: Window, ilara: Ilara) -> None:
    query(ilara.serve.home, STOPPED)
    page = admin.open("")
    expect(page.get_by_role("main")).to_contain_text("usually about 900 an hour at this time")
    page = admin.open("events/names/")
    admin.press("link", "State", exact=True)
    row = page.locator("tbody tr").first
    expect(row).to_contain_text("a_boss_defeated")
    expect(row).to_contain_text(re.compile(r"None since .*\d\d:\d\d"))
    admin.press("link", "a_boss_defeated", exact=True)
    expect(page.get_by_text("This event stopped.")).to_be_visible()


def test_mark_a_property_as_personal_and_undo(admin: Window) -> None:
    page = admin.open("events/names/?q=level_complete")
    admin.press("link", "level_complete", exact=True)
    admin.press("link", "Mark level as personal")
    admin.press("button", "Mark as personal")
    expect(page.get_by_role("link", name="Mark level as not personal")).to_be_visible()
    admin.press("button", "Undo")
    expect(page.get_by_text("Undone").first).to_be_visible()


def test_size_over_time_and_dependents_before_a_delete(admin: Window, ilara: Ilara) -> None:
    query(ilara.serve.home, SIZES)
    page = admin.open("segments/")
    admin.press("link", "Size", exact=True)
    page.wait_for_url("**sort=-size")
    settled(page)
    admin.press("link", "whales", exact=True)
    panel = page.get_by_role("region", name="Size over time")
    summary = panel.get_by_text("As a table")
    admin.reach(summary) if admin.keyboard else summary.focus()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("row").filter(has_text="1,235 players").first).to_be_visible()
    admin.press("link", "By hour", exact=True)
    expect(page.get_by_text("Size by hour, last 48 hours").first).to_be_visible()

    page = admin.open("segments/whales/delete/")
    notice = page.get_by_role("main")
    expect(notice).to_contain_text("It cannot be deleted while it is in use.")
    expect(page.get_by_role("button", name="Delete whales")).to_have_count(0)
    user = page.get_by_role("listitem").filter(has_text="is a flag").get_by_role("link").first
    key = user.inner_text()
    admin.press("link", key, exact=True)
    expect(page.get_by_role("heading", level=1)).to_contain_text(key)

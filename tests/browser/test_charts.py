"""Charts: values by mouse and keyboard, markers, the span of time, paper."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import Ilara, Window
from tests.running import query

pytestmark = pytest.mark.browser

FLAG = "flags/new-shop/"
CLEAR = """
DELETE FROM flag_usage WHERE flag_id IN (SELECT id FROM flag WHERE key = 'new-shop') RETURNING 1"""
FILL = """
INSERT INTO flag_usage (flag_id, hour, variant, count, single, last_at)
SELECT f.id, date_trunc('hour', now(), 'UTC') - n * interval '1 hour', 'enabled', 100 + n, 0, now()
FROM flag f JOIN environment e ON e.id = f.environment_id, generate_series(0, 2000) n
WHERE f.key = 'new-shop' AND e.slug = 'live'
RETURNING 1"""


@pytest.fixture(scope="module", autouse=True)
def used(ilara: Ilara) -> None:
    """Evaluations of one flag: 100 in this hour, 101 in the one before, and so on."""
    query(ilara.serve.home, CLEAR)
    query(ilara.serve.home, FILL)


# Without JavaScript, the tip of a column is generated content. A line break is a "\a " there.
SHOWN = """chart => [
  ...[...chart.querySelectorAll(".tip")]
    .filter(tip => tip.offsetWidth > 1).map(tip => tip.innerText),
  ...[...chart.querySelectorAll("[data-hit] > input")]
    .map(column => getComputedStyle(column, "::after").content).filter(text => text !== "none")
    .map(text => text.replace(/^"|"( \\/ "")?$/g, "").replace(/\\\\[9a] /g, " ")),
]"""


def shown(chart: Locator) -> list[str]:
    """The tips that are not only for screen readers."""
    texts: list[str] = chart.evaluate(SHOWN)
    return [" ".join(text.split()) for text in texts]


def test_values__show_where_the_pointer_or_the_focus_is(admin: Window) -> None:
    page = admin.open(FLAG)
    chart = page.locator("#evaluations")
    columns = page.locator("#evaluations div[data-hit]")
    assert shown(chart) == []
    if admin.keyboard:
        admin.reach(columns.last.locator("input"))
        page.keyboard.press("ArrowLeft")
    else:
        columns.nth(-2).hover()
    [text] = shown(chart)
    assert re.search(r"^\d+ \w+, \d\d:00 enabled 101 disabled 0 101 evaluations$", text)
    # One Tab stop for all values: the next is the table.
    if admin.keyboard:
        page.keyboard.press("Tab")
        expect(page.locator("#evaluations summary")).to_be_focused()
        page.keyboard.press("Enter")
    else:
        page.locator("#evaluations summary").click()
    row = page.locator("#evaluations tbody tr").last
    expect(row).to_contain_text("100 evaluations")
    expect(row).to_be_visible()


def test_marker__leads_to_the_difference_of_its_revision(admin: Window) -> None:
    page = admin.open(FLAG)
    admin.press("link", "By day")
    expect(page.locator("#evaluations")).to_contain_text("last 90 days")
    pin = page.locator("#evaluations div[data-hit] > a", has_text="Revision 5 by")
    if admin.keyboard:
        admin.reach(pin)
    else:
        pin.hover()
    [text] = shown(page.locator("#evaluations"))
    assert re.search(r"^Revision 5 by Ben \(sample\), .*: Checkout is fixed$", text)
    admin.press("link", re.compile("^Revision 5 by"))
    expect(page).to_have_url(re.compile(r"/flags/new-shop/revisions/5/$"))
    expect(page.get_by_role("main")).to_contain_text(
        "5 % of players get enabled → 10 % of players get enabled"
    )


def test_chart__stays_inside_a_phone_and_is_light_on_paper(
    window: Callable[..., Window],
) -> None:
    narrow = window(viewport={"width": 390, "height": 800}, color_scheme="dark")
    page = narrow.open(f"{FLAG}?evaluations=day")
    columns = page.locator("#evaluations div[data-hit]")
    for number in (0, 44, 45, 89):
        columns.nth(number).hover()
        box = columns.nth(number).locator(".tip").first.bounding_box()
        assert box
        assert box["width"] > 50
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    page.emulate_media(media="print")
    colour = "getComputedStyle(document.body.querySelector('.panel')).backgroundColor"
    assert page.evaluate(colour) == "oklch(1 0 0)"

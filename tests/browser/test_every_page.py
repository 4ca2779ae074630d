"""Every page, in both themes and two widths: no console errors and no findings of axe."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import resolve
from playwright.sync_api import Browser, Page, Route

from tests.browser.conftest import PATIENCE_MILLISECONDS, Ilara, Window, settled
from tests.browser.test_support import call, register
from tests.pages import PAGES as ADDRESSES

# Below the sample game's live environment, or with a leading slash any page.
DEAD_LINKS = ["/invite/unknown/", "/sign-in/reset/unknown/"]
MISSING = ["/sample-game/test/flags/new-shop/", "/nowhere/", *DEAD_LINKS]
PAGES = [
    "figures/", "figures/?by=country&range=90", "figures/?since=2020-01-01&until=2020-01-02",
    "", "players/", "players/?stage=churned", "players/?q=unknown", "players/churn/",
    "players/{player}/", "players/{player}/summary/", "players/{player}/edit/",
    "players/{player}/attributes/", "players/{player}/attributes/one/",
    "players/{player}/attributes/one/?attribute=level", "players/{player}/segments/?show=out",
    "players/{player}/export/", "players/{player}/erase/",
    "players/{player}/notes/", "players/{player}/notes/add/",
    "players/{player}/notes/{note}/delete/",
    "players/?attribute=level&test=least&value=x&columns=email,.level", "players/columns/",
    "players/exports/",
    "players/{player}/ids/add/", "players/{player}/ids/{alias}/remove/",
    "players/{player}/purchases/t-1/refund/", "players/{player}/purchases/t-1/reverse/",
    "players/?q=guest", "find/?q=guest", "flags/", "flags/+new/",
    "flags/?state=archived", "flags/?q=nothing", "flags/+stale/", "flags/legacy-matchmaker/",
    "flags/legacy-matchmaker/keep/", "views/flag_list/new/?query=state%3Don",
    "flags/new-shop/", "flags/onboarding-copy/", "flags/onboarding-copy/rules/",
    "flags/onboarding-copy/variants/", "flags/new-shop/rules/everyone/percentage/",
    "flags/new-shop/details/", "flags/new-shop/revisions/1/", "flags/new-shop/compare/",
    "flags/new-shop/overrides/clear/", "flags/new-shop/players/{player}/remove/",
    "flags/new-shop/players/{player}/", "flags/new-shop/turn-off/", "flags/new-shop/restore/1/",
    "flags/new-shop/archive/", "flags/new-shop/overrides/", "flags/new-shop/clone/",
    "flags/guild-raids/?player=player_10000",
    "flags/guild-raids/rules/", "flags/guild-raids/prerequisites/", "flags/vulkan-renderer/rules/",
    "flags/daily-bonus/rules/core/up/", "segments/", "segments/+new/", "segments/whales/",
    "segments/whales/edit/", "segments/engaged-core/edit/", "segments/personal-care/edit/",
    "segments/stuck/", "segments/stuck/edit/", "segments/stuck/members/",
    "segments/whales/delete/", "segments/whales/lists/",
    "segments/whales/lists/?list=exclude", "segments/whales/lists/add/",
    "segments/whales/lists/import/", "segments/whales/lists/clear/",
    "experiments/+groups/", "experiments/+groups/+new/", "experiments/+groups/shop/edit/",
    "experiments/+groups/shop/delete/", "experiments/starter-price/group/",
    "experiments/", "experiments/?q=nothing", "experiments/+new/",
    "experiments/+new/?flag=new-shop", "experiments/starter-price/",
    "experiments/starter-price/edit/", "experiments/starter-price/start/",
    "experiments/starter-price/stop/", "experiments/starter-price/extend/",
    "experiments/starter-price/decide/?ship=lower", "experiments/starter-price/leave/",
    "experiments/starter-price/delete/",
    "metrics/", "metrics/?state=archived", "metrics/+new/", "metrics/revenue/",
    "metrics/level-failures/", "metrics/day-1-retention/edit/", "metrics/level-failures/edit/",
    "metrics/sessions/archive/",
    "events/", "events/?paused=1", "events/?name=nothing", "events/{event}",
    "events/names/", "events/names/{name}/", "events/names/{name}/describe/",
    "events/names/?sort=-day", "events/names/{name}/?span=quarter",
    "events/names/{name}/personal/?property={property}",
    "events/rejected/", "segments/?sort=-size", "segments/whales/?sizes=hour",
    "events/?start=2026-01-31T12:00&prop=level", "events/?prop=level&operator=equals",
    "notifications/", "notifications/?show=unread", "notifications/choices/",
    "notifications/channels/", "notifications/channels/new/", "notifications/deliveries/",
    "keys/", "keys/new/", "keys/1/edit/", "keys/1/rotate/",
    "keys/1/revoke/", "audit/", "audit/?show=seen", "audit/{entry}/", "audit/{entry}/?view=json",
    "audit/{entry}/undo/", "audit/{entry}/undo/together/",
    "compare/test/", "flags/new-shop/compare/test/", "segments/whales/compare/test/",
    "/sample-game/test/flags/+copy/?from=live&key=energy-minutes&key=new-shop",
    "/sample-game/test/segments/+copy/?from=live&key=personal-care", *MISSING, "developers/",
    "developers/reference/", "developers/reference/?q=nothing+at+all",
    "developers/reference/flag_evaluate/?lang=python", "developers/reference/event_batch/?lang=go",
    "developers/reference/ofrep_evaluate_all/", "developers/reference/specification/",
    "requests/", "requests/?state=all&object=flag:nothing", "requests/{request}/",
    "requests/{request}/?view=json", "requests/{request}/impact/1/", "requests/{request}/apply/",
    "requests/{request}/withdraw/", "settings/guard/", "settings/guard/?recommended=1",
    "settings/freezes/new/", "settings/freezes/{freeze}/", "settings/freezes/{freeze}/delete/",
    "settings/", "settings/edit/", "settings/project/",
    "settings/projects/new/", "settings/environments/new/", "staff/", "staff/?show=all",
    "staff/new/", "staff/add/",
    "staff/1/", "staff/1/edit/", "staff/1/remove/",
    "find/?q=player_10000",
    "find/?q=zzz", "/account/", "/account/password/", "/account/security/", "/account/identity/",
    "/account/security/app/", "/account/security/passkey/", "/account/sessions/end/", "/sign-in/",
    "staff/1/reset/", "staff/invites/new/", "staff/invites/{invite}/revoke/",
    "staff/1/deactivate/", "staff/1/reactivate/",
]  # fmt: skip
# Fetched by other pages, or of objects that the sample game lacks.
NO_PAGES = {
    "event_stream", "event_pending", "event_names_csv", "flag_impact", "flag_list_csv",
    "segment_size", "saved_view_rename", "saved_view_delete",
    "event_rate",
    "overview_csv", "experiment_csv",
    "palette",
    "player_export_download",
    # test_accounts.py looks at these: they need a second factor.
    "account_factor_remove", "account_recovery_codes", "second_factor_needed",
    "staff_factors_reset",
    "notification_bell", "notification_open", "channel_edit", "channel_remove",
}  # fmt: skip


def test_list__has_every_page() -> None:
    shown = {name for name, page in ADDRESSES.items() if "GET" in getattr(page.view, "methods", ())}
    nil = "00000000-0000-0000-0000-000000000000"
    sample = {
        "player": nil,
        "note": nil,
        "alias": nil,
        "entry": 1,
        "invite": 1,
        "event": "1/?at=2026-01-31",
        "name": 1,
        "property": "x",
        "request": 1,
        "freeze": 1,
    }
    paths = [path if path.startswith("/") else f"/sample-game/live/{path}" for path in PAGES]
    listed = {
        resolve(path.format(**sample).partition("?")[0]).url_name
        for path in paths
        if path != "/nowhere/"
    }
    assert shown - NO_PAGES <= listed


# By width, theme and what axe checks: its other rules do not look at colours.
COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"]}
MODES: list[tuple[int, Literal["light", "dark"], dict[str, Any]]] = [
    (1280, "light", {}), (1280, "dark", COLOURS), (390, "light", {}), (390, "dark", COLOURS),
]  # fmt: skip
# axe parses the same few oklch() texts at each element, which took a quarter of its time.
PARSE_ONCE = """(() => {
  const { prototype } = axe.commons.color.Color, { parseString } = prototype, parsed = new Map();
  prototype.parseString = function (text) {
    if (parsed.has(text)) return Object.assign(this, parsed.get(text));
    parseString.call(this, text);
    parsed.set(text, { r: this.r, g: this.g, b: this.b, alpha: this.alpha });
    return this;
  };
})()"""
AXE = f"{Axe().axe_script};{PARSE_ONCE}"
RUN = "options => axe.run({resultTypes: ['violations'], ...options})"


def problems(page: Page) -> list[str]:
    """The findings of axe, and whether the page scrolls horizontally, per theme and width."""
    page.evaluate(AXE)
    found = []
    for width, scheme, options in MODES:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        place = f"{page.url} ({scheme}, {width})"
        for item in page.evaluate(RUN, options)["violations"]:
            nodes = json.dumps([node["html"][:160] for node in item["nodes"]][:3])
            found.append(f"{place}: {item['id']}: {nodes}")
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{place}: scrolls horizontally")
    return found


def linked(page: Page, pattern: str) -> str:
    """The group of the pattern in its first match on the page."""
    found = re.search(pattern, page.content())
    assert found
    return found[1]


def first_link(page: Page, start: str) -> str:
    """The link of the first table row, after `start`."""
    found = page.locator("tbody a").first.get_attribute("href")
    assert found
    return found.partition(start)[2]


@pytest.fixture(scope="module")
def sample(ilara: Ilara) -> dict[str, str]:
    """The values of the placeholders in PAGES that no page links to."""
    player = register(ilara, level=45)["id"]
    event = {"player_id": player, "event_name": "opened", "properties": {"from": ["a", "b"]}}
    call(ilara, "events/events", event)
    call(ilara, f"players/players/{player}/purchase", {"amount": 1, "transaction_id": "t-1"})
    name = {"external_id": f"guest_{player}"}
    call(ilara, f"players/players/{player}/aliases", name, ilara.key("live", "secret"))
    return {"player": player}


def open_request(walker: Window) -> str:
    """The id of a change request. The guard is removed again, for other tests."""
    page = walker.open("settings/guard/")
    box = page.get_by_role("checkbox", name="Change a percentage: Second person")
    box.check()
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/settings/")
    walker.open("flags/guild-raids/rules/raids/percentage/")
    page.get_by_label("Percentage").fill("11")
    page.get_by_role("button", name="Save to live").click()
    page.get_by_label("Reason").fill("A little more")
    page.get_by_role("button", name="Request review").click()
    page.wait_for_url(re.compile("/requests/[0-9]+/$"))
    number = page.url.rstrip("/").rpartition("/")[2]
    walker.open("settings/guard/")
    box.uncheck()
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/settings/")
    return number


def plan_freeze(walker: Window) -> str:
    """The id of a freeze window that has not begun."""
    page = walker.open("settings/freezes/new/")
    start = datetime.now(UTC) + timedelta(days=30)
    page.get_by_label("From").fill(f"{start:%Y-%m-%dT%H:%M}")
    page.get_by_label("Until").fill(f"{start + timedelta(days=1):%Y-%m-%dT%H:%M}")
    page.get_by_label("Reason").fill("Sale")
    page.get_by_role("button", name="Plan", exact=True).click()
    page.wait_for_url("**/settings/")
    return linked(page, "/settings/freezes/([0-9]+)/")


@pytest.fixture(scope="module")
def walker(
    ilara: Ilara, chromium: Browser, signed_in: Any, sample: dict[str, str]
) -> Iterator[Window]:
    """One window for all pages."""
    # Without transitions, so that axe does not measure colours in between.
    context = chromium.new_context(storage_state=signed_in, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    walker = Window(context, context.new_page(), ilara.url)
    walker.listen(walker.page)
    page = walker.open(f"players/{sample['player']}/notes/add/")
    page.get_by_label("Note").fill("Two\nlines")
    page.locator("form", has=page.get_by_label("Note")).get_by_role("button").first.click()
    page.wait_for_url(f"**/players/{sample['player']}/")
    sample |= {
        "note": linked(page, "/notes/([^/]+)/delete/"),
        "alias": linked(page, "/ids/([^/]+)/remove/"),
    }
    page = walker.open("staff/invites/new/")
    page.get_by_label("Name").fill("Ana")
    page.get_by_label("Viewer").check()
    page.get_by_role("button", name="Create invite").click()
    page.get_by_role("heading", name="Invite for Ana").wait_for()
    sample |= {
        "invite": linked(walker.open("staff/"), "/staff/invites/([0-9]+)/revoke/"),
        "entry": linked(walker.open("audit/"), "/audit/([0-9]+)/undo/"),
        "event": first_link(walker.open("events/?name=opened"), "/events/"),
        "name": first_link(walker.open("events/names/?q=level_complete"), "/events/names/").strip(
            "/"
        ),
    }
    events = walker.open(f"events/names/{sample['name']}/")
    sample["property"] = linked(events, r'/personal/\?property=([^"&]+)')
    sample["request"] = open_request(walker)
    sample["freeze"] = plan_freeze(walker)
    yield walker
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("path", PAGES)
def test_every_page__is_accessible(path: str, walker: Window, sample: dict[str, str]) -> None:
    walker.complaints.clear()
    page = walker.page
    response = page.goto(walker.address(path.format(**sample)))
    assert response
    assert response.status == (404 if path in MISSING else 200)
    assert page.locator("h1").count() == 1
    assert problems(page) == []
    assert walker.complaints == []


@pytest.mark.browser
def test_page_of_which_a_part_still_loads__is_accessible(
    walker: Window, sample: dict[str, str]
) -> None:
    held: list[Route] = []
    walker.page.route("**/impact/**", lambda route: held.append(route))
    page = walker.open(f"requests/{sample['request']}/")
    page.locator(".htmx-request").wait_for()
    assert problems(page) == []
    assert held
    page.unroute_all()


@pytest.mark.browser
def test_dialog_over_a_page__is_accessible(walker: Window) -> None:
    """A dialog over a page is checked as well."""
    page = walker.open("flags/new-shop/")
    page.get_by_role("link", name="Turn off").click()
    page.get_by_role("dialog").wait_for()
    assert problems(page) == []
    assert walker.complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("typed", ["", "new"])
def test_open_palette__is_accessible(typed: str, walker: Window) -> None:
    walker.complaints.clear()
    page = walker.open("flags/new-shop/")
    page.keyboard.press("Control+k")
    if typed:  # the options shown before have "New flag", too
        with page.expect_response(lambda response: response.url.endswith(f"q={typed}")):
            page.keyboard.type(typed)
    page.get_by_role("option", name="New flag").wait_for()
    found = page.get_by_role("status").filter(has_text=re.compile("^[0-9]+ results"))
    found.wait_for(state="attached")
    settled(page)
    assert problems(page) == []
    assert walker.complaints == []

"""Texts of clients at their longest and strangest widen no page and move nothing beside them."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import PATIENCE_MILLISECONDS, Ilara, Window
from tests.browser.test_every_page import first_link, linked
from tests.browser.test_support import call
from tests.homes import wait_until

MARK = "m4rk"
# Ends an isolate, reverses, opens isolates and never closes them; Hebrew, a joined emoji, stacked
# accents, zero-width spaces, a URL; no place to break.
STRANGE = (
    f"{MARK}\u2069\u202e\u2067\u05d0\u05d1\u05d212\u2066admin\u200b👨\u200d👩\u200d👧e"
    + "\u0301" * 8
    + "https://example.com/a?b=c&d=%20"
)


def filled(length: int, end: str = "") -> str:
    return (STRANGE + "W" * length)[: length - len(end)] + end


NAME, ID = filled(128), filled(255)
ALIAS = filled(255, "alias")
DEEP: Any = NAME
for _ in range(6):  # two levels each
    DEEP = {NAME[:60]: [DEEP]}

# Runs a script if a page does not escape it.
HTML = (
    f'{MARK}</pre></script><script>hacked=1</script><img src=x onerror=hacked=1>\'" on="{{{{x}}}}'
)


def heavy_attributes() -> dict[str, Any]:
    """As many attributes as a player may have, of almost the size that all may have."""
    texts = ["W" * 250, HTML, STRANGE * 2, "👨\u200d👩\u200d👧" * 9]
    return {f"{HTML[:80]}{number}": texts[number % 4] for number in range(200)}


PAGES = [
    "", "players/", f"players/?q={MARK}", "players/{player}/", "players/{player}/edit/",
    "players/{player}/attributes/", f"players/{{player}}/attributes/one/?attribute={quote(NAME)}",
    "players/{player}/segments/?show=out", "players/{player}/export/", "players/{player}/erase/",
    "players/{player}/notes/", "players/{player}/notes/add/", "players/{player}/ids/add/",
    "players/{player}/ids/{alias}/remove/", "players/{player}/purchases/{purchase}/refund/",
    "players/{player}/summary/", f"players/{{player}}/?event={MARK}",
    f"find/?q={MARK}", "flags/new-shop/players/{player}/",
    f"flags/new-shop/?player={ID}", f"segments/whales/?player={ID}", "segments/whales/lists/",
    f"segments/whales/lists/?q={MARK}x", "flags/", "flags/{key}/",
    "flags/{key}/rules/", "flags/{key}/archive/",
    "events/", "events/?paused=1", f"events/?name={NAME}", "events/{event}", "events/names/",
    "events/names/{name}/", "events/names/{name}/describe/", "events/rejected/",
    f"events/rejected/?name={MARK}", "audit/", f"audit/?object={MARK}", "audit/{entry}/undo/",
    "audit/?kind=player.note_added", "audit/{entry}/", "audit/{entry}/?view=json",
    "players/{heavy}/", "players/{heavy}/edit/", "players/{heavy}/notes/",
    f"events/?player={quote(HTML)}", f"audit/?object={quote(HTML)}", f"find/?q={quote(HTML)}",
]  # fmt: skip

WIDTH = "document.scrollingElement.scrollWidth - innerWidth"
# The inline neighbours of a strange text that do not follow it from left to right.
ORDER = """mark => {
  const shows = element => element.checkVisibility() && element.getClientRects().length > 0;
  const display = element => getComputedStyle(element).display;
  const blocks = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    if (!texts.currentNode.data.includes(mark)) continue;
    let element = texts.currentNode.parentElement;
    if (!shows(element)) continue;
    do element = element.parentElement; while (display(element) === "inline");
    blocks.add(element);
  }
  const items = (node, found) => {
    for (const child of node.childNodes) {
      if (child.nodeType === Node.TEXT_NODE && child.data.trim()) {
        const range = document.createRange();
        range.selectNodeContents(child);
        found.push([child.data.trim(), [...range.getClientRects()]]);
      } else if (child.nodeType === Node.ELEMENT_NODE && shows(child)) {
        if (getComputedStyle(child).position === "absolute") continue;
        if (display(child) === "inline") items(child, found);
        else found.push([child.textContent.trim(), [child.getBoundingClientRect()]]);
      }
    }
    return found;
  };
  const wrong = [];
  for (const block of blocks) {
    const found = items(block, []);
    found.slice(1).forEach(([text, rects], index) => {
      const [before, earlier] = found[index];
      const last = earlier.at(-1), first = rects[0];
      if (!last || !first) return;
      const sameLine = Math.min(last.bottom, first.bottom) - Math.max(last.top, first.top) > 4;
      if (sameLine && first.left < last.right - 1) wrong.push([before, text]);
    });
  }
  return wrong;
}"""


def problems(page: Page) -> list[str]:
    found = []
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        if (wider := page.evaluate(WIDTH)) > 0:
            found.append(f"{page.url[:120]} at {width}: {wider} px too wide")
        found += [f"{page.url[:120]} at {width}: {each!a}" for each in page.evaluate(ORDER, MARK)]
    if page.evaluate("window.hacked") is not None:
        found.append(f"{page.url[:120]} ran a script")
    return found


def write_everything(ilara: Ilara) -> dict[str, str]:
    """Fill what games can write. Returns the values of the placeholders in PAGES."""
    attributes = {NAME: DEEP, "country": NAME, "list": [NAME] * 5, "text": "W" * 5_000}
    email = f"{MARK}{'e' * 60}@{'d' * 180}.example"
    body = {"external_id": ID, "email": email, "device_id": ID, "attributes": attributes}
    player = call(ilara, "players/players", body)["id"]
    event = {"player_id": player, "event_name": NAME, "event_id": NAME, "session_id": NAME}
    call(ilara, "events/events", {**event, "properties": {NAME: NAME, "deep": DEEP, "n": [ID] * 9}})
    call(ilara, "events/events/batch", {"events": [{**event, "player_id": ID}, {**event, NAME: 1}]})
    call(ilara, f"players/players/{player}/session", {"session_id": NAME})
    purchase = {"amount": 1, "transaction_id": NAME, "product_id": NAME}
    call(ilara, f"players/players/{player}/purchase", purchase)
    secret = ilara.key("live", "secret")
    call(ilara, f"players/players/{player}/aliases", {"external_id": ALIAS}, secret)
    body = {"external_id": HTML, "email": HTML, "device_id": HTML, "attributes": heavy_attributes()}
    heavy = call(ilara, "players/players", body)["id"]
    event = {"player_id": heavy, "event_name": HTML[:128], "session_id": HTML[:128]}
    call(ilara, "events/events", {**event, "properties": {HTML[:100]: HTML, "list": [HTML] * 9}})
    return {"player": player, "heavy": heavy, "key": "k" * 128}


@pytest.fixture(scope="module")
def sample(ilara: Ilara) -> dict[str, str]:
    return write_everything(ilara)


@pytest.fixture(scope="module")
def walker(
    ilara: Ilara, chromium: Browser, signed_in: Any, sample: dict[str, str]
) -> Iterator[Window]:
    """One window for all pages, after staff wrote what only they can write."""
    context = chromium.new_context(storage_state=signed_in, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    walker = Window(context, context.new_page(), ilara.url)
    fill_by_hand(walker, sample)
    yield walker
    context.close()


def fill_by_hand(walker: Window, sample: dict[str, str]) -> None:
    def send(path: str, **values: str) -> None:
        page = walker.open(path.format(**sample))
        form = page.locator("main form").filter(has=page.locator(f"[name='{next(iter(values))}']"))
        for name, value in values.items():
            form.locator(f"[name='{name}']").fill(value)
        form.locator("footer button, button[type=submit]").last.click()
        page.wait_for_load_state()

    send("players/{player}/notes/add/", text=NAME + "\n" + ID * 3)
    send("players/{heavy}/notes/add/", text=HTML)
    send("segments/whales/lists/add/", ids=f"{ID}\n{MARK}x{NAME}", reason=ID)
    send("flags/+new/", key=sample["key"], name="N" * 200, description="D" * 500)
    names = f"events/names/?q={MARK}"
    # The worker counts events a moment after they arrive.
    wait_until(lambda: re.search(r"/events/names/\d+/", walker.open(names).content()) is not None)
    sample |= {
        "alias": linked(walker.open(f"players/{sample['player']}/"), "/ids/([^/]+)/remove/"),
        "purchase": linked(walker.page, "/purchases/([^/]+)/refund/"),
        "entry": linked(walker.open("audit/"), "/audit/([0-9]+)/undo/"),
        "event": first_link(walker.open(f"events/?player={sample['player']}"), "/events/"),
        "name": linked(walker.open(names), "/events/names/([0-9]+)/"),
    }


@pytest.mark.browser
@pytest.mark.parametrize("path", PAGES)
def test_strange_texts__stay_in_their_place(
    path: str, walker: Window, sample: dict[str, str]
) -> None:
    response = walker.page.goto(walker.address(path.format(**sample)))
    assert response
    assert response.status == 200
    assert problems(walker.page) == []


@pytest.mark.browser
def test_badge__stands_after_a_reversed_id(walker: Window, sample: dict[str, str]) -> None:
    page = walker.open(f"players/{sample['player']}/")
    page.set_viewport_size({"width": 1280, "height": 900})
    name = page.locator("h1 .mono").bounding_box()
    badge = page.locator("h1 .badge").bounding_box()
    assert name
    assert badge
    assert badge["x"] >= name["x"] + name["width"] or badge["y"] >= name["y"] + name["height"] / 2
    assert "\u202e" not in page.title()

"""Two tabs of the Live events page while events arrive: what they show, memory, and clicks.

`uv run python -m tests.benchmarks.live_page [seconds] [events a second]`, with a server and a
sample game of its own. Prints for each tab how many events it accounted for, the JavaScript heap
after a collection, before and after, the share of the time that its main thread is busy, and the
time of clicks during the flood as multiples of one before it.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from uuid import uuid4

from playwright.sync_api import CDPSession, Page, sync_playwright

from tests.browser.conftest import ARGUMENTS, Ilara, chromium_path, running_ilara
from tests.browser.event_flood import WATCH, Flood, wait_until_accounted
from tests.browser.test_support import register

SECONDS, RATE = 60, 200
CLICKS_EVERY_SECONDS = 2
PATIENCE_MILLISECONDS = 120_000


def main(ilara: Ilara, seconds: int, rate: int) -> None:
    name, player = f"flood_{uuid4().hex[:6]}", register(ilara)["id"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        context = browser.new_context()
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        tabs = [context.new_page() for _ in range(2)]
        sign_in(tabs[0], ilara)
        for tab in tabs:
            tab.goto(f"{ilara.url}/sample-game/live/events/?name={name}")
            tab.locator("[data-tail-state=live]").wait_for()
            tab.evaluate(WATCH)
        quiet = [median(click(tab) for _ in range(3)) for tab in tabs]
        # So that both tabs hold as many rows as they may.
        earlier = Flood(ilara, player, name, rate, seconds=5).finish()
        for tab in tabs:
            tab.bring_to_front()
            wait_until_accounted(tab, earlier)
        sessions = [context.new_cdp_session(tab) for tab in tabs]
        for session in sessions:
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
        before = [heap(tab) for tab in tabs]
        busy_before = [busy(session) for session in sessions]
        flood = Flood(ilara, player, name, rate, seconds)
        clicks: list[list[float]] = [[], []]
        while flood.is_running:
            for tab, times in zip(tabs, clicks, strict=True):
                tab.bring_to_front()
                times.append(click(tab))
                sleep(CLICKS_EVERY_SECONDS)
        sent = earlier + flood.finish()
        print(f"{flood.sent:,} events in {seconds} s")
        for number, tab in enumerate(tabs):
            tab.bring_to_front()
            wait_until_accounted(tab, sent)
            skipped = tab.evaluate("skipped")
            rows, ratios = tab.locator(".tail tr").count(), sorted(clicks[number])
            used = busy(sessions[number]) - busy_before[number]
            grown = heap(tab) / before[number]
            print(
                f"tab {number + 1}: all {sent:,} events, {skipped:,} of them as not shown; "
                f"{rows} rows; heap {grown:.2f} times; busy {used / seconds:.0%}; "
                f"{len(ratios)} clicks, median "
                f"{median(ratios) / quiet[number]:.1f}, slowest {ratios[-1] / quiet[number]:.1f} "
                f"times, {ratios[-1] * 1000:.0f} ms"
            )
        browser.close()


def sign_in(page: Page, ilara: Ilara) -> None:
    page.goto(f"{ilara.url}/sign-in/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(ilara.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(re.compile("/sample-game/live/$"))


def click(page: Page) -> float:
    """Seconds from a click until its dialog is open."""
    started = perf_counter()
    page.get_by_role("button", name="Keyboard shortcuts").click()
    page.get_by_role("dialog").wait_for()
    seconds = perf_counter() - started
    page.keyboard.press("Escape")
    return seconds


def heap(page: Page) -> float:
    """Bytes of live JavaScript objects."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used: float = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return used


def busy(session: CDPSession) -> float:
    """Seconds of CPU that the tab's main thread has used."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    found: float = next(each["value"] for each in metrics if each["name"] == "TaskDuration")
    return found


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    home = Path(tempfile.mkdtemp(prefix="ilara-benchmark-"))
    try:
        with running_ilara(home, "--demo") as ilara:
            main(ilara, *(given or [SECONDS, RATE]))
    finally:
        shutil.rmtree(home, ignore_errors=True)

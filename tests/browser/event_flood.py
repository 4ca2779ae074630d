"""Many events a second, and what a tab of the Live events page shows of them."""

import threading
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from playwright.sync_api import Page

from tests.browser.conftest import Ilara
from tests.browser.test_support import call

BATCHES_A_SECOND = 4
# Rows that were ever in the table, and events that a row said are not shown.
# Counts rows that were ever in the table, each once, and events that a row said are not shown. Its
# own memory does not grow.
WATCH = """() => {
  const ids = new Uint8Array(1_000_000);
  window.accounted = window.skipped = 0;
  const note = (row) => {
    const id = row.id?.startsWith("event-") ? Number(row.id.slice(6)) % ids.length : -1;
    if (id >= 0 && !ids[id]) accounted += ids[id] = 1;
    if (row.dataset?.unseen) skipped += Number(row.dataset.unseen);
  };
  document.querySelectorAll(".tail tr").forEach(note);
  new MutationObserver((changes) => changes.forEach((each) => each.addedNodes.forEach(note)))
    .observe(document.querySelector(".tail"), { childList: true });
}"""


@dataclass
class Flood:
    """Sends `rate` events a second of one name for `seconds`, in a thread of its own."""

    ilara: Ilara
    player_id: str
    name: str
    rate: int
    seconds: float
    sent: int = 0
    problems: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        began = monotonic()
        event = {"player_id": self.player_id, "event_name": self.name, "properties": {"level": 7}}
        try:
            while (passed := monotonic() - began) < self.seconds:
                due = int(passed * BATCHES_A_SECOND + 1) * self.rate // BATCHES_A_SECOND
                if due > self.sent:
                    reply = self._send([event] * (due - self.sent))
                    self.sent += reply["accepted"]
                threading.Event().wait(0.02)
        except Exception as error:  # the caller raises it
            self.problems.append(error)

    def _send(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        return call(self.ilara, "events/events/batch", {"events": events})

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def finish(self) -> int:
        """The number of events sent."""
        self._thread.join()
        for problem in self.problems:
            raise problem
        return self.sent


def wait_until_accounted(page: Page, sent: int) -> None:
    """Wait until the tab has shown all events, or has said that it does not show them."""
    page.wait_for_function("sent => accounted + skipped >= sent", arg=sent)
    assert page.evaluate("accounted + skipped") == sent

"""The JavaScript client in a page on another host than Ilara."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser

from ilara_admin.apidocs.clients import FOLDER
from tests.browser.conftest import Ilara

pytestmark = pytest.mark.browser

PLAY = """async ([address, key]) => {
  const { Ilara, RateLimitedError, UnauthorizedError } = await import("/ilara.mjs");
  const refused = [];
  const ilara = new Ilara(address, key, { onRejected: (event) => refused.push(event.event_id) });
  const player = await ilara.registerPlayer("web/player 1", {
    attributes: { steam_id: 76561197960287930n }, deviceId: "a name the API does not know",
  });
  const found = await ilara.getPlayerByExternalId("web/player 1");
  ilara.track(player.id, "web_start", { n: 1 });
  ilara.track(player.id, "ilara.start", {}, { event_id: "refused" });
  const text = "爱丽丝".repeat(5_000); // 45 kB: two exceed the limit of keepalive requests
  ilara.track(player.id, "web_start", { text });
  ilara.track(player.id, "web_start", { text });
  const left = await ilara.flush();
  let refusal;
  try {
    new Ilara(address, `${key}\n`);
  } catch (error) {
    refusal = [error.name, error.message.includes(key)];
  }
  const error = await ilara.listPlayers().catch((error) => error);
  return {
    same: found.id === player.id, left, refused, refusal,
    steam_id: String(found.attributes.steam_id),
    tutorial: await ilara.flag("new_tutorial", player.id, false, { level: 45 }),
    error: [error instanceof UnauthorizedError, error.status, Boolean(error.requestId)],
  };
}"""


class Quiet(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def game_page() -> Iterator[str]:
    """The URL of a server with the client, on another origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=FOLDER)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_client__works_in_a_page_of_another_host(
    ilara: Ilara, chromium: Browser, game_page: str
) -> None:
    page = chromium.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    try:
        page.goto(game_page)
        assert page.evaluate(PLAY, [f"{ilara.url}/v1", ilara.key("test", "public")]) == {
            "same": True,
            "left": 0,
            "refused": ["refused"],
            "refusal": ["TypeError", False],
            "steam_id": "76561197960287930",
            "tutorial": True,
            "error": [True, 403, True],
        }
        assert "POST /players/players ignored unknown fields: deviceId" in messages
    finally:
        page.close()

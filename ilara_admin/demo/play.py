"""The sample game while `serve --demo` runs: a few players play through the API, as any game would.

`python -m ilara_admin.demo.play` is one child of `serve`, with the address and the key in its
environment. It needs neither Django nor the database. Each player is a generator that yields after
each request, so that one thread plays them all in turn. A server that is away is waited for.
"""

import http.client
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import cycle
from random import Random
from typing import Any
from urllib.parse import urlsplit

from ilara_admin.demo.game import COUNTRIES, DEVICES, FAILURES, LAST_LEVEL, PRODUCTS

ADDRESS, KEY = "SAMPLE_GAME_ADDRESS", "SAMPLE_GAME_KEY"  # in the environment of this process
KEY_NAME = "Sample game (simulated players)"
PAUSE_SECONDS = 0.25  # between two requests
RETRY_SECONDS = 1.0
TIMEOUT_SECONDS = 10.0

# Name, country, platform, version of the game: what a player is, always the same.
PLAYERS = (
    ("SwiftOtter", "DE", "android", "2.2.0"),
    ("CalmLynx", "US", "ios", "2.2.0"),
    ("LuckyHeron", "BR", "android", "2.1.3"),
    ("FrostyBear", "JP", "ios", "2.2.0"),
    ("GoldenFox", "GB", "windows", "2.1.0"),
    ("MistyOwl", "FR", "android", "2.0.1"),
)
FLAGS_AT_START = ("onboarding-copy", "match-region", "new_tutorial")
FLAGS_IN_SHOP = ("new-shop", "starter-price")
OLD_VERSION, FLAGS_OF_IT = "2.0.1", ("legacy-matchmaker", "winter-event")

AWAY = (OSError, http.client.HTTPException)  # RemoteDisconnected is both

type Turn = Iterator[None]


class RefusedError(Exception):
    """The server answered, but not with success; `status` is that of the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class GameApi:
    """The API under `address`, over one connection that is opened again when it breaks."""

    def __init__(self, address: str, key: str) -> None:
        self._place, self._key = urlsplit(address).netloc, key
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: dict[str, Any], version: str) -> dict[str, Any]:
        """The data of the reply. Raises OSError or HTTPException without one, else RefusedError."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"sample-game/{version}",
            "X-API-Key": self._key,
        }
        try:
            status, content = self._send(f"/v1{path}", json.dumps(body), headers)
        except http.client.RemoteDisconnected:
            # The server ends a connection that was idle. Ids make it safe to send again.
            status, content = self._send(f"/v1{path}", json.dumps(body), headers)
        if status >= 300:
            raise RefusedError(status)
        data: dict[str, Any] = json.loads(content)["data"]
        return data

    def _send(self, path: str, body: str, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._place, timeout=TIMEOUT_SECONDS)
        try:
            self._connection.request("POST", path, body, headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except AWAY:
            self._connection.close()
            self._connection = None
            raise


class SimulatedPlayer:
    """One player, who plays one session after another."""

    def __init__(self, api: GameApi, number: int) -> None:
        self.name, self.country, self.platform, self.version = PLAYERS[number]
        self.api, self.external_id = api, f"simulated_{number + 1}"
        self.rng = Random(self.external_id)
        self.id, self.level, self.retries = "", 1, 0

    def play(self) -> Turn:
        # Not all at once at the start.
        yield from self._rest(self.rng.randrange(4))
        while True:
            yield from self._session()
            yield from self._rest(self.rng.randrange(5, 40))

    def _session(self) -> Turn:
        rng, session_id, started_at = self.rng, f"sess_{uuid.uuid4().hex[:16]}", datetime.now(UTC)
        yield from self._register()
        yield from self._post("/flags/flags/evaluate", {"player_id": self.id})
        for flag in FLAGS_AT_START + FLAGS_OF_IT * (self.version == OLD_VERSION):
            yield from self._evaluate(flag)
        yield from self._track(
            session_id, "session_start",
            platform=self.platform, app_version=self.version, country=self.country,
        )  # fmt: skip
        for _ in range(rng.randint(1, 6)):
            yield from self._attempt(session_id)
        if rng.random() < 0.5:
            yield from self._shop(session_id)
        seconds = round((datetime.now(UTC) - started_at).total_seconds())
        yield from self._post(
            f"/players/players/{self.id}/session",
            {"session_id": session_id, "started_at": started_at.isoformat(),
             "duration_seconds": seconds},
        )  # fmt: skip

    def _register(self) -> Turn:
        """A restart of the game goes on at the level that the server knows."""
        attributes = {
            "username": self.name,
            "country": self.country,
            "language": COUNTRIES[self.country][1],
            "platform": self.platform,
            "device_model": DEVICES[self.platform][0],
            "app_version": self.version,
            "sample": True,
        }
        if self.id:
            attributes["level"] = self.level
        body = {"external_id": self.external_id, "attributes": attributes}
        player = yield from self._post("/players/players", body)
        self.id = player["id"]
        self.level = player["attributes"].get("level", self.level)

    def _attempt(self, session_id: str) -> Turn:
        rng, level = self.rng, self.level
        yield from self._evaluate("energy-minutes")
        yield from self._track(session_id, "level_start", level=level, mode="story")
        yield from self._rest(rng.randint(2, 6))
        seconds = rng.randint(35, 130)
        if rng.random() < 0.6:
            stars = rng.randint(1, 3)
            # After the last level, the game begins again.
            self.level, self.retries = level % LAST_LEVEL + 1, 0
            yield from self._track(
                session_id, "level_complete",
                level=level, score=stars * 400 + rng.randrange(400), time=seconds, stars=stars,
            )  # fmt: skip
        else:
            self.retries += 1
            yield from self._track(
                session_id, "level_fail",
                level=level, reason=rng.choice(FAILURES), retry_count=self.retries,
            )  # fmt: skip

    def _shop(self, session_id: str) -> Turn:
        for flag in FLAGS_IN_SHOP:
            yield from self._evaluate(flag)
        if self.rng.random() < 0.7:
            return
        product = self.rng.choice(list(PRODUCTS)[:3])
        yield from self._track(session_id, "purchase", item_id=product)
        yield from self._post(
            f"/players/players/{self.id}/purchase",
            {"amount": PRODUCTS[product], "product_id": product,
             "transaction_id": f"txn_{uuid.uuid4().hex[:16]}"},
        )  # fmt: skip

    def _evaluate(self, flag: str) -> Turn:
        # Staff may have deleted or never created it: a game uses its default then.
        with suppress(RefusedError):
            yield from self._post(f"/flags/flags/{flag}/evaluate", {"player_id": self.id})

    def _track(self, session_id: str, name: str, **properties: Any) -> Turn:
        yield from self._post(
            "/events/events",
            {"player_id": self.id, "event_name": name, "session_id": session_id,
             "event_id": f"evt_{uuid.uuid4().hex}", "properties": properties},
        )  # fmt: skip

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        """Yields after the request; the value is the data of the reply."""
        data = self.api.post(path, body, self.version)
        yield
        return data

    def _rest(self, turns: int) -> Turn:
        for _ in range(turns):
            yield


def play(api: GameApi) -> None:
    """Play until the process is stopped, or the key no longer works."""
    players = [SimulatedPlayer(api, number) for number in range(len(PLAYERS))]
    turns = [player.play() for player in players]
    for number in cycle(range(len(players))):
        try:
            next(turns[number])
            time.sleep(PAUSE_SECONDS)
        except RefusedError as error:
            if error.status == 401:
                return
            turns[number] = players[number].play()
            time.sleep(RETRY_SECONDS)
        except AWAY:
            # The player begins a new session once the server is back.
            turns[number] = players[number].play()
            time.sleep(RETRY_SECONDS)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    play(GameApi(os.environ[ADDRESS], os.environ[KEY]))
    sys.stderr.write(f"The key “{KEY_NAME}” was revoked: the simulated players stop.\n")
    # `serve` would start it again.
    while True:
        signal.pause()


if __name__ == "__main__":
    main()

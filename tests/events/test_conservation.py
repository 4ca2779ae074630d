"""Every event is accounted for in replies, table and counts while processes are killed.

`CONSERVATION_EVENTS=200000 uv run pytest tests/events/test_conservation.py -m slow` runs it at full
size.
"""

import http.client
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import msgspec
import pytest

from tests.api_client import EVENTS, HttpApi
from tests.homes import wait_until
from tests.running import Serve, killed_and_started_again, on_embedded_database, query
from tests.used_homes import UsedHomes

pytestmark = [pytest.mark.slow, on_embedded_database]

TOTAL = int(os.environ.get("CONSERVATION_EVENTS", "16000"))
CLIENTS = 8
NAMES = ["start", "level_up", "purchase", "Ende/Ünï"]
UNKNOWN = "550e8400-e29b-41d4-a716-446655440000"
BAD: list[Any] = [
    "text",
    {"player_id": UNKNOWN, "event_name": "start", "event_id": "never"},
    {"player_id": "player_123", "event_name": "start"},
    {"player_id": UNKNOWN, "event_name": ""},
    {"player_id": UNKNOWN, "event_name": "start", "timestamp": "2099-01-01T00:00:00Z"},
]


@dataclass
class Client:
    """Sends events of its own players in batches, retrying each until it is acknowledged."""

    address: str
    token: str
    number: int
    players: list[str]
    total: int
    sent: int = 0
    rejected: int = 0
    retries: int = 0
    # Acknowledged events by player and id: the name first sent.
    stored: dict[tuple[str, str], str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def run(self) -> None:
        try:
            for batch, bad in self._batches():
                self._send_until_acknowledged(batch, bad)
        except Exception as error:
            self.faults.append(repr(error))
            raise

    def _batches(self) -> Iterator[tuple[list[Any], set[int]]]:
        chance = random.Random(self.number)
        made: list[dict[str, Any]] = []
        while self.sent < self.total:
            batch: list[Any] = []
            bad = set()
            for index in range(chance.randint(1, 200)):
                kind = chance.random()
                if kind < 0.05:
                    bad.add(index)
                    batch.append(chance.choice(BAD))
                elif kind < 0.15 and made:
                    batch.append(chance.choice(made))
                else:
                    event = {
                        "player_id": chance.choice(self.players),
                        "event_name": chance.choice(NAMES),
                        "event_id": f"e-{len(made)}",
                        "properties": {"n": len(made), "text": "x" * chance.randint(0, 100)},
                    }
                    made.append(event)
                    batch.append(event)
            if len(bad) < len(batch):
                yield batch, bad

    def _send_until_acknowledged(self, batch: list[Any], bad: set[int]) -> None:
        valid = [event for index, event in enumerate(batch) if index not in bad]
        new = {(event["player_id"], event["event_id"]) for event in valid} - self.stored.keys()
        tries = 0
        while (receipt := self._post(batch)) is None:
            tries += 1
            time.sleep(0.05)
        self.retries += tries
        accepted, duplicates = receipt["accepted"], receipt["duplicates"]
        if accepted + duplicates + len(receipt["rejected"]) != len(batch):
            self.faults.append(f"the sum is wrong: {receipt}")
        if {item["index"] for item in receipt["rejected"]} != bad:
            self.faults.append(f"rejected others than {bad}: {receipt['rejected']}")
        # Events stored by an attempt whose reply was lost are duplicates in the next one.
        if not (accepted == len(new) or (tries and accepted == 0)):
            self.faults.append(f"{accepted} accepted of {len(new)} new after {tries} tries")
        for event in valid:
            self.stored.setdefault((event["player_id"], event["event_id"]), event["event_name"])
        self.sent += len(batch)
        self.rejected += len(bad)

    def _post(self, batch: list[Any]) -> Any:
        """The receipt, or None if the result of the batch is unknown."""
        session = http.client.HTTPConnection(self.address, timeout=15)
        try:
            session.request(
                "POST",
                f"{EVENTS}/batch",
                msgspec.json.encode({"events": batch}),
                {"X-API-Key": self.token, "Content-Type": "application/json"},
            )
            if random.random() < 0.05:
                return None  # simulates a lost reply
            reply = session.getresponse()
            body = reply.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            session.close()
        if reply.status == 503:
            return None
        decoded = msgspec.json.decode(body)
        assert reply.status == 200, decoded
        return decoded["data"]


def test_every_event__is_accounted_for_when_processes_are_killed(used_homes: UsedHomes) -> None:
    with used_homes() as used:
        serve = Serve(used.home, "--workers", "2", printed=used.printed).ready()
        try:
            clients = make_clients(serve)
            threads = [threading.Thread(target=client.run) for client in clients]
            for thread in threads:
                thread.start()
            wait_for_share(clients, 0.2)
            serve = killed_and_started_again(serve)
            wait_for_share(clients, 0.4)
            os.kill(postmaster(serve), signal.SIGKILL)
            for share in (0.6, 0.8):
                wait_for_share(clients, share)
                serve = killed_and_started_again(serve)
            for thread in threads:
                thread.join()
            assert [fault for client in clients for fault in client.faults] == []
            assert sum(client.retries for client in clients) > 0
            compare(used.home, clients)
            serve.stop()
        finally:
            serve.clean_up()


def make_clients(serve: Serve) -> list[Client]:
    token = serve.says("live public")
    api = HttpApi(serve.address, token)
    return [
        Client(
            api.address, token, number, [api.register(f"c{number}-{n}")["id"] for n in range(3)],
            TOTAL // CLIENTS,
        )
        for number in range(CLIENTS)
    ]  # fmt: skip


def wait_for_share(clients: list[Client], share: float) -> None:
    def reached() -> bool:
        assert [fault for client in clients for fault in client.faults] == []
        return sum(client.sent for client in clients) >= share * TOTAL

    wait_until(reached, 600)


def postmaster(serve: Serve) -> int:
    return int((serve.data / "postmaster.pid").read_text().partition("\n")[0])


def compare(home: Path, clients: list[Client]) -> None:
    stored = {
        (player_id, event_id): name
        for client in clients
        for (player_id, event_id), name in client.stored.items()
    }
    rows = query(home, "SELECT player_id::text, event_id, name FROM event")
    assert len(rows) == len(stored)
    assert {(player_id, event_id): name for player_id, event_id, name in rows} == stored
    # A batch whose reply was lost stores its rejected events once per attempt.
    ((rejected,),) = query(home, "SELECT count(*) FROM event_rejected")
    assert rejected >= sum(client.rejected for client in clients)
    # The fold job was killed too and catches up.
    wait_until(
        lambda: query(home, "SELECT coalesce(sum(count), 0) FROM event_minute") == [(len(stored),)],
        60,
    )
    for unit, table in (("minute", "event_minute"), ("hour", "event_hour")):
        counted: LiteralString = f"""
            SELECT n.name, start, c.count FROM {table} c
            JOIN event_name n ON n.id = event_name_id ORDER BY 1, 2"""
        expected: LiteralString = f"""
            SELECT name, date_trunc('{unit}', received_at, 'UTC'), count(*)
            FROM event GROUP BY 1, 2 ORDER BY 1, 2"""
        assert query(home, counted) == query(home, expected)

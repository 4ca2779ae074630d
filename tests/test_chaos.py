"""Clients read and write while processes are killed and stopped in turn: no acknowledged write is
lost or doubled, every error has the envelope, and calls succeed soon after the database returns.

`CHAOS_SECONDS=300 uv run pytest tests/test_chaos.py -m alone -n 0` runs it for five minutes.
"""

import http.client
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ilara_admin.core.limits import API
from tests import processes
from tests.api_client import EVENTS, FLAGS, PLAYERS
from tests.homes import answers, postmaster, wait_until
from tests.processes import command_line, families, parents
from tests.running import Serve, on_embedded_database, query
from tests.used_homes import UsedHomes

pytestmark = [pytest.mark.alone, on_embedded_database]

SECONDS = float(os.environ.get("CHAOS_SECONDS", "30"))
CLIENTS = 8
STEADY_SECONDS = 3.0
RECOVERY_SECONDS = 5.0
STOPPED_SECONDS = 4.0
# Longer than any call may take; a call to a stopped process waits until it continues.
CALL_SECONDS = 30.0
REQUESTS = "ilara_http_request_duration_seconds_count"
AMOUNTS = ["0.99", "4.99", "19.99"]


@dataclass
class Client:
    """A game client with players of its own. It repeats a write until it is acknowledged."""

    address: str
    token: str
    number: int
    stop: threading.Event
    calls: int = 0
    answered_at: float = 0.0  # when the last call succeeded
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    # Acknowledged writes: levels by player id, and (player id, client's id) of the others.
    levels: dict[str, int] = field(default_factory=dict)
    events: set[tuple[str, str]] = field(default_factory=set)
    purchases: dict[tuple[str, str], Decimal] = field(default_factory=dict)

    def run(self) -> None:
        chance = random.Random(self.number)
        try:
            while not self.stop.is_set():
                self._act(chance, self.calls)
        except Exception as error:  # it would end the thread silently
            self.faults.append(repr(error))

    def _act(self, chance: random.Random, step: int) -> None:
        if not self.levels or chance.random() < 0.1:
            name = f"c{self.number}-{chance.randrange(20)}"
            body: Any = {"external_id": name, "attributes": {"level": step}}
            self.levels[self._acknowledged(PLAYERS, body)["id"]] = step
            return
        player = chance.choice(sorted(self.levels))
        id = f"{self.number}-{step}"
        match chance.choice(["evaluate", "track", "batch", "purchase"]):
            case "evaluate":
                found = self._acknowledged(f"{FLAGS}/new_tutorial/evaluate", {"player_id": player})
                if found["value"] is not (self.levels[player] >= 40):
                    self.faults.append(f"wrong value for level {self.levels[player]}: {found}")
            case "track":
                event = {"player_id": player, "event_name": "x", "event_id": id}
                self._acknowledged(EVENTS, event)
                self.events.add((player, id))
            case "batch":
                ids = [f"{id}-{place}" for place in range(20)]
                events = [{"player_id": player, "event_name": "x", "event_id": id} for id in ids]
                self._acknowledged(f"{EVENTS}/batch", {"events": events})
                self.events.update((player, id) for id in ids)
            case "purchase":
                amount = chance.choice(AMOUNTS)
                body = {"amount": float(amount), "transaction_id": id}
                self._acknowledged(f"{PLAYERS}/{player}/purchase", body)
                self.purchases[player, id] = Decimal(amount)

    def _acknowledged(self, path: str, body: Any) -> Any:
        """The data of the first reply that acknowledges the call."""
        self.calls += 1
        deadline = time.monotonic() + 2 * CALL_SECONDS
        while (data := self._call(path, body)) is None:
            assert time.monotonic() < deadline, f"{path} is never answered"
            time.sleep(0.05)
        self.answered_at = time.monotonic()
        return data

    def _call(self, path: str, body: Any) -> Any:
        session = http.client.HTTPConnection(self.address, timeout=CALL_SECONDS)
        headers = {"X-API-Key": self.token, "Content-Type": "application/json"}
        try:
            session.request("POST", path, msgspec.json.encode(body), headers)
            reply = session.getresponse()
            content = reply.read()
        except TimeoutError:
            self.faults.append(f"{path} took longer than {CALL_SECONDS} s")
            return None
        except (OSError, http.client.HTTPException):
            self.statuses[0] += 1  # the process was killed
            return None
        finally:
            session.close()
        self.statuses[reply.status] += 1
        decoded = msgspec.json.decode(content)
        if reply.status in (200, 201):
            return decoded["data"]
        if reply.status != 503 or decoded["error"]["code"] != "INTERNAL_ERROR":
            self.faults.append(f"{path}: {reply.status} {decoded}")
        return None


# --- What happens to the processes ----------------------------------------------------------------


def job_worker(serve: Serve) -> int:
    return _child(serve, "manage.py worker")


def web_server(serve: Serve) -> int:
    return _child(serve, "gunicorn")


def web_process(serve: Serve) -> int:
    """One of the processes that answer requests. Those of a killed web server answer for a moment
    longer, before the new ones have started: nothing else is disturbed until these answer."""
    found: list[int] = []

    def steady() -> bool:
        until = time.monotonic() + STEADY_SECONDS
        while time.monotonic() < until:
            if not is_up(serve):
                return False
            time.sleep(0.1)
        head = web_server(serve)
        found[:] = [pid for pid, parent in parents().items() if parent == head]
        return bool(found)

    wait_until(steady)
    return found[0]


def is_up(serve: Serve) -> bool:
    try:
        return serve.get("/healthz")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def _child(serve: Serve, command: str) -> int:
    found: list[int] = []

    def runs() -> bool:
        table = parents()
        found[:] = [
            pid
            for pid, parent in table.items()
            if parent == serve.process.pid and command in command_line(pid)
        ]
        return bool(found)

    wait_until(runs)
    return found[0]


def killed(which: Callable[[Serve], int]) -> Callable[[Serve], None]:
    def happens(serve: Serve) -> None:
        os.kill(which(serve), signal.SIGKILL)

    return happens


def stopped(which: Callable[[Serve], int]) -> Callable[[Serve], None]:
    def happens(serve: Serve) -> None:
        with processes.stopped([which(serve)]):
            time.sleep(STOPPED_SECONDS)

    return happens


def database_killed(serve: Serve) -> None:
    for pid in families(postmaster(serve.data)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: answers(serve.home / "postgresql" / "socket"))


def database_stopped(serve: Serve) -> None:
    with processes.stopped(families(postmaster(serve.data))):
        time.sleep(API.answer + 1)
        assert metric(serve, "ilara_database_up") == 0


def metric(serve: Serve, name: str, labels: str = "") -> float:
    """The sum of a metric over its labels that contain a text."""
    status, text = serve.get("/metrics")
    assert status == 200
    found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for labeled, value in found if labels in labeled)


# In this order the database is disturbed between the others.
DISTURBANCES: dict[str, Callable[[Serve], None]] = {
    "a web process is killed": killed(web_process),
    "PostgreSQL is killed": database_killed,
    "the job worker is killed": killed(job_worker),
    "PostgreSQL is stopped": database_stopped,
    "the web server is killed": killed(web_server),
    "a web process is stopped": stopped(web_process),
    "the job worker is stopped": stopped(job_worker),
}


def test_acknowledged_writes__survive_killed_and_stopped_processes(used_homes: UsedHomes) -> None:
    with used_homes() as used:
        serve = Serve(used.home, "--workers", "2", printed=used.printed).ready()
        stop = threading.Event()
        clients = [
            Client(serve.address.removeprefix("http://"), serve.says("live public"), number, stop)
            for number in range(CLIENTS)
        ]
        threads = [threading.Thread(target=client.run) for client in clients]
        try:
            for thread in threads:
                thread.start()
            disturb(serve, clients)
            stop.set()
            for thread in threads:
                thread.join()
            assert [fault for client in clients for fault in client.faults] == []
            compare(used.home, clients)
            serve.stop()
        finally:
            stop.set()
            serve.clean_up()


def disturb(serve: Serve, clients: list[Client]) -> None:
    """Each disturbance at least once, in turn, until the time is over."""
    until = time.monotonic() + SECONDS
    rounds = 0
    while rounds == 0 or time.monotonic() < until:
        for name, happens in DISTURBANCES.items():
            time.sleep(1)
            happens(serve)
            recovered(name, clients)
            assert not serve.ended(), serve.err
            if happens is database_stopped:
                assert metric(serve, "ilara_database_errors_total", 'kind="connection"') > 0
                assert metric(serve, REQUESTS, 'status="503"') > 0
        assert metric(serve, REQUESTS, f'route="{EVENTS}/batch"') > 0
        wait_until(lambda: metric(serve, "ilara_job_workers") > 0)
        rounds += 1


def recovered(name: str, clients: list[Client]) -> None:
    """Wait until each client has had an answer since now."""
    since = time.monotonic()

    def all_answered() -> bool:
        return all(client.answered_at > since for client in clients)

    try:
        wait_until(all_answered, RECOVERY_SECONDS)
    except AssertionError:
        late = [client.number for client in clients if client.answered_at <= since]
        raise AssertionError(
            f"{name}: no answer within {RECOVERY_SECONDS} s for clients {late}"
        ) from None


def compare(home: Path, clients: list[Client]) -> None:
    """The tables hold exactly what was acknowledged, once."""
    levels = {id: level for client in clients for id, level in client.levels.items()}
    events = {each for client in clients for each in client.events}
    purchases = {key: amount for client in clients for key, amount in client.purchases.items()}
    assert min(len(levels), len(events), len(purchases)) > CLIENTS

    rows = query(home, "SELECT player_id::text, event_id FROM event WHERE name = 'x'")
    assert len(rows) == len(events)
    assert set(rows) == events
    bought = query(home, "SELECT player_id::text, transaction_id, amount FROM purchase")
    assert len(bought) == len(purchases)
    assert {(player, id): amount for player, id, amount in bought} == purchases
    told = query(home, "SELECT player_id::text, event_id FROM event WHERE name <> 'x'")
    assert sorted(told) == sorted(purchases)
    revenue: Counter[str] = Counter()
    for (player, _), amount in purchases.items():
        revenue[player] += amount  # type: ignore[assignment]  # a Counter of decimals
    players = query(home, "SELECT id::text, (attributes->>'level')::int, total_revenue FROM player")
    assert {id: level for id, level, _ in players} == levels
    assert {id: total for id, _, total in players} == {id: revenue[id] for id in levels}

"""Ingestion compared with its limits: single events with a bare view with one INSERT and COMMIT,
batches of 500 with COPY of the same rows by psql. `uv run python -m tests.benchmarks.ingest`

Servers have one worker each and a durable PostgreSQL. Client and servers share the machine, so the
ratios are more meaningful than the rates.
"""

import csv
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import msgspec

from tests.benchmarks import database

ROUNDS = 5
CLIENTS = 8
SINGLES = 1_600
BATCHES = 40
BATCH = 500
PROPERTIES = {"level": 12, "score": 12_500, "item": "sword_01", "first": True}


def request(path: str, token: str, body: object) -> bytes:
    data = msgspec.json.encode(body)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def send(port: int, requests: list[bytes]) -> None:
    """Send the requests one after the other on a keep-alive connection."""
    with socket.create_connection(("127.0.0.1", port)) as session:
        for each in requests:
            session.sendall(each)
            reply = b""
            while b"\r\n\r\n" not in reply:
                reply += session.recv(65_536)
            assert reply.startswith((b"HTTP/1.1 201", b"HTTP/1.1 200")), reply
            head, _, body = reply.partition(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            while len(body) < length:
                body += session.recv(65_536)


def seconds[**P](act: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> float:
    started = perf_counter()
    act(*args, **kwargs)
    return perf_counter() - started


def at_once(port: int, requests: list[bytes], clients: int) -> None:
    threads = [
        threading.Thread(target=send, args=(port, requests[number::clients]))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    from django.db import connection

    from events import partitions
    from ilara_admin.runtime.postgresql import site
    from tests.benchmarks.bare import TABLE
    from tests.factories import make_environment, make_key, make_player
    from tests.running import free_port
    from tests.serving import database_url, gunicorns

    partitions.ensure()
    with connection.cursor() as cursor:
        cursor.execute(TABLE)
    environment = make_environment()
    token = make_key(environment).token
    players = [str(make_player(environment, f"p{number}").pk) for number in range(50)]

    def event(number: int) -> dict[str, object]:
        return {
            "player_id": players[number % 50],
            "event_name": "level_complete",
            "event_id": uuid.uuid4().hex,
            "properties": PROPERTIES,
        }

    port = free_port()
    bare = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "ilara_admin/runtime/gunicorn_conf.py",
         "--log-level", "warning", "tests.benchmarks.bare"],
        env={**os.environ, "DATABASE_URL": database_url(), "SECRET_KEY": "x",
             "ILARA_BIND": f"127.0.0.1:{port}", "ILARA_WORKERS": "1"},
    )  # fmt: skip
    try:
        with gunicorns(1) as (ilara,):
            singles: list[float] = []
            batches: list[float] = []
            rates: list[tuple[float, ...]] = []
            for number in range(ROUNDS + 1):
                ours = [request("/v1/events/events", token, event(n)) for n in range(SINGLES)]
                theirs = [request("/track", token, event(n)) for n in range(SINGLES)]
                least = seconds(at_once, port, theirs, CLIENTS)
                single = seconds(at_once, ilara.port, ours, CLIENTS)
                sent = [[event(n) for n in range(BATCH)] for _ in range(BATCHES)]
                bodies = [
                    request("/v1/events/events/batch", token, {"events": part}) for part in sent
                ]
                batch = seconds(at_once, ilara.port, bodies, 2)
                copied = seconds(copy, site.program("psql"), environment.pk, sent)
                if number:  # the first round warms up
                    singles.append(least / single)
                    batches.append(copied / batch)
                    events = BATCH * BATCHES
                    rates.append(
                        (SINGLES / least, SINGLES / single, events / batch, events / copied)
                    )
    finally:
        bare.terminate()
        bare.wait()
    view, single_rate, batch_rate, copy_rate = (
        statistics.median(each) for each in zip(*rates, strict=True)
    )
    print(f"single events      {single_rate:8,.0f}/s  bare view {view:8,.0f}/s")
    print(f"batches of {BATCH}     {batch_rate:8,.0f}/s  COPY      {copy_rate:8,.0f}/s")
    print(f"single events reach {statistics.median(singles):.0%} of the bare view")
    print(f"batches reach {statistics.median(batches):.0%} of COPY by psql")


def copy(psql: Path, environment_id: int, batches: list[list[dict[str, object]]]) -> None:
    """COPY the same rows, validated and in one file, into the same table with its indexes."""
    from tests.serving import database_url

    columns = "player_id, received_at, environment_id, event_id, name, properties, occurred_at"
    now = datetime.now(UTC).isoformat()
    with tempfile.NamedTemporaryFile("w", suffix=".csv", newline="") as file:
        writer = csv.writer(file)
        for batch in batches:
            for event in batch:
                properties = msgspec.json.encode(event["properties"]).decode()
                writer.writerow(
                    [event["player_id"], now, environment_id, f"c-{event['event_id']}",
                     event["event_name"], properties, now]
                )  # fmt: skip
        file.flush()
        command = f"\\copy event ({columns}) from '{file.name}' csv"
        subprocess.run([psql, "-q", database_url(), "-c", command], check=True)


if __name__ == "__main__":
    with database():
        main()

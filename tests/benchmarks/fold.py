"""How far the counts of events are behind while events arrive and all segments wait to be counted.

`uv run python -m tests.benchmarks.fold HOME [seconds] [events a second]`, on the database that
`manage.py bench pages --home HOME` has left. A web server receives the events in batches, and a
worker counts them beside the segments. Each second it looks how old the newest counted event is.
"""

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any

import msgspec

SECONDS, RATE = 60, 2_000
BATCH = 20  # events of a request
CLIENTS = 4
PLAYERS = 20_000
BEHIND = "SELECT extract(epoch FROM clock_timestamp() - min(counted_until)) FROM event_fold"
WANT = """INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock, args)
          SELECT 'default', 'segments.tasks.size_count', 'segments.tasks.size_count.' || id,
                 jsonb_build_object('segment_id', id) FROM segment
          ON CONFLICT DO NOTHING"""
WAITING = """SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'segments.tasks.size_count'
             AND status IN ('todo', 'doing')"""


def main(home: Path, seconds: int, rate: int) -> None:
    from ilara_admin.bench import servers
    from ilara_admin.core.api_keys import api_key_create
    from ilara_admin.core.audit import Actor
    from ilara_admin.models import Environment, KeyKind
    from ilara_admin.runtime import embedded_postgres

    environment = Environment.objects.get(slug="live")
    key = api_key_create(
        environment=environment, kind=KeyKind.SECRET, name="fold", actor=Actor("benchmark")
    ).token
    players = [
        str(player)
        for (player,) in rows("SELECT id FROM player ORDER BY random() LIMIT %s", PLAYERS)
    ]
    postgres = embedded_postgres.lease(home)
    with servers.ilara("gunicorn", postgres, frozenset(os.sched_getaffinity(0))) as web, worker():
        wait_until_counted()
        rows("UPDATE segment SET size_wanted_at = now() RETURNING id")
        rows(WANT + " RETURNING id")
        wanted = one(WAITING)
        started = monotonic()
        until = started + seconds
        sent = [0] * CLIENTS
        clients = [
            threading.Thread(
                target=send, args=(web.port, key, players, rate / CLIENTS, until, sent, number)
            )
            for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        behind, waiting = [], [wanted]
        while monotonic() < until:
            behind.append(float(one(BEHIND)))
            waiting.append(one(WAITING))
            sleep(1)
        for client in clients:
            client.join()
        print(f"{sum(sent):,} events in {seconds} s, {sum(sent) / seconds:,.0f} a second")
        print(f"behind: median {median(behind):.1f} s, most {max(behind):.1f} s of {len(behind)}")
        print(f"segments that wait: {wanted} at first, {waiting[-1]} at the end")
    embedded_postgres.release(home)


def send(
    port: int, key: str, players: list[str], rate: float, until: float, sent: list[int], number: int
) -> None:
    """Send batches at this rate of events a second, and count what is accepted."""
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    started, turn = monotonic(), 0
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as client:
        while monotonic() < until:
            sleep(max(0.0, started + turn * BATCH / rate - monotonic()))
            events = [
                {
                    "player_id": players[(turn * BATCH + each * CLIENTS + number) % len(players)],
                    "event_name": "level_complete",
                    "properties": {"level": each},
                }
                for each in range(BATCH)
            ]
            body = msgspec.json.encode({"events": events})
            client.request("POST", "/v1/events/events/batch", body, headers)
            response = client.getresponse()
            text = response.read()
            assert response.status < 300, text
            sent[number] += BATCH
            turn += 1


@contextmanager
def worker() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "manage.py", "worker"])
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_until_counted() -> None:
    while (behind := one(BEHIND)) is None or behind > 10:
        sleep(1)


def one(sql: str) -> Any:
    ((value,),) = rows(sql)
    return value


def rows(sql: str, *values: Any) -> list[tuple[Any, ...]]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


if __name__ == "__main__":
    home = Path(sys.argv[1])
    os.environ |= {"ILARA_HOME": str(home), "DJANGO_SETTINGS_MODULE": "ilara_admin.settings"}
    os.environ.pop("DATABASE_URL", None)
    import django

    django.setup()
    main(home, *([int(each) for each in sys.argv[2:]] or [SECONDS, RATE]))

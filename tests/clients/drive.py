"""Drives the Python client: a step on each line of stdin, its outcome on a line of stdout.

The first line defines the clients. Steps that take more than one call have a function here, with
the same name in all three drivers.
"""

import json
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "static" / "clients"))
import ilara

clients: dict[str, ilara.Ilara] = {}
rejected: list[Any] = []
streams: dict[str, "Collected"] = {}
threads: dict[str, threading.Thread] = {}


def note(event: dict[str, Any], error: ilara.IlaraError) -> None:
    rejected.append([event["event_id"], type(error).__name__, error.message, error.details])


def track_many(client: ilara.Ilara, player_id: str, prefix: str, count: int, pause: float) -> int:
    for number in range(count):
        client.track(player_id, "step", {"n": number}, event_id=f"{prefix}{number}")
        time.sleep(pause)
    return count


@dataclass
class Collected:
    """A stream read by a thread, and what it received."""

    stream: ilara.EventStream
    ids: list[str] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)
    error: ilara.IlaraError | None = None

    def run(self) -> None:
        try:
            for event in self.stream:
                self.ids.append(event["event_id"])
        except ilara.IlaraError as error:
            self.error = error


def stream_start(client: ilara.Ilara, name: str, **filters: Any) -> None:
    gaps: list[int] = []
    stream = client.stream(on_gap=gaps.append, **filters)
    collected = streams[name] = Collected(stream, gaps=gaps)
    threads[name] = threading.Thread(target=collected.run, daemon=True)
    threads[name].start()


def stream_wait(client: ilara.Ilara, name: str, count: int) -> list[str]:
    """The received ids, once there are `count` of them or after a minute."""
    collected = streams[name]
    deadline = time.monotonic() + 60
    while len(collected.ids) < count and time.monotonic() < deadline:
        if collected.error:
            raise collected.error
        time.sleep(0.02)
    return collected.ids


def stream_gaps(client: ilara.Ilara, name: str) -> list[int]:
    return streams[name].gaps


def stream_stop(client: ilara.Ilara, name: str) -> bool:
    """Whether it ended immediately."""
    streams[name].stream.close()
    threads[name].join(5)
    return not threads[name].is_alive()


def player_ids(client: ilara.Ilara, page_size: int) -> list[str]:
    return [player["external_id"] for player in client.iterate_players(page_size=page_size)]


def timed(
    client: ilara.Ilara, call: str, args: dict[str, Any], least: float, most: float
) -> tuple[Any, bool]:
    """The result, and whether it took between `least` and `most` seconds."""
    started = time.monotonic()
    result = run(client, call, args)
    return result, least <= time.monotonic() - started <= most


CONVERTED: dict[str, Any] = {
    "amount": Decimal,
    "at": datetime.fromisoformat,
    "started_at": datetime.fromisoformat,
    "timestamp": datetime.fromisoformat,
}
EXTRAS = {
    function.__name__: function
    for function in (
        track_many,
        stream_start,
        stream_wait,
        stream_gaps,
        stream_stop,
        player_ids,
        timed,
    )
}


def run(client: ilara.Ilara, call: str, args: dict[str, Any]) -> Any:
    if call == "rejected":
        return rejected[args.get("skip", 0) :]
    if call == "flush":
        return client.flush(args.get("seconds", 10))
    if call == "dropped":
        return client.dropped
    if call in EXTRAS:
        return EXTRAS[call](client, **args)
    for name, kind in CONVERTED.items():
        if name in args:
            args = {**args, name: kind(args[name])}
    return getattr(client, call)(**args)


def outcome_of(step: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": run(clients[step["as"]], step["call"], step.get("args", {}))}
    except ilara.IlaraError as error:
        fields = {"code": error.code, "status": error.status, "message": error.message}
        return {"error": {"type": type(error).__name__, "details": error.details, **fields}}


def main() -> None:
    setup = json.loads(sys.stdin.readline())
    for name, key in setup["keys"].items():
        clients[name] = ilara.Ilara(
            setup["base_url"], key, on_rejected=note, **setup["options"].get(name, {})
        )
    for line in sys.stdin:
        sys.stdout.write(f"{json.dumps(outcome_of(json.loads(line)))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Load generators: wrk, or a loop in Python where wrk is missing.

Both keep a number of connections busy, each with one request at a time. In paths and bodies,
`@new` stands for a text that no other request has, and other words with @ for one of their choices.
"""

import json
import math
import random
import re
import secrets
import selectors
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from time import perf_counter
from typing import NamedTuple

from ilara_admin.bench.summary import percentile

DRIVERS = WRK, PYTHON = "wrk", "python"
TIMEOUT_SECONDS = 30


class BenchError(Exception):
    """A measurement failed; the message is one line."""


class HttpCall(NamedTuple):
    method: str
    path: str
    body: str = ""
    headers: Mapping[str, str] = {}


type Choices = Mapping[str, Sequence[str]]  # by the word after the @


class Load(NamedTuple):
    """What a driver saw. Errors are responses with a status from 400 on and broken connections."""

    requests: int
    seconds: float
    p50: float  # milliseconds
    p99: float
    errors: int


def default_driver() -> str:
    return WRK if shutil.which(WRK) else PYTHON


def drive(
    driver: str, port: int, call: HttpCall, choices: Choices, connections: int, seconds: float
) -> Load:
    run = by_wrk if driver == WRK else by_python
    return run(port, call, choices, connections, seconds)


# --- wrk ------------------------------------------------------------------------------------------

SCRIPT = """
local choices = {%(choices)s}
local path, body, headers = [==[%(path)s]==], [==[
%(body)s]==], {%(headers)s}
local made = 0
local function value(name)
    local list = choices[name]
    if list then return list[math.random(#list)] end
    made = made + 1
    return "%(run)s" .. made
end
local function filled(text) return (text:gsub("@(%%a+)", value)) end
function request() return wrk.format("%(method)s", filled(path), headers, filled(body)) end
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format('{"requests": %%d, "microseconds": %%d, "p50": %%d, "p99": %%d, '
        .. '"errors": %%d}', summary.requests, summary.duration, latency:percentile(50),
        latency:percentile(99), errors.status + errors.connect + errors.read + errors.write))
end
"""


def by_wrk(port: int, call: HttpCall, choices: Choices, connections: int, seconds: float) -> Load:
    """wrk takes whole seconds, so it runs for at least as long."""
    script = SCRIPT % {
        "choices": ",".join(f"{name}={_table(values)}" for name, values in choices.items()),
        "headers": ",".join(f'["{name}"]="{value}"' for name, value in call.headers.items()),
        "run": secrets.token_hex(6),
        **{name: getattr(call, name) for name in ("method", "path", "body")},
    }
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = [
            *(WRK, "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{math.ceil(seconds)}s", "--timeout", f"{TIMEOUT_SECONDS}s"),
            *("--script", file.name, f"http://127.0.0.1:{port}"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = re.findall(r"\{.*\}", done.stdout)
    found = json.loads(line)
    return Load(
        found["requests"],
        found["microseconds"] / 1e6,
        found["p50"] / 1e3,
        found["p99"] / 1e3,
        found["errors"],
    )


def _table(values: Sequence[str]) -> str:
    return "{" + ",".join(f'"{each}"' for each in values) + "}"


# --- Python ---------------------------------------------------------------------------------------


def by_python(
    port: int, call: HttpCall, choices: Choices, connections: int, seconds: float
) -> Load:
    requests = requests_of(call, choices)
    times: list[float] = []
    errors = 0
    waiting: dict[socket.socket, tuple[float, bytes]] = {}
    with selectors.DefaultSelector() as selector:

        def send(session: socket.socket) -> None:
            waiting[session] = (perf_counter(), b"")
            session.sendall(next(requests))

        started = perf_counter()
        for _ in range(connections):
            session = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
            selector.register(session, selectors.EVENT_READ, session)
            send(session)
        while waiting:
            ready = selector.select(TIMEOUT_SECONDS)
            if not ready:
                raise BenchError(f"No response to {call.path} within {TIMEOUT_SECONDS} seconds.")
            for key, _ in ready:
                session = key.data
                sent_at, before = waiting[session]
                received = session.recv(1 << 20)
                reply = before + received
                if received and not is_complete(reply):
                    waiting[session] = (sent_at, reply)
                    continue
                now = perf_counter()
                times.append(1_000 * (now - sent_at))
                errors += not received or int(reply[9:12]) >= 400
                if received and now - started < seconds:
                    send(session)
                else:
                    del waiting[session]
                    selector.unregister(session)
                    session.close()
        took = perf_counter() - started
    return Load(len(times), took, percentile(times, 0.5), percentile(times, 0.99), errors)


def is_complete(reply: bytes) -> bool:
    """Whether the reply has all bytes that its Content-Length announces."""
    head, blank, body = reply.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(blank) and len(body) >= int(length[1] if length else 0)


def requests_of(call: HttpCall, choices: Choices) -> Iterator[bytes]:
    """The call with ever new placeholders, without end."""
    run = secrets.token_hex(6)
    numbers = count()

    def value(found: re.Match[str]) -> str:
        values = choices.get(found[1])
        return random.choice(values) if values else f"{run}{next(numbers)}"

    def filled(text: str) -> str:
        return re.sub("@([a-z]+)", value, text)

    while True:
        body = filled(call.body).encode()
        headers = {"Host": "127.0.0.1", "Content-Length": len(body), **call.headers}
        lines = [f"{call.method} {filled(call.path)} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        yield "\r\n".join([*lines, "", ""]).encode() + body

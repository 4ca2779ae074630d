"""A real server for the event stream, its readers, and an environment with a game."""

import http.client
import queue
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import msgspec
import psycopg
import pytest
from django.db import connection

from ilara_admin.core.api_keys import NewKey, api_key_create
from ilara_admin.core.audit import Actor
from ilara_admin.core.projects import project_create
from ilara_admin.models import Environment, KeyKind
from tests.homes import HANG_SECONDS
from tests.serving import Gunicorn, database_url, gunicorns

ACTOR = Actor("Ada")
STREAM = "/v1/events/events/stream"


# --- The server ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Server:
    process: subprocess.Popen[bytes]
    port: int
    readers: "list[Reader]" = field(default_factory=list)

    def connections(self) -> list[int]:
        """The process ids of its database connections."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = %s",
                [f"ilara-{self.port}"],
            )
            return [row[0] for row in cursor.fetchall()]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(HANG_SECONDS)

    def open(self, token: str, last_event_id: str | None = None, /, **query: str) -> "Reader":
        headers = {"X-API-Key": token} | (
            {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        )
        reader = Reader(self.port, f"{STREAM}?{urlencode(query)}", headers)
        self.readers.append(reader)
        return reader

    def close_readers(self) -> None:
        while self.readers:
            self.readers.pop().close()

    def call(self, method: str, path: str, token: str, body: Any = None) -> tuple[int, Any]:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG_SECONDS)
        try:
            text = None if body is None else msgspec.json.encode(body)
            client.request(method, path, text, {"X-API-Key": token})
            response = client.getresponse()
            return response.status, msgspec.json.decode(response.read())
        finally:
            client.close()


@contextmanager
def serving(**environ: str) -> Iterator[Server]:
    with gunicorns(1, **environ) as (running,):
        server = Server(running.process, running.port)
        try:
            yield server
        finally:
            server.close_readers()


@pytest.fixture
def server(gunicorn: Gunicorn) -> Server:
    return Server(gunicorn.process, gunicorn.port)


# --- Readers ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    """What a browser's EventSource would dispatch."""

    type: str
    data: Any
    last_event_id: str


class Reader:
    """Reads a stream in its own thread and parses it as the HTML standard specifies."""

    def __init__(self, port: int, path: str, headers: dict[str, str]) -> None:
        self.messages: queue.Queue[Message] = queue.Queue()
        self.lines: list[str] = []
        self.last_event_id = ""
        self.ended = threading.Event()
        self.reading = threading.Event()
        self.reading.set()
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_SECONDS)
        self._client.sock = self._socket = socket.socket()
        # Small, so that a reader that stops reading takes effect soon.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        self._socket.settimeout(HANG_SECONDS)
        self._socket.connect(("127.0.0.1", port))
        self._client.request("GET", path, headers=headers)
        self.response = self._client.getresponse()
        self.status = self.response.status
        self._thread = threading.Thread(target=self._read)
        if self.status == 200:
            self._thread.start()
            wait_for(lambda: self.last_event_id)

    @property
    def error(self) -> Any:
        return msgspec.json.decode(self.response.read())["error"]

    def _read(self) -> None:
        kind, data, last_event_id = "", "", ""
        with suppress(OSError, http.client.HTTPException, ValueError):
            while self.reading.wait() and (raw := self.response.readline()):
                line = raw.decode().removesuffix("\n")
                self.lines.append(line)
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "id":
                    last_event_id = value
                elif name == "event":
                    kind = value
                elif name == "data":
                    data += value
                elif not line:
                    # Only at the blank line: an incomplete frame is ignored.
                    self.last_event_id = last_event_id
                    if data:
                        decoded = msgspec.json.decode(data)
                        self.messages.put(Message(kind or "message", decoded, self.last_event_id))
                    kind = data = ""
        self.ended.set()
        # When gunicorn stops, it waits two seconds for open keep-alive connections.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def next(self) -> Message:
        return self.messages.get(timeout=HANG_SECONDS)

    def names(self, count: int) -> list[str]:
        """The names of the next `count` events."""
        return [self.next().data["event_name"] for _ in range(count)]

    def drain(self) -> list[Message]:
        found = []
        with suppress(queue.Empty):
            while True:
                found.append(self.messages.get_nowait())
        return found

    def close(self) -> None:
        self.reading.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._thread.ident:
            self._thread.join(HANG_SECONDS)
        self.response.close()
        self._client.close()


def wait_for[T](found: Callable[[], T]) -> T:
    """Poll until `found` returns a true value, and return it."""
    deadline = time.monotonic() + HANG_SECONDS
    while not (result := found()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)
    return result


# --- The environment ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Game:
    environment: Environment
    public: NewKey
    secret: NewKey
    server: Server

    def open(self, last_event_id: str | None = None, /, **query: str) -> Reader:
        return self.server.open(self.secret.token, last_event_id, **query)

    def register(self, external_id: str = "player_123") -> str:
        status, reply = self.server.call(
            "POST", "/v1/players/players", self.public.token, {"external_id": external_id}
        )
        assert status in (200, 201), reply
        player_id: str = reply["data"]["id"]
        return player_id

    def track(self, player_id: str, name: str, **fields: Any) -> Any:
        body = {"player_id": player_id, "event_name": name, **fields}
        status, reply = self.server.call("POST", "/v1/events/events", self.public.token, body)
        assert status == 201, reply
        return reply["data"]


@pytest.fixture
def game(transactional_db: None, server: Server) -> Iterator[Game]:
    yield make_game(server)
    server.close_readers()


def make_environment() -> Environment:
    slug = f"stream-{uuid.uuid4().hex[:8]}"
    return project_create(name="Streams", slug=slug, actor=ACTOR).environments.get(slug="live")


def make_game(server: Server) -> Game:
    environment = make_environment()
    public, secret = (
        api_key_create(environment=environment, kind=kind, name="Test", actor=ACTOR)
        for kind in (KeyKind.PUBLIC, KeyKind.SECRET)
    )
    return Game(environment, public, secret, server)


@contextmanager
def database_session() -> Iterator[psycopg.Connection[Any]]:
    """A separate connection to the test database. The caller commits."""
    with psycopg.connect(database_url()) as session:
        yield session


def insert(
    session: psycopg.Connection[Any], environment: Environment, *names: str, size: int = 0
) -> list[int]:
    """Store events with plain SQL, each with `size` bytes of properties; returns their ids."""
    rows = session.execute(
        """INSERT INTO event (player_id, received_at, environment_id, event_id, name, properties,
                              occurred_at)
           SELECT gen_random_uuid(), statement_timestamp(), %s, gen_random_uuid()::text, name,
                  jsonb_build_object('text', repeat('x', %s)), statement_timestamp()
           FROM unnest(%s::text[]) AS name RETURNING id""",
        [environment.pk, size, list(names)],
    )
    return [row[0] for row in rows]

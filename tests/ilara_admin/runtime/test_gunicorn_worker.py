"""The web server with slow and silent clients, keep-alive, stop and reload."""

import http.client
import json
import resource
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest
from django.conf import settings

from ilara_admin.runtime.connection import PATIENCE_SECONDS
from ilara_admin.runtime.supervisor import ending_with_parent
from tests.api_client import FLAGS
from tests.factories import make_environment, make_key, make_player
from tests.homes import HANG_SECONDS, wait_until
from tests.running import free_port
from tests.serving import gunicorns

pytestmark = pytest.mark.slow

SLOW, SILENT = 200, 1_000
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /v1/x HTTP/1.1\r\nHost: h\r\n"


class Server:
    """The settings of production with the echo application and few threads."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "-c", "ilara_admin/runtime/gunicorn_conf.py"),
                *("--bind", f"127.0.0.1:{self.port}", "--workers", "1", "--threads", "4"),
                *(*options, "--log-level", "warning", "tests.ilara_admin.runtime.echo"),
            ],
            cwd=settings.BASE_DIR,
            preexec_fn=ending_with_parent(),
        )
        wait_until(self.listens)

    def listens(self) -> bool:
        with suppress(OSError), self.connect():
            return True
        return False

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=HANG_SECONDS)

    def client(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG_SECONDS)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(HANG_SECONDS)


@contextmanager
def serving(*options: str) -> Iterator[Server]:
    server = Server(*options)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def ask(client: http.client.HTTPConnection, body: bytes = b"", path: str = "/") -> bytes:
    client.request("POST", path, body)
    response = client.getresponse()
    assert response.status == 200
    return response.read()


def received(channel: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    return b"".join(iter(lambda: channel.recv(65_536), b""))


# --- Slow and silent clients ----------------------------------------------------------------------


@pytest.fixture
def many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Drips:
    """Clients that send a byte a second each, and connect again when they are refused."""

    def __init__(self, port: int, text: bytes, number: int) -> None:
        self.port, self.text, self.number = port, text, number
        self.refusals: list[bytes] = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self) -> "Drips":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.thread.join()

    def run(self) -> None:
        with ExitStack() as stack, selectors.DefaultSelector() as refused:
            sent: dict[socket.socket, int] = {}
            while not self.stopping.wait(1):
                for key, _ in refused.select(0):
                    channel = key.fileobj
                    assert isinstance(channel, socket.socket)
                    self.refusals.append(received(channel))
                    refused.unregister(channel)
                    del sent[channel]
                    channel.close()
                while len(sent) < self.number:
                    address = ("127.0.0.1", self.port)
                    channel = stack.enter_context(socket.create_connection(address))
                    refused.register(channel, selectors.EVENT_READ)
                    sent[channel] = 0
                for channel, position in sent.items():
                    channel.send(self.text[position : position + 1])
                    sent[channel] += 1


@pytest.mark.django_db(transaction=True)
def test_slow_and_silent_clients__delay_nobody(many_files: None) -> None:
    environment = make_environment()
    key, player = make_key(environment), make_player(environment)
    head = POST + b"X-Long: " + b"x" * 100 + b"\r\n"
    body = POST + b"Content-Length: 1000\r\n\r\n"
    with gunicorns(1) as (server,), ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        for _ in range(SILENT):
            stack.enter_context(socket.create_connection(address))
        for _ in range(SLOW // 2):  # the head has arrived, the body has not
            stack.enter_context(socket.create_connection(address)).sendall(body)
        drips = stack.enter_context(Drips(server.port, head, SLOW // 2))
        api = server.api(key.token)
        ask_for: dict[str, Callable[[], int]] = {
            "health": lambda: api.get("/healthz").status,
            "evaluation": lambda: (
                api.post(f"{FLAGS}/new_tutorial/evaluate", {"player_id": str(player.id)}).status
            ),
        }
        end = time.monotonic() + PATIENCE_SECONDS + 4
        while time.monotonic() < end:
            for name, call in ask_for.items():
                start = time.monotonic()
                assert call() == 200
                assert time.monotonic() - start < 1, name
            time.sleep(0.2)
    assert len(drips.refusals) >= SLOW // 2
    for refusal in drips.refusals:
        head, _, body = refusal.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert json.loads(body)["error"]["code"] == "VALIDATION_ERROR"


def test_silent_client__is_dropped_after_a_time() -> None:
    with serving("--keep-alive", "1") as server, server.connect() as silent:
        assert received(silent) == b""


def test_more_clients_than_connections__drop_the_most_silent(many_files: None) -> None:
    with serving("--worker-connections", "20") as server, ExitStack() as stack:
        upload = stack.enter_context(server.connect())
        upload.sendall(POST + b"Content-Length: 41\r\n\r\n")
        silent = []
        for _ in range(40):
            silent.append(stack.enter_context(server.connect()))
            with closing(server.client()) as client:
                assert ask(client, b"a") == b"a"  # all before it are accepted
            upload.sendall(b"x")
        assert received(silent[0]) == b""
        silent[-1].sendall(GET)
        assert silent[-1].recv(100).startswith(b"HTTP/1.1 200 ")
        upload.sendall(b"x")
        assert upload.recv(100).startswith(b"HTTP/1.1 200 ")


# --- Requests on one connection -------------------------------------------------------------------


def test_kept_connection__answers_each_request(server: Server) -> None:
    with closing(server.client()) as client:
        for body in (b"a", b"b" * 300_000, b"", b"c"):
            assert ask(client, body) == body
        channel = client.sock
        time.sleep(0.1)  # back in the main loop
        assert ask(client, b"d") == b"d"
        assert client.sock is channel


def test_head_and_body__arrive_in_one_packet(server: Server) -> None:
    with server.connect() as channel:
        for _ in range(20):
            channel.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
            assert channel.recv(65_536).endswith(b"\r\n\r\nabc")


def test_head_without_a_body__does_not_wait_for_one(server: Server) -> None:
    """The kernel would keep it for 0.2 seconds."""
    with closing(server.client()) as client:
        started = time.monotonic()
        for _ in range(50):
            client.request("HEAD", "/")
            response = client.getresponse()
            assert (response.status, response.read()) == (200, b"")
        assert time.monotonic() - started < 5


def test_chunked_body__is_read(server: Server) -> None:
    with closing(server.client()) as client:
        for _ in range(3):
            client.request("POST", "/", iter([b"ab", b"c" * 100_000]), encode_chunked=True)
            assert client.getresponse().read() == b"ab" + b"c" * 100_000


def test_pipelined_requests__are_answered_in_order(server: Server) -> None:
    texts = [
        POST + b"Content-Length: 2\r\n\r\n%02d" % number
        if number % 2
        else POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n%02d\r\n0\r\n\r\n" % number
        for number in range(50)
    ]
    with server.connect() as channel:
        channel.sendall(b"".join(texts))
        channel.shutdown(socket.SHUT_WR)
        replies = received(channel).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [int(reply[-2:]) for reply in replies] == list(range(50))


def test_expectation__is_met(server: Server) -> None:
    with server.connect() as channel:
        channel.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        assert channel.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        channel.sendall(b"a")
        assert channel.recv(1_000).startswith(b"HTTP/1.1 200 OK\r\n")


def test_upload_above_the_limit__gets_the_envelope_before_it_is_sent(server: Server) -> None:
    with server.connect() as channel:
        channel.sendall(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n")
        channel.sendall(b"x" * 1_000_000)
        head, _, body = channel.recv(10_000).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert json.loads(body)["success"] is False


def test_error_in_the_middle_of_a_response__closes_only_its_connection(server: Server) -> None:
    with closing(server.client()) as client:
        assert ask(client, b"a") == b"a"
        with server.connect() as broken:
            broken.sendall(b"GET /broken HTTP/1.1\r\nHost: h\r\n\r\n")
            broken.shutdown(socket.SHUT_WR)
            assert received(broken).startswith(b"HTTP/1.1 200 ")
        time.sleep(0.2)  # past what would end the main loop
        assert ask(client, b"b") == b"b"
        assert client.sock


# --- Stop and reload ------------------------------------------------------------------------------


def test_stop__answers_what_was_sent() -> None:
    with serving() as server, closing(server.client()) as busy, closing(server.client()) as idle:
        assert ask(idle, b"a") == b"a"
        busy.request("POST", "/?1", b"b")
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        idle.request("POST", "/", b"c")
        response = idle.getresponse()
        assert (response.read(), response.getheader("Connection")) == (b"c", "close")
        assert busy.getresponse().read() == b"b"
        assert server.process.wait(8) == 0


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "new connections"])
def test_reload__fails_no_request(keep: bool) -> None:
    with serving("--workers", "2") as server:
        end = time.monotonic() + 4

        def asks(client: http.client.HTTPConnection) -> int:
            number = 0
            with closing(client):
                while time.monotonic() < end:
                    assert ask(client, b"a") == b"a"
                    number += 1
                    if not keep:
                        client.close()
            return number

        with ThreadPoolExecutor(6) as pool:
            done = pool.map(asks, [server.client() for _ in range(6)])
            for _ in range(2):
                time.sleep(1)
                server.process.send_signal(signal.SIGHUP)
            assert all(number > 20 for number in done)

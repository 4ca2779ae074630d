"""When a request that arrives in pieces is ready to be answered."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from selectors import DefaultSelector
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import LimitRequestHeaders, ParseException

from ilara_admin.api.bodies import MAX_BODY_BYTES
from ilara_admin.runtime import connection
from ilara_admin.runtime.connection import ClientSocket, Connection
from ilara_admin.runtime.gunicorn_worker import RequestWorker
from segments.lists.forms import MAX_UPLOAD_BYTES

POST = b"POST /v1/x HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
UPLOAD = b"POST /a/live/segments/ HTTP/1.1\r\nHost: h\r\n"


class Client:
    """Sends to a connection through a real socket."""

    def __init__(self) -> None:
        self.socket, server = socket.socketpair()
        sock = ClientSocket(fileno=server.detach())
        self.connection = Connection(Config(), sock, ("127.0.0.1", 1), ("127.0.0.1", 2))
        self.socket.settimeout(5)

    def send(self, data: bytes) -> bool:
        """Whether the request is ready after these bytes."""
        ready = False
        for start in range(0, len(data), 50_000):
            self.socket.sendall(data[start : start + 50_000])
            ready = self.connection.receive()
        return ready

    def answer(self) -> bytes:
        """Do what a thread does with a request that is ready; the body that the application reads.
        Raises gunicorn's error."""
        request: Any = next(self.connection.parser)
        body: bytes = request.body.read()
        assert self.connection.parser.finish_body()
        return body


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.socket.close()
    client.connection.sock.close()


REQUESTS = {
    "no body": (b"GET /v1/x HTTP/1.1\r\nHost: h\r\n\r\n", b""),
    "no headers": (b"GET / HTTP/1.1\r\n\r\n", b""),
    "leading empty line": (b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", b""),
    "length": (POST + b"Content-Length: 5\r\n\r\na\n\nbc", b"a\n\nbc"),
    "empty body": (POST + b"Content-Length: 0\r\n\r\n", b""),
    "chunks": (CHUNKED + b"3\r\na\r\n\r\n0A;x=y\r\n0123456789\r\n0\r\n\r\n", b"a\r\n0123456789"),
    "no chunk": (CHUNKED + b"0\r\n\r\n", b""),
    "trailers": (CHUNKED + b"1\r\na\r\n000\r\nA: b\r\nC: d\r\n\r\n", b"a"),
}


@pytest.mark.parametrize(("text", "body"), REQUESTS.values(), ids=REQUESTS)
def test_request__is_ready_at_its_last_byte(text: bytes, body: bytes, client: Client) -> None:
    for number, byte in enumerate(text, 1):
        assert client.send(bytes([byte])) == (number == len(text)), text[:number]
    assert client.answer() == body
    assert client.connection.idle


def test_pipelined_requests__are_ready_one_after_the_other(client: Client) -> None:
    assert client.send(b"".join(text for text, _ in REQUESTS.values()) + b"GET / HT")
    for _, body in REQUESTS.values():
        assert client.connection.is_ready()
        assert client.answer() == body
    assert not client.connection.is_ready()
    assert client.send(b"TP/1.1\r\nHost: h\r\n\r\n")


def test_body_that_the_application_did_not_read__is_no_request(client: Client) -> None:
    assert client.send(POST + b"Content-Length: 200000\r\n\r\n" + b"x" * 200_000)
    next(client.connection.parser)
    assert client.connection.parser.finish_body()
    assert client.connection.idle
    assert client.send(REQUESTS["chunks"][0])
    assert client.answer() == REQUESTS["chunks"][1]


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\nHost: h\n",
        b"nonsense\r\n\r\n",
        POST + b"Content-Length: x\r\n\r\n",
        POST + b"Transfer-Encoding: br\r\n\r\n",
        CHUNKED + b"x\r\n",
        CHUNKED + b"\r\n",
        CHUNKED + b"1\r\nab\r\n-",
        CHUNKED + b"1;" + b"x" * 70_000,
        CHUNKED + b"0\r\na: " + b"x" * 70_000,
    ],
)
def test_invalid_http__is_ready_at_once(text: bytes, client: Client) -> None:
    assert client.send(text + (b"\r\n" if text.endswith(b"-") else b""))
    with pytest.raises((ParseException, OSError)):
        client.answer()


def test_long_head__is_refused(client: Client) -> None:
    assert not client.send(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000)
    assert client.send(b"A: b\r\n" * 1_000)
    with pytest.raises(LimitRequestHeaders):
        client.answer()


def test_limits__are_those_of_the_application() -> None:
    assert connection.API_BYTES == MAX_BODY_BYTES
    assert connection.UPLOAD_BYTES > MAX_UPLOAD_BYTES


@pytest.mark.parametrize(("excess", "ready"), [(0, False), (1, True)])
def test_api_body_above_its_limit__is_ready_without_it(
    excess: int, ready: bool, client: Client
) -> None:
    head = POST + b"Content-Length: %d\r\n\r\n" % (connection.API_BYTES + excess)
    assert client.send(head) == ready
    assert not client.connection.refused
    if ready:
        assert client.connection.request.should_close()


def test_api_body_in_chunks_above_its_limit__is_ready_before_its_end(client: Client) -> None:
    chunk = b"100\r\n" + b"x" * 256 + b"\r\n"
    assert not client.send(CHUNKED + chunk * (connection.API_CHUNKED_BYTES // len(chunk)))
    assert client.send(chunk)
    assert client.connection.request.should_close()
    read = client.connection.request.body.read(connection.API_BYTES + 1)
    assert len(read) > connection.API_BYTES


def test_upload__is_received_up_to_its_limit(client: Client) -> None:
    assert not client.send(UPLOAD + b"Content-Length: %d\r\n\r\n" % connection.UPLOAD_BYTES)
    assert not client.send(b"x" * 2_000_000)
    assert not client.connection.refused


def test_upload_above_its_limit__is_refused(client: Client) -> None:
    assert client.send(UPLOAD + b"Content-Length: %d\r\n\r\n" % (connection.UPLOAD_BYTES + 1))
    assert client.connection.refused


def test_expectation__is_answered_when_the_body_is_awaited(client: Client) -> None:
    head = POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    assert not client.send(head)
    assert client.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert not client.send(b"a")
    assert client.send(b"b")
    client.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.socket.recv(100)
    assert client.answer() == b"ab"


def test_body_that_ends_early__reaches_the_application(client: Client) -> None:
    assert not client.send(POST + b"Content-Length: 5\r\n\r\nabc")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.connection.receive()
    assert client.connection.request.body.read() == b"abc"
    assert client.connection.request.should_close()


def test_client_that_leaves__is_an_error(client: Client) -> None:
    assert not client.send(b"GET / HT")
    client.socket.close()
    with pytest.raises(ConnectionResetError):
        client.connection.receive()


def test_deadline__allows_for_bytes_that_arrived(client: Client) -> None:
    def remaining() -> float:
        return client.connection.deadline - time.monotonic()

    client.send(POST)
    assert remaining() == pytest.approx(10, abs=0.1)
    client.connection.deadline -= 5
    client.send(b"Content-Length: 100000\r\n\r\n" + b"x" * 20_000)
    assert remaining() == pytest.approx(25, abs=0.1)


def test_idle_connection__waits_for_the_keepalive_time(client: Client) -> None:
    worker = RequestWorker(1, 1, [], None, 30, Config(), None)
    with closing(worker.tmp), DefaultSelector() as worker.poller:
        worker.wait(client.connection)
        now = time.monotonic()
        assert client.connection.deadline - now == pytest.approx(Config().keepalive, abs=0.1)


@pytest.mark.parametrize("digit", [b"0", b"1"])
def test_long_size_of_a_chunk__is_searched_in_linear_time(digit: bytes, client: Client) -> None:
    started = time.thread_time()
    assert client.send(CHUNKED + digit * 70_000)
    assert time.thread_time() - started < 1


def test_client_that_takes_a_response_slowly__is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SEND_SECONDS", 0.3)
    reader, server = socket.socketpair()
    with closing(reader), closing(ClientSocket(fileno=server.detach())) as sender:
        stop = threading.Event()

        def read_slowly() -> None:
            while not stop.wait(0.02):
                reader.recv(4_096)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(read_slowly)
            try:
                with pytest.raises(TimeoutError):
                    sender.sendall(bytes(50_000_000))
            finally:
                stop.set()
        assert sender.gettimeout() is None

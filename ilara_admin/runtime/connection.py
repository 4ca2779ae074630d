"""A connection to the web server, and what has arrived on it of the next request.

gunicorn parses. This decides when it can do so without waiting for the client.
"""

import re
import time
from contextlib import suppress
from socket import socket
from typing import Any

from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import LimitRequestHeaders, NoMoreData
from gunicorn.http.parser import RequestParser
from gunicorn.workers.gthread import TConn

# A request must arrive within 10 seconds, and one more for each 1,000 bytes.
PATIENCE_SECONDS, BYTES_PER_SECOND = 10, 1_000
LINGER_SECONDS = 2  # for the client to close after the last response
RECEIVE_BYTES = 64 * 1024
PIECE_BYTES = 8 * 1024  # gunicorn copies a piece for each chunk in it
HEAD_BYTES = 64 * 1024
# The API refuses a body beyond 1 MiB without reading it, but one in chunks only after reading so
# much. The rest is for what surrounds the chunks.
API_BYTES, API_CHUNKED_BYTES = 1024 * 1024, 2 * 1024 * 1024
API_PREFIXES = ("/v1/", "/ofrep/")
UPLOAD_BYTES = 65 * 1024 * 1024  # the largest file that a page accepts, and its form

_head_end = re.compile(rb"\r\n\r\n|(?<!\r)\n")  # gunicorn refuses LF alone
_chunk_size = re.compile(rb"[0-9a-fA-F]+")


class Parser(RequestParser):  # type: ignore[misc]  # gunicorn is not typed
    """gunicorn's parser, for bytes that have arrived."""

    error: Exception | None = None

    def parse_head(self, data: bytearray) -> None:
        self.unreader.unread(data)
        try:
            super().__next__()
        except NoMoreData as error:
            self.error = LimitRequestHeaders("the head") if len(data) > HEAD_BYTES else error
        except Exception as error:
            self.error = error

    def __next__(self) -> Any:
        """For gthread, in a thread: the request, or an error that it answers."""
        if self.error:
            raise self.error
        return self.mesg

    def finish_body(self, deadline: float | None = None, max_bytes: int | None = None) -> bool:
        return bool(super().finish_body())  # without limits: the rest is in memory

    def take_rest(self) -> bytearray:
        """What gunicorn has not read."""
        return bytearray(b"".join((self.unreader.take_buffered(), *(self.unreader.iter or ()))))


class Connection(TConn):  # type: ignore[misc]  # gunicorn is not typed
    """It belongs to the main loop or to one thread at a time."""

    def __init__(self, cfg: Any, sock: socket, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        self.initialized = self.data_ready = True  # gthread need not wait for anything
        self.parser = Parser(cfg, (), client)
        self.received = bytearray()  # of the head; when that is parsed, of the body
        self.scanned = 0  # where the search in `received` continues
        self.since = time.monotonic()
        self.parsed = self.complete = self.refused = self.lingering = False

    @property
    def idle(self) -> bool:
        return not (self.received or self.parsed or self.lingering)

    def deadline(self) -> float:
        if self.lingering:
            return self.since + LINGER_SECONDS
        if self.idle:
            return float(self.since + self.cfg.keepalive)
        return self.since + PATIENCE_SECONDS + len(self.received) / BYTES_PER_SECOND

    def receive(self) -> bool:
        """Receive what is there; `is_ready`. Raises OSError if the client has gone."""
        piece = self.sock.recv(RECEIVE_BYTES)
        if self.lingering and piece:
            return False
        if not piece and (self.lingering or not self.parsed):
            raise ConnectionResetError
        if not piece:
            return True  # the application refuses a body that ends early
        if self.idle:
            self.since = time.monotonic()
        self.received += piece
        return self.is_ready()

    def receive_within(self, seconds: float) -> bool:
        """In a thread: whether another request is ready by then."""
        try:
            if not self.is_ready():
                self.sock.settimeout(seconds)
                return self.receive() and not self.refused
        except OSError:  # also when it is late: the main loop goes on
            return False
        return not self.refused

    def is_ready(self) -> bool:
        """Whether the request can be answered: it has arrived, is too large, or is not HTTP."""
        if not self.parsed:
            if not _head_end.search(self.received, self.scanned):
                self.scanned = max(len(self.received) - 3, 0)
                if len(self.received) <= HEAD_BYTES:
                    return False
            self.parser.parse_head(self.received)
            self.received, self.scanned, self.parsed = self.parser.take_rest(), 0, True
        if self.parser.error:
            return True
        request, size, limit = self.parser.mesg, len(self.received), UPLOAD_BYTES
        api = request.path.startswith(API_PREFIXES)
        if isinstance(request.body.reader, ChunkedReader):
            self.complete = self.last_chunk_has_arrived()
            limit = API_CHUNKED_BYTES if api else UPLOAD_BYTES
        else:
            self.complete = size >= request.body.reader.length
            size, limit = request.body.reader.length, API_BYTES if api else UPLOAD_BYTES
        self.refused = size > limit and not api
        if self.complete or size > limit:
            return True
        if request._expected_100_continue:
            request._expected_100_continue = False
            with suppress(OSError):
                self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return False

    def last_chunk_has_arrived(self) -> bool:
        """Also True for what gunicorn refuses."""
        data = self.received
        while (end := data.find(b"\r\n", self.scanned)) >= 0:
            size = _chunk_size.match(data, self.scanned, end)
            if not size:
                return True
            if not int(size[0], 16):  # trailers may follow
                over = len(data) > end + HEAD_BYTES
                return over or data.find(b"\r\n\r\n", end) >= 0
            following = end + len(b"\r\n") + int(size[0], 16) + len(b"\r\n")
            if following > len(data):
                return False
            self.scanned = following
        return len(data) > self.scanned + HEAD_BYTES

    def hand_over(self) -> None:
        """Let gunicorn read the body."""
        data, self.received = self.received, bytearray()
        self.parser.unreader.iter = (
            bytes(data[start : start + PIECE_BYTES]) for start in range(0, len(data), PIECE_BYTES)
        )
        if not (self.complete or self.parser.error):
            self.parser.mesg.force_close()

    def start_next(self) -> None:
        self.received, self.scanned = self.parser.take_rest(), 0
        self.parsed = self.complete = False

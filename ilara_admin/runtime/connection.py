"""A connection to the web server, and what has arrived on it of the next request.

gunicorn parses. This decides when it can do so without waiting for the client.
"""

import re
import socket as socket_module
import time
from collections.abc import Buffer
from contextlib import suppress
from socket import IPPROTO_TCP, MSG_DONTWAIT, TCP_NODELAY, socket
from typing import Any

from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import LimitRequestHeaders, NoMoreData
from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader

from ilara_admin.core.route_template import API_PREFIXES

# macOS has none: a head leaves at once.
MSG_MORE: int = getattr(socket_module, "MSG_MORE", 0)
# A request must arrive within 10 seconds, and one more for each 1,000 bytes.
PATIENCE_SECONDS, BYTES_PER_SECOND = 10, 1_000
RECEIVE_BYTES = 64 * 1024
PIECE_BYTES = 8 * 1024  # gunicorn copies a piece for each chunk in it
HEAD_BYTES = 64 * 1024
# The API refuses a body beyond 1 MiB without reading it, but one in chunks only after reading so
# much. The rest is for what surrounds the chunks.
API_BYTES, API_CHUNKED_BYTES = 1024 * 1024, 2 * 1024 * 1024
SEND_SECONDS = 120  # for a client to take a response, or a piece of it
SMALL_BYTES = 16 * 1024  # fits into the kernel's buffer
UPLOAD_BYTES = 65 * 1024 * 1024  # the largest file that a page accepts, and its form

_head_end = re.compile(rb"\r\n\r\n|(?<!\r)\n")  # gunicorn refuses LF alone
# Possessive: a long line without an end takes linear time.
_chunk_head = re.compile(rb"([0-9a-fA-F]++)[^\r\n]*+\r\n")


class ClientSocket(socket):
    """Limits the time that a client has to take a response. The head of a response leaves with the
    beginning of its body, in one packet."""

    holds_head = False

    def sendall(self, data: Buffer, flags: int = 0, /) -> None:
        size = memoryview(data).nbytes
        if not size:  # it would not let go of a head
            return None
        is_head = isinstance(data, bytes) and data[:7] == b"HTTP/1." and data[-4:] == b"\r\n\r\n"
        self.holds_head = is_head
        flags |= MSG_MORE * is_head
        # Python's timeout takes two more system calls. The kernel's limits each part of the data.
        if size <= SMALL_BYTES or self.gettimeout() is not None:
            return super().sendall(data, flags)
        self.settimeout(SEND_SECONDS)
        try:
            super().sendall(data, flags)
        finally:
            self.settimeout(None)

    def end_response(self) -> None:
        """Let go of a head without a body."""
        if self.holds_head:
            self.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)


class ClientRequest(Request):  # type: ignore[misc]  # gunicorn is not typed
    def _peer_is_trusted_proxy(self) -> bool:
        """gunicorn would parse the client's address for each request."""
        conn = self.unreader
        if conn.is_trusted_proxy is None:
            conn.is_trusted_proxy = super()._peer_is_trusted_proxy()
        return bool(conn.is_trusted_proxy)


class Connection(Unreader):  # type: ignore[misc]  # gunicorn is not typed
    """gunicorn reads requests from here. For gthread, it is a connection and its parser in one.

    It belongs to the main loop or to one thread at a time.
    """

    initialized, is_http2 = True, False  # gthread need not wait for anything

    def __init__(self, cfg: Any, sock: ClientSocket, client: Any, server: Any) -> None:
        super().__init__()
        self.cfg, self.sock, self.client, self.server = cfg, sock, client, server
        self.received = bytearray()  # of the head; when that is parsed, of the body
        self.scanned = 0  # where the search in `received` continues
        self.request: Any = None  # gunicorn's, or the error that it answers
        self.refused = self.lingering = False
        self.is_trusted_proxy: bool | None = None
        self.deadline = 0.0  # of time.monotonic()

    @property
    def idle(self) -> bool:
        return not (self.received or self.request or self.lingering)

    def receive(self, flags: int = 0) -> bool:
        """Receive what is there; `is_ready`. Raises OSError if the client has gone."""
        piece = self.sock.recv(RECEIVE_BYTES, flags)
        if not piece and (self.lingering or not self.request):
            raise ConnectionResetError
        if self.lingering:
            return False
        if not piece:
            self.request.force_close()  # the application refuses a body that ends early
            return True
        if self.idle:
            self.deadline = time.monotonic() + PATIENCE_SECONDS
        self.deadline += len(piece) / BYTES_PER_SECOND
        self.received += piece
        return self.is_ready()

    def is_ready(self) -> bool:
        """Whether the request can be answered: it has arrived, is too large, or is not HTTP."""
        if not self.request and not self.parse_head():
            return False
        if isinstance(self.request, Exception):
            return True
        reader, api = self.request.body.reader, self.request.path.startswith(API_PREFIXES)
        if chunked := isinstance(reader, ChunkedReader):
            size, complete = len(self.received), self.last_chunk_has_arrived()
        else:
            size, complete = reader.length, len(self.received) >= reader.length
        limit = UPLOAD_BYTES if not api else API_CHUNKED_BYTES if chunked else API_BYTES
        if size > limit:
            self.refused = not api
            if not complete:
                self.request.force_close()
            return True
        if not complete and self.request._expected_100_continue:
            self.request._expected_100_continue = False
            with suppress(OSError):
                self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n", MSG_DONTWAIT)
        return complete

    def parse_head(self) -> bool:
        """Whether there is a head, or as much as no head may have."""
        is_long = len(self.received) > HEAD_BYTES
        if not is_long and not _head_end.search(self.received, self.scanned):
            self.scanned = max(len(self.received) - 3, 0)
            return False
        try:
            self.request = ClientRequest(self.cfg, self, self.client)
        except NoMoreData as error:
            self.request = LimitRequestHeaders("the head") if is_long else error
        except Exception as error:
            self.request = error
        self.take_back()
        return True

    def last_chunk_has_arrived(self) -> bool:
        """Also True for what gunicorn refuses."""
        data = self.received
        while (head := _chunk_head.match(data, self.scanned)) and (size := int(head[1], 16)):
            if head.end() + size + len(b"\r\n") > len(data):
                return False
            self.scanned = head.end() + size + len(b"\r\n")
        end = b"\r\n\r\n" if head else b"\r\n"  # of the trailers, or of what is no chunk
        return data.find(end, self.scanned) >= 0 or len(data) > self.scanned + HEAD_BYTES

    # --- What gunicorn calls --------------------------------------------------------------------

    @property
    def parser(self) -> "Connection":
        return self

    def init(self) -> None:
        pass

    def __next__(self) -> Any:
        """In a thread: the request. Raises the error that gunicorn answers."""
        if isinstance(self.request, Exception):
            raise self.request
        return self.request

    def chunk(self, size_hint: int | None = None) -> bytes:
        """A piece of what has arrived, or b"" at its end."""
        piece = bytes(self.received[:PIECE_BYTES])
        del self.received[:PIECE_BYTES]
        return piece

    def finish_body(self, deadline: float | None = None) -> bool:
        """After the response: whether the next request can follow."""
        body, self.request = self.request.body, None
        while body.read(PIECE_BYTES):
            pass
        self.take_back()
        return not body.failed

    def take_back(self) -> None:
        """Put what gunicorn has read ahead before the rest."""
        self.received[:0], self.scanned = self.take_buffered(), 0

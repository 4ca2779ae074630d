"""The gunicorn worker: a main loop receives requests, and threads answer those that are complete.

gunicorn's gthread waits in its main loop for the first byte only. From there on, a client that
sends slowly occupies a thread. Here a request takes a thread when its head and its body have
arrived. TLS and HTTP/2 belong to a proxy.
"""

import struct
import time
from collections import deque
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ
from socket import MSG_DONTWAIT, SHUT_WR, SO_RCVTIMEO, SO_SNDTIMEO, SOL_SOCKET, socket
from typing import Any

from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from ilara_admin.runtime.connection import PATIENCE_SECONDS, SEND_SECONDS, ClientSocket, Connection
from ilara_admin.runtime.protocol_errors import write_error

BUFFERED_BYTES = 256 * 1024 * 1024  # of all incomplete requests; beyond, the largest are dropped
SWEEP_SECONDS = 0.5
# A thread waits so long for the next request on its connection while no other request needs a
# thread: passing the connection to the main loop and back costs more.
NEXT_TIME = struct.pack("@ll", 0, 5_000)  # seconds and microseconds
SEND_TIME = struct.pack("@ll", SEND_SECONDS, 0)


class RequestWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn is not typed
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waiting: dict[Connection, None] = {}  # for bytes; the most silent first
        self.ready: deque[Connection] = deque()  # for a thread
        self.next_sweep = 0.0

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        if cfg.is_ssl:
            raise RuntimeError(
                "Ilara's web server does not support TLS: put a proxy in front of it."
            )

    # --- The main loop --------------------------------------------------------------------------

    def accept(self, listener: socket) -> None:
        try:
            accepted, address = listener.accept()
        except OSError:
            return  # another process was faster, or the client has gone
        sock = ClientSocket(fileno=accepted.detach())
        # For threads. Timeouts of Python would take two more system calls to receive and to send.
        sock.setsockopt(SOL_SOCKET, SO_RCVTIMEO, NEXT_TIME)
        sock.setsockopt(SOL_SOCKET, SO_SNDTIMEO, SEND_TIME)
        self.nr_conns += 1
        self.wait(Connection(self.cfg, sock, address, listener.getsockname()))
        if self.nr_conns >= self.worker_connections:
            most_silent, *_ = self.all_waiting()
            self.drop(most_silent)

    def wait(self, conn: Connection) -> None:
        seconds = self.cfg.keepalive if conn.idle else PATIENCE_SECONDS
        if conn.lingering or (conn.idle and not self.alive):
            seconds = STOP_KEEPALIVE_LINGER
        conn.deadline = time.monotonic() + seconds
        # In this order: a thread may run this, and the main loop drops only what is registered.
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_readable, conn))
        self.waiting[conn] = None

    def all_waiting(self) -> list[Connection]:
        """A copy, as threads add to `waiting` at any time."""
        return list(self.waiting)

    def stop_waiting(self, conn: Connection) -> None:
        del self.waiting[conn]
        self.poller.unregister(conn.sock)

    def on_readable(self, conn: Connection, _sock: socket) -> None:
        if conn not in self.waiting:
            return  # dropped in the same round of events, or about to wait
        try:
            if conn.receive(MSG_DONTWAIT):
                self.stop_waiting(conn)
                self.enqueue_req(conn)
            else:
                self.waiting[conn] = self.waiting.pop(conn)  # for the order
        except BlockingIOError:
            pass
        except OSError:
            self.drop(conn)

    def enqueue_req(self, conn: Connection) -> None:
        self.ready.append(conn)
        self.tpool.submit(self.answer)

    def finished(self, conn: Connection, keep: bool) -> None:
        """Take a connection back from a thread."""
        if not keep:
            self.linger(conn)
        elif conn.is_ready():
            self.enqueue_req(conn)
        else:
            self.wait(conn)

    def linger(self, conn: Connection) -> None:
        """Let the client close first: closing while it sends would reset the connection before it
        has read the response."""
        if conn.sock.fileno() < 0:  # gthread has closed it, after an error in the application
            self.nr_conns -= 1
            return
        conn.lingering = True
        with suppress(OSError):
            conn.sock.shutdown(SHUT_WR)
        self.wait(conn)

    def drop(self, conn: Connection) -> None:
        self.stop_waiting(conn)
        self.nr_conns -= 1
        conn.request = None  # it refers to `conn`
        conn.sock.close()

    def murder_keepalived(self, force: bool = False) -> None:
        """gthread calls this after each round of events."""
        now = time.monotonic()
        if now < self.next_sweep and not force:
            return
        self.next_sweep = now + SWEEP_SECONDS
        for conn in [conn for conn in self.all_waiting() if force or conn.deadline < now]:
            if force or conn.idle or conn.lingering:
                self.drop(conn)
            else:
                self.stop_waiting(conn)
                refuse(conn, 408, "Request Timeout", "The request arrived too slowly")
                self.linger(conn)
        held = sum(len(conn.received) for conn in self.all_waiting())
        while held > BUFFERED_BYTES:
            largest = max(self.all_waiting(), key=lambda conn: len(conn.received))
            held -= len(largest.received)
            self.drop(largest)

    def _cap_keepalive(self, deadline: float) -> None:
        """gthread calls this when it stops."""
        for conn in self.all_waiting():
            if conn.idle:
                conn.deadline = min(conn.deadline, deadline)

    # --- Threads --------------------------------------------------------------------------------

    def answer(self) -> None:
        conn, keep = self.ready.popleft(), False
        try:
            keep = bool(self.handle(conn))
            while keep and self.alive and not self.ready and self.next_is_ready(conn):
                keep = bool(self.handle(conn))
        finally:
            if keep and self.alive and conn.idle:
                self.wait(conn)
            else:
                self.method_queue.defer(self.finished, conn, keep)

    def next_is_ready(self, conn: Connection) -> bool:
        if conn.is_ready():
            return True
        if conn.sock.gettimeout() is not None:
            conn.sock.settimeout(None)  # a stream has set its own
        with suppress(OSError):  # also when it is late: the main loop goes on
            return conn.receive()
        return False

    def handle_request(self, req: Any, conn: Connection) -> bool:
        if conn.refused:
            refuse(conn, 413, "Content Too Large", "The body is too large")
            return False
        with suppress(TimeoutError, BlockingIOError):
            keep = bool(super().handle_request(req, conn))
            conn.sock.end_response()
            return keep
        return False


def refuse(conn: Connection, status: int, reason: str, message: str) -> None:
    with suppress(OSError):
        write_error(conn.sock, status, reason, message)

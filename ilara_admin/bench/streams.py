"""Event streams with many readers: how soon tracked events reach them, and at what cost."""

import selectors
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

from ilara_admin.bench.drivers import (
    TIMEOUT_SECONDS,
    BenchError,
    Choices,
    HttpCall,
    Load,
    requests_of,
)
from ilara_admin.bench.summary import percentile

READERS = 100
SETTLE_SECONDS = 0.3  # until their database connections are closed
PAUSE_SECONDS = 0.1  # after a batch, until the next one
PATIENCE_SECONDS = 10  # after the last batch
EVENT = b"\ndata: {"


class Reader:
    """An open stream that counts the events it gets."""

    def __init__(self, port: int, stream: HttpCall) -> None:
        self.events, self.rest = 0, b""
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
        self.socket.sendall(next(requests_of(stream, {})))
        head = self.socket.recv(1 << 16)
        if not head.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"A stream was refused: {head.decode(errors='replace')}")

    def receive(self) -> int:
        """The number of new events."""
        data = self.rest + self.socket.recv(1 << 20)
        self.rest = data[1 - len(EVENT) :]
        found = data.count(EVENT)
        self.events += found
        return found


@contextmanager
def open_readers(port: int, stream: HttpCall) -> Iterator[list[Reader]]:
    readers = [Reader(port, stream) for _ in range(READERS)]
    try:
        time.sleep(SETTLE_SECONDS)
        yield readers
    finally:
        for reader in readers:
            reader.socket.close()


def deliver(
    port: int,
    readers: Sequence[Reader],
    batch: HttpCall,
    size: int,
    choices: Choices,
    seconds: float,
) -> Load:
    """Track batches of `size` events until each reader has all of them. A request of the result is
    one delivery, from sending to arrival; an error is one that is missing."""
    sent_at: list[float] = []
    times: list[float] = []
    sender = threading.Thread(target=_send, args=(port, batch, choices, seconds, sent_at))
    with selectors.DefaultSelector() as selector:
        for reader in readers:
            selector.register(reader.socket, selectors.EVENT_READ, reader)
        started = perf_counter()
        sender.start()
        while perf_counter() - started < seconds + PATIENCE_SECONDS:
            if not sender.is_alive() and len(times) >= size * len(sent_at) * len(readers):
                break
            for key, _ in selector.select(PAUSE_SECONDS):
                before = key.data.events
                now = perf_counter()
                times += (
                    1_000 * (now - sent_at[number // size])
                    for number in range(before, before + key.data.receive())
                )
        took = perf_counter() - started
    sender.join()
    missing = size * len(sent_at) * len(readers) - len(times)
    return Load(len(times), took, percentile(times, 0.5), percentile(times, 0.99), missing)


def _send(
    port: int, batch: HttpCall, choices: Choices, seconds: float, sent_at: list[float]
) -> None:
    """Append the time of each batch to `sent_at`."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as session:
        for request in requests_of(batch, choices):
            sent_at.append(perf_counter())
            session.sendall(request)
            session.recv(1 << 16)
            if perf_counter() - sent_at[0] >= seconds:
                return
            time.sleep(PAUSE_SECONDS)

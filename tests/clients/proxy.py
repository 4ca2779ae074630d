"""A proxy between a client and the server that injects network faults."""

import http.client
import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, cast


class Seen(NamedTuple):
    """A request that passed through."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


RESPONSES = {
    "status 502": (502, b"<h1>Bad Gateway</h1>"),
    "status 502 in JSON": (
        502,
        b'{"error":{"code":502,"message":"No backend","details":null}}',
    ),
    "status 503 for an hour": (
        503,
        b'{"error":{"code":"overloaded","message":"Wait an hour"}}',
    ),
}


class Proxy(ThreadingHTTPServer):
    """Each request consumes one of `faults`: `lose the reply`, a key of RESPONSES, or `stutter`,
    which starts a stream with a gap and then sends everything twice."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.faults: deque[str] = deque()
        self.seen: list[Seen] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def _pass(self) -> None:
        proxy = cast(Proxy, self.server)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        proxy.seen.append(Seen(self.path, dict(self.headers), body))
        fault = proxy.faults.popleft() if proxy.faults else ""
        if fault in RESPONSES:
            status, content = RESPONSES[fault]
            self.send_response(status)
            if status == 503:
                self.send_header("Retry-After", "3600")
            self.end_headers()
            self.wfile.write(content)
            return
        session = http.client.HTTPConnection(proxy.upstream, timeout=60)
        try:
            session.request(self.command, self.path, body, dict(self.headers))
            reply = session.getresponse()
            if fault == "lose the reply":
                reply.read()
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            if fault == "stutter":
                self.wfile.write(b'event: gap\ndata: {"count":37}\n\n')
            while piece := reply.read1():
                self.wfile.write(piece * (2 if fault == "stutter" else 1))
        except (OSError, http.client.HTTPException):
            return  # closes the client's connection
        finally:
            session.close()

    do_GET = do_POST = do_PATCH = do_DELETE = _pass

    def log_message(self, *_: object) -> None:
        """Not logged."""


@contextmanager
def proxy_to(upstream: str) -> Iterator[Proxy]:
    """`upstream` is a host and a port."""
    with Proxy(upstream) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()

"""A client of the API for tests: requests with a key, and parsed replies."""

import contextlib
import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from django.test import Client

PLAYERS = "/v1/players/players"
EVENTS = "/v1/events/events"
FLAGS = "/v1/flags/flags"
SEGMENTS = "/v1/segments/segments"


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def data(self) -> Any:
        """The data of a successful reply."""
        assert self.json["success"] is True, self.json
        return self.json["data"]

    @property
    def error(self) -> Any:
        """The error of a failed reply."""
        assert self.json["success"] is False, self.json
        return self.json["error"]


class Api:
    """Requests with one key. Headers are keywords: `idempotency_key="k"`."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Reply:
        return self.request("POST", path, body, headers=headers)

    def patch(self, path: str, body: Any = None, **headers: str) -> Reply:
        return self.request("PATCH", path, body, headers=headers)

    def delete(self, path: str, **headers: str) -> Reply:
        return self.request("DELETE", path, headers=headers)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        environ: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Bytes are sent unchanged, None as an empty body, anything else as JSON."""
        data = b"" if body is None else body
        if not isinstance(data, bytes):
            data = msgspec.json.encode(data)
        sent = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        if self.token is not None:
            sent["X-API-Key"] = self.token
        return self.send(method, path, data, content_type, sent, environ or {})

    def send(
        self,
        method: str,
        path: str,
        data: bytes,
        content_type: str,
        headers: dict[str, str],
        environ: Mapping[str, Any],
    ) -> Reply:
        response = Client().generic(
            method, path, data, content_type=content_type, headers=headers, **environ
        )
        return Reply(response.status_code, response.headers, response.content)

    def register(self, external_id: str = "player_123", **fields: Any) -> Any:
        """Register a player and return the data of the reply."""
        reply = self.post(PLAYERS, {"external_id": external_id, **fields})
        assert reply.status in (200, 201), reply.json
        return reply.data


class HttpApi(Api):
    """The same over HTTP, to a server at an address like `http://127.0.0.1:18000`; with `tls`, over
    HTTPS to a host and port."""

    def __init__(self, address: str, token: str | None, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(token)
        self.address = address.removeprefix("http://")
        self.tls = tls

    def session(self) -> http.client.HTTPConnection:
        if self.tls:
            return http.client.HTTPSConnection(self.address, timeout=60, context=self.tls)
        return http.client.HTTPConnection(self.address, timeout=60)

    def send(
        self,
        method: str,
        path: str,
        data: bytes,
        content_type: str,
        headers: dict[str, str],
        environ: Mapping[str, Any],
    ) -> Reply:
        assert not environ, "a WSGI environment cannot be sent"
        with contextlib.closing(self.session()) as session:
            # A server may refuse a large body before it has read it.
            with contextlib.suppress(BrokenPipeError):
                session.request(method, path, data, {"Content-Type": content_type, **headers})
            response = session.getresponse()
            return Reply(response.status, dict(response.headers), response.read())

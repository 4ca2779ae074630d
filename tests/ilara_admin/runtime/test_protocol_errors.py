"""Requests that are not valid HTTP get the envelope of the API from the web server."""

import json
import socket

import pytest

from tests.serving import Gunicorn

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def exchange(server: Gunicorn, request: bytes) -> tuple[int, dict[str, str], bytes]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        reply = b""
        while piece := connection.recv(65_536):
            reply += piece
    head, _, body = reply.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


@pytest.mark.parametrize(
    ("request_bytes", "status", "text"),
    [
        (b"nonsense\r\n\r\n", 400, "Bad Request"),
        (b"GET /v1/" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414, "Shorten the address"),
        (
            b"GET /v1/x HTTP/1.1\r\nHost: h\r\nX-Long: " + b"x" * 9_000 + b"\r\n\r\n",
            431,
            "Send fewer or shorter headers",
        ),
        (b"GET /v1/x HTTP/1.1\r\nHost: h\r\nbad header: 1\r\n\r\n", 400, "Bad Request"),
        (b"GET /v1/x HTTP/9.9\r\nHost: h\r\n\r\n", 400, "Bad Request"),
        (
            b"POST /v1/players/players HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: br\r\n\r\n",
            501,
            "Bad Request",
        ),
    ],
    ids=["no request", "long address", "long header", "header name", "version", "coding"],
)
def test_invalid_http__gets_the_envelope(
    request_bytes: bytes, status: int, text: str, gunicorn: Gunicorn
) -> None:
    found, headers, body = exchange(gunicorn, request_bytes)
    assert found == status
    assert headers["content-type"] == "application/json"
    assert int(headers["content-length"]) == len(body)
    assert headers["access-control-allow-origin"] == "*"
    reply = json.loads(body)
    assert reply["success"] is False
    assert set(reply["error"]) == {"code", "message"}
    assert reply["error"]["code"] == ("VALIDATION_ERROR" if status < 500 else "INTERNAL_ERROR")
    assert text in reply["error"]["message"]

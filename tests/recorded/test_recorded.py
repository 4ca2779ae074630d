"""Each recorded request gets the recorded reply: status, headers and body.

What differs in every run has a placeholder: ids of events that the server draws, ETags and times,
which count in days from now.
"""

import contextlib
import http.client
import json
import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from django.test import Client

from tests.api_client import Reply
from tests.recorded.requests import ETAG, REQUESTS, Request
from tests.recorded.world import TOKENS, build
from tests.serving import Gunicorn

FILE = Path(__file__).parent / "replies.txt"
SHOWN = 10  # differences
type Send = Callable[[Request, dict[str, str]], Reply]


def through_client(request: Request, headers: dict[str, str]) -> Reply:
    path, _, query = request.path.partition("?")
    environ: dict[str, Any] = {
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
    }
    if request.chunked:
        stream = BytesIO(request.body)  # the server ends it behind the last chunk
        environ |= {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
        environ |= {"wsgi.input": stream, "CONTENT_TYPE": request.content_type}
    response = Client().generic(
        request.method, "/", request.body, request.content_type, headers=headers, **environ
    )
    return Reply(response.status_code, response.headers, response.content)


def over_http(server: Gunicorn) -> Send:
    def send(request: Request, headers: dict[str, str]) -> Reply:
        session = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        with contextlib.closing(session):
            body: Any = iter([request.body]) if request.chunked else request.body
            sent = {"Content-Type": request.content_type, **headers}
            session.request(
                request.method, request.path, body, sent, encode_chunked=request.chunked
            )
            response = session.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())

    return send


# --- The record -----------------------------------------------------------------------------------

# Left out of the record, as most replies have them: the record names those that lack them.
USUAL = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": (
        "X-Request-Id, X-Ilara-Ignored, X-Ilara-Conflict, Retry-After, ETag, WWW-Authenticate, "
        "RateLimit, RateLimit-Policy, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
    ),
}
# Of the web server, or of the body.
SKIPPED = {"Date", "Server", "Connection", "Transfer-Encoding", "Content-Length"}
LONG = 30_000  # as the specification, whose text has tests of its own
EVENT_ID = re.compile("evt_[0-9a-f]{32}")
# The fraction tells times of the clock from those of requests, documents and examples.
MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T\d\d:\d\d:\d\d\.\d+Z")
SECONDS = re.compile(r"\bt=\d+")


def record(send: Send) -> list[str]:
    """A line for each request: the request, the status, headers and the body."""
    etag, lines = "", []
    for request in REQUESTS:
        headers = {name: value.replace(ETAG, etag) for name, value in request.headers.items()}
        if request.key:
            headers["X-API-Key"] = TOKENS[request.key]
        reply = send(request, headers)
        etag = reply.headers.get("ETag", etag)
        lines.append(f"{request} -> {reply.status} {recorded(reply, headers)}".rstrip())
    return lines


def recorded(reply: Reply, sent: Mapping[str, str]) -> str:
    if "Access-Control-Allow-Origin" not in reply.headers:
        return "a page of the dashboard"
    assert int(reply.headers.get("Content-Length", len(reply.body))) == len(reply.body)
    headers = json.dumps(recorded_headers(reply, sent), ensure_ascii=False)
    text = settled(reply.body.decode())
    return f"{headers} {text if len(text) < LONG else '<long>'}"


def recorded_headers(reply: Reply, sent: Mapping[str, str]) -> dict[str, str | None]:
    skipped = SKIPPED if reply.body else {*SKIPPED, "Content-Type"}
    headers = {name: value for name, value in reply.headers.items() if name not in skipped}
    found: dict[str, str | None] = {
        name: None for name in USUAL if name not in headers and name not in skipped
    }
    for name, value in sorted(headers.items()):
        if name == "X-Request-Id" and value != sent.get(name):
            assert re.fullmatch("[0-9a-f]{32}", value)
        elif name in ("ETag", "X-RateLimit-Reset"):
            found[name] = "<differs>"
        elif USUAL.get(name) != value:
            found[name] = SECONDS.sub("t=<seconds>", value)
    return found


def settled(text: str) -> str:
    """The text with placeholders for what differs in every run."""
    today = datetime.now(UTC).date()

    def days(match: re.Match[str]) -> str:
        passed = date.fromisoformat(match[1]) - today
        return f"<{passed.days:+} days>"

    text = text.replace(f"{today}T00:00:00Z", "<today>")
    return MOMENT.sub(days, EVENT_ID.sub("<event id>", text))


# --- The tests ------------------------------------------------------------------------------------


def compare(lines: list[str]) -> None:
    before = FILE.read_text().split("\n")[:-1]
    assert len(lines) == len(before), "the record is of other requests"
    pairs = [pair for pair in zip(before, lines, strict=True) if pair[0] != pair[1]]
    shown = "\n\n".join(f"- {old}\n+ {new}" for old, new in pairs[:SHOWN])
    assert not pairs, f"{len(pairs)} replies differ from the record:\n{shown}"


@pytest.mark.django_db(transaction=True)
def test_replies__are_those_of_the_record() -> None:
    build()
    lines = record(through_client)
    if os.environ.get("RECORD"):
        FILE.write_text("".join(f"{line}\n" for line in lines))
    compare(lines)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_replies_over_http__are_those_of_the_record(gunicorn: Gunicorn) -> None:
    build()
    compare(record(over_http(gunicorn)))

"""Ten thousand requests by people who mean harm, to a real server: each is answered, in its shape.

Django answers in the envelope and names the request; what gunicorn cannot even read, it refuses by
itself, briefly. The same requests are made on every run.
"""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoDbBlocker

from ilara_admin.api.errors import Code
from ilara_admin.models import Environment, KeyKind
from ilara_admin.runtime.gunicorn_conf import limit_request_line
from segments.language.operators import OPERATORS
from segments.services import segment_create
from tests.api_client import PLAYERS, Reply
from tests.factories import ACTOR, make_environment, make_key, make_player
from tests.homes import HANG_SECONDS
from tests.segments.language.test_parser import EXAMPLES
from tests.serving import Gunicorn, gunicorns

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

THREADS = 16
WELL_FRAMED = 5_000
BADLY_FRAMED = 5_000
LEAKS = (b"Traceback", b'File "', b"django", b"psycopg", b"site-packages", b"Errno", b".py")


def deterministic(examples: int) -> settings:
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def server(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Gunicorn]:
    with django_db_blocker.unblock(), gunicorns(1, ILARA_THREADS=str(THREADS)) as (running,):
        yield running


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and what their placeholders stand for: ids and keys differ by run, the
    requests that hypothesis makes do not."""

    server: Gunicorn
    names: Mapping[bytes, bytes]

    def fill(self, text: bytes) -> bytes:
        for name, value in self.names.items():
            text = text.replace(name, value)
        return text

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=HANG_SECONDS)

    def still_answers(self) -> None:
        api = self.server.api(self.names[b"$PUBLIC"].decode())
        assert api.get(f"{PLAYERS}/{self.names[b'$PLAYER'].decode()}").status == 200


@pytest.fixture
def target(server: Gunicorn, transactional_db: None) -> Target:
    environment = make_environment()
    for number, segment in enumerate(segments()):
        segment_create(
            environment=environment, key=f"s{number}", name="", rule=segment, actor=ACTOR
        )
    return Target(
        server,
        {
            b"$PLAYER": str(make_player(environment).id).encode(),
            b"$PUBLIC": token(environment, KeyKind.PUBLIC),
            b"$SECRET": token(environment, KeyKind.SECRET),
            b"$STRANGER": token(make_environment(), KeyKind.SECRET),
        },
    )


def token(environment: Environment, kind: KeyKind) -> bytes:
    return make_key(environment, kind).token.encode()


def segments() -> Iterator[dict[str, Any]]:
    """A rule for every operator, so that each meets every kind of value."""
    for name, operator in OPERATORS.items():
        value = EXAMPLES.get(operator.takes)
        for field in ("level", "stats.wins"):
            condition = {"field": field, "operator": name, "value": value}
            yield {"operator": "AND", "conditions": [condition]}


# --- Replies --------------------------------------------------------------------------------------


def replies(received: bytes, *, head: bool) -> Iterator[Reply]:
    """The replies in what a connection gave until its end."""
    while received:
        top, found, received = received.partition(b"\r\n\r\n")
        assert found, top
        status_line, *lines = top.decode("latin-1").split("\r\n")
        version, status, _ = status_line.split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0")
        if status == "100":
            continue
        pairs = [line.partition(": ")[::2] for line in lines]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), "a header came twice"
        if head or status == "204":
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body, received = dechunked(received)
        else:
            size = int(headers.get("content-length", len(received)))
            assert len(received) >= size
            body, received = received[:size], received[size:]
        yield Reply(int(status), headers, body)


def dechunked(received: bytes) -> tuple[bytes, bytes]:
    """The body in chunks with which this begins, and what comes after it."""
    body = b""
    while True:
        size, found, received = received.partition(b"\r\n")
        assert found, size
        end = int(size, 16)
        assert received[end : end + 2] == b"\r\n"
        body, received = body + received[:end], received[end + 2 :]
        if not end:
            return body, received


def judge(
    reply: Reply, *, head: bool = False, elsewhere: bool = False, ofrep: bool = False
) -> None:
    """Fail unless the reply keeps what is promised. `elsewhere` says that the request may have been
    one for the dashboard, whose replies are pages; `ofrep` that the shape is that protocol's."""
    shown = reply.body + repr(dict(reply.headers)).encode()
    assert not [leak for leak in LEAKS if leak in shown], reply
    if "x-request-id" not in reply.headers:
        # gunicorn could not read the request. A coding of the transfer that it does not know is
        # the one thing that the standard answers with 501. The line at fault may be quoted.
        assert 400 <= reply.status < 500 or reply.status == 501, reply
        assert len(reply.body) < limit_request_line + 1_000, reply
        assert reply.headers["connection"] == "close", reply
        return
    if b"All event streams" in reply.body:  # readers leave only when something is sent to them
        assert (reply.status, reply.headers["retry-after"]) == (503, "5"), reply
    else:
        assert reply.status < 500, reply
    if elsewhere and reply.headers["content-type"].startswith("text/html"):
        return
    assert reply.headers["access-control-allow-origin"] == "*", reply
    if reply.status in (204, 304):
        assert not reply.body, reply
    elif reply.headers["content-type"] == "text/event-stream":
        assert reply.status == 200, reply
    else:
        assert reply.headers["content-type"] == "application/json", reply
        if not head:
            check = check_ofrep if ofrep else check_envelope
            check(reply)


def check_envelope(reply: Reply) -> None:
    envelope = reply.json
    if "openapi" in envelope:  # the specification has no envelope
        return
    assert envelope["success"] is (reply.status < 400), reply
    if envelope["success"]:
        assert set(envelope) == {"success", "data"}, reply
        return
    assert set(envelope) == {"success", "error"}, reply
    error = envelope["error"]
    assert error["code"] in list(Code), reply
    assert error["message"], reply
    assert set(error) <= {"code", "message", "details"}, reply
    for detail in error.get("details", []):
        assert set(detail) == {"field", "message"}, reply


def check_ofrep(reply: Reply) -> None:
    content = reply.json
    if reply.status >= 400:
        assert content["errorDetails"], reply
        assert set(content) <= {"errorDetails", "errorCode", "key"}, reply
        return
    for answer in content.get("flags", [content]):
        assert set(answer) == {"key", "reason", "variant", "value", "metadata"}, reply


# --- Values ---------------------------------------------------------------------------------------

NASTY_TEXTS = [
    "", " ", "0", "-1", "a", "\0", "a\0b", "\n", "\r\nX-Injected: 1", "\x7f", "é", "e\u0301", "😀",
    "\ud800", "\udc00\ud800", "../../etc/passwd", "' OR 1=1 --", "%s%n", "%00", "{}", "[]", "null",
    "$PLAYER", "NaN", "1e400", "\uff11\uff12", "a" * 129, "a" * 256, "x" * 70_000, "$1", "{a,b}",
    "2026-01-31T12:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "ilara.x",
    "2026-02-30T00:00:00Z", "2026-01-31T23:59:60Z", "000000001" + "9" * 5_000, "USD",
    "beta-testers",
]  # fmt: skip
# Texts that stand for JSON which Python would not write.
TOKENS = {
    "@nan": b"NaN", "@inf": b"-Infinity", "@huge": b"1e400", "@exponent": b"1e99999999999999999999",
    "@tiny": b"1e-400", "@minus": b"-0", "@zero": b"-0.0", "@octal": b"01", "@hex": b"0x10",
    "@digits": b"1" * 5_000, "@fraction": b"9" * 400 + b".5", "@half": b"1e+5", "@bytes": b'"\xff"',
    "@surrogate": rb'"\ud800"', "@overlong": b'"\xc0\x80"', "@cut": b'"', "@nothing": b"",
    "@17": b"[" * 17 + b"]" * 17, "@3000": b"[" * 3_000 + b"]" * 3_000, "@open": b"[" * 3_000,
    "@twice": b'{"a":1,"a":2}', "@money": b"4.990", "@cents": b"0.01", "@lots": b"999999999.99",
}  # fmt: skip

texts = st.sampled_from(NASTY_TEXTS) | st.text(max_size=6)
numbers = st.sampled_from(
    [0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**30, 0.1, 4.99, 1e20,
     1e308, 5e-324, -1.5, float("nan"), float("inf")]
)  # fmt: skip
leaves = texts | numbers | st.sampled_from([None, True, False]) | st.sampled_from(sorted(TOKENS))
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
large = st.sampled_from(
    [
        {f"k{number}": 1 for number in range(201)},
        {f"k{number}": 1 for number in range(300)},
        {"text": "x" * 65_536},
        {"list": list(range(20_000))},
    ]
)

# What each field may well hold. A field that is not listed gets anything.
VALID: dict[str, Any] = {
    "player_id": "$PLAYER", "external_id": "player_123", "device_id": "d-1", "email": "p@x.example",
    "attributes": {"level": 42}, "session_id": "s-1", "started_at": "2026-01-31T12:00:00Z",
    "duration_seconds": 60, "amount": 4.99, "currency": "USD", "transaction_id": "t-1",
    "product_id": "gems", "event_name": "level_up", "properties": {"level": 5},
    "timestamp": "2026-01-31T12:00:00Z", "event_id": "e-1",
    "context": {"level": 50, "targetingKey": "player_123"},
    "key": "new_tutorial", "segment_id": "beta-testers",
    "events": [{"player_id": "$PLAYER", "event_name": "a"}, {"player_id": "x", "event_name": 1}],
}  # fmt: skip


@st.composite
def bodies(draw: st.DrawFn, fields: tuple[str, ...]) -> bytes:
    """A valid body with some faults in its values, its fields and its bytes."""
    data = {name: VALID.get(name) for name in fields if draw(st.integers(0, 4))}
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(fields) | texts)
        place = data.get(name)
        fault = draw(values | large)
        if isinstance(place, dict):
            data[name] = {**place, draw(st.just("level") | texts): fault}
        elif isinstance(place, list):
            event = {**VALID["events"][0], "properties": fault}
            data[name] = [*place, draw(st.sampled_from([event, fault]))]
        else:
            data[name] = fault
    whole: Any = draw(values) if draw(st.integers(0, 40)) == 0 else data
    text = json.dumps(whole, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    for name, token in TOKENS.items():
        text = text.replace(f'"{name}"'.encode(), token)
    if draw(st.integers(0, 9)) == 0:
        cut = draw(st.integers(0, len(text)))
        text = text[:cut] + draw(st.binary(max_size=3)) + text[draw(st.integers(cut, len(text))) :]
    return text


# --- Well-framed requests to every route ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the API: its path with `<captured>` parts, methods, and fields of bodies."""

    path: str
    methods: tuple[str, ...]
    fields: tuple[str, ...]


def routes(resolver: URLResolver, prefix: str = "") -> Iterator[Route]:
    for item in resolver.url_patterns:
        path = prefix + str(item.pattern)
        if isinstance(item, URLPattern):
            endpoints = getattr(item.callback, "endpoints", {})
            structs = [each.body for each in endpoints.values() if each.body]
            fields = (field.encode_name for each in structs for field in struct_fields(each))
            yield Route(path, tuple(endpoints) or ("GET",), tuple(dict.fromkeys(fields)))
        else:
            yield from routes(item, path)


def struct_fields(struct: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(struct)


ROUTES = list(routes(get_resolver("ilara_admin.api_urls")))
ODD_METHODS = ("HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "BREW", "GET", "POST", "PATCH")
QUERY_NAMES = ["limit", "cursor", "amount", "after", "event_name", "player_id", "explain", "x", ""]
HEADER_NAMES = [
    "X-Request-Id", "Idempotency-Key", "Origin", "Last-Event-ID", "Content-Type", "Accept",
    "If-None-Match", "Authorization", "X-HTTP-Method-Override", "X-Forwarded-For", "Cookie",
    "Range", "Accept-Encoding", "Content-Encoding", "X-Forwarded-Host", "Referer", "X-API-Key",
]  # fmt: skip
CONTENT_TYPES = [
    "application/json",
    "application/vnd.x+json",
    "text/plain",
    "",
    ";",
    "é",
    "a/b+json;",
]
header_values = st.text(
    st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20
) | st.sampled_from(["*", "0", "-1", "9" * 400, "x" * 200, "bytes=0-", 'W/"1"', "null", ""])


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def encode(self, target: Target) -> bytes:
        body = target.fill(self.body)
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return target.fill("\r\n".join(lines).encode("latin-1")) + b"\r\n\r\n" + body


def percent(text: str, *, raw: bool = False) -> str:
    encoded = quote(text.encode("utf-8", "surrogatepass"), safe="$!'()*,;:@")
    return encoded.replace("%25", "%") if raw else encoded


@st.composite
def paths(draw: st.DrawFn, route: Route) -> str:
    parts = []
    for part in route.path.split("/"):
        if part.startswith("<"):
            name = part.strip("<>").partition(":")[2]
            value = VALID.get(name, "x") if draw(st.integers(0, 5)) else draw(texts)
            part = percent(value[:300], raw=draw(st.booleans()))
        parts.append(part)
    path = "/" + "/".join(parts)
    ending = draw(st.integers(0, 30))
    if ending < 3:
        path += ["/", "%2F", "/../x"][ending]
    pairs = draw(st.lists(st.tuples(st.sampled_from(QUERY_NAMES), texts), max_size=2))
    query = "&".join(f"{name}={percent(text[:6_000])}" for name, text in pairs)
    if draw(st.integers(0, 60)) == 0:
        query += "&a" * draw(st.sampled_from([999, 1_001, 3_000]))
    # What does not fit into gunicorn's request line is the other test's business.
    return (path + (f"?{query}" if query else ""))[:8_000]


@st.composite
def requests(draw: st.DrawFn) -> Request:
    route = draw(st.sampled_from(ROUTES))
    methods = route.methods if draw(st.integers(0, 9)) else ODD_METHODS
    method = draw(st.sampled_from(methods))
    keys = [*["$PUBLIC", "$SECRET"] * 4, "$STRANGER", "pk_live_x"]
    headers = {"Host": "x", "X-API-Key": draw(st.sampled_from(keys))}
    body = b""
    if draw(st.integers(0, 9)) and route.fields:
        body = draw(bodies(route.fields))
        types = CONTENT_TYPES[:1] if draw(st.integers(0, 9)) else CONTENT_TYPES
        headers["Content-Type"] = draw(st.sampled_from(types))
    for _ in range(draw(st.integers(0, 2))):
        headers[draw(st.sampled_from(HEADER_NAMES))] = draw(header_values)
    return Request(method, draw(paths(route)), tuple(headers.items()), body)


class Connection:
    """A connection that stays open from request to request, as a game's does."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.socket: socket.socket | None = None

    def send(self, request: Request) -> Reply:
        text = request.encode(self.target)
        if self.socket is not None:
            # The server may have closed it after a body that it did not read to its end.
            with suppress(OSError, http.client.HTTPException):
                return self._exchange(self.socket, text, request.method)
            self.close()
        self.socket = self.target.connect()
        return self._exchange(self.socket, text, request.method)

    def _exchange(self, channel: socket.socket, text: bytes, method: str) -> Reply:
        channel.sendall(text)
        response = http.client.HTTPResponse(channel, method=method)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        assert len(headers) == len(response.getheaders()), "a header came twice"
        endless = headers.get("content-type") == "text/event-stream"
        body = b"" if endless else response.read()
        if endless or response.will_close:
            self.close()
        return Reply(response.status, headers, body)

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def test_requests_to_every_route__are_answered_in_their_shape(target: Target) -> None:
    statuses: dict[int, int] = {}
    answered: set[tuple[bool, bool]] = set()  # whether by OFREP, whether well

    @deterministic(WELL_FRAMED)
    @given(requests())
    def send(request: Request) -> None:
        reply = connection.send(request)
        statuses[reply.status] = statuses.get(reply.status, 0) + 1
        assert "x-request-id" in reply.headers, reply
        judge(reply, head=request.method == "HEAD", ofrep=request.path.startswith("/ofrep/v1/"))
        answered.add((request.path.startswith("/ofrep/"), reply.status < 400))

    with closing(Connection(target)) as connection:
        send()
    assert sum(statuses.values()) >= WELL_FRAMED
    # The requests are worth making only if they reach all that there is behind the checks.
    assert {200, 201, 400, 401, 403, 404, 405, 413, 415} - statuses.keys() <= {413}, statuses
    assert statuses[200] + statuses[201] > WELL_FRAMED / 10, statuses
    assert len(answered) == 4, answered
    target.still_answers()


# --- What is no proper request --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attack:
    """Bytes for one connection, in the pieces in which they are sent. `leaves` closes it without
    reading; `answers` is how many replies must come, if that is certain."""

    pieces: tuple[bytes, ...]
    leaves: bool = False
    answers: int | None = None


KEY = b"Host: x\r\nX-API-Key: $PUBLIC\r\n"
GET = b"GET /v1/players/players/$PLAYER HTTP/1.1\r\n" + KEY
POST = b"POST /v1/players/players HTTP/1.1\r\n" + KEY
JSON = b'{"external_id":"raw"}'
GOOD = [
    GET + b"\r\n",
    POST + b"Content-Length: %d\r\n\r\n" % len(JSON) + JSON,
    POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(JSON), JSON),
    b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS /v1/players/players HTTP/1.1\r\nHost: x\r\n\r\n",
]
LENGTHS = [
    b"0", b"1", b"20", b"22", b"100", b"1048576", b"1048577", b"9223372036854775808", b"-1", b"-0",
    b"+21", b"1e3", b"ten", b"", b" 21", b"21 ", b"21, 21", b"21,22", b"9" * 30, b"0x15", b"2_1",
    b"\xb2", b"21;a", b"\t21", b"21.0",
]  # fmt: skip
CODINGS = [
    b"chunked", b"Chunked", b"gzip", b"identity", b"chunked, chunked", b"gzip, chunked",
    b"xchunked", b"chunked, gzip", b"", b"chunked;a=b", b"\x0bchunked", b"chunked,",
    b"deflate, chunked",
]  # fmt: skip
CHUNKS = [
    b"15\r\n" + JSON + b"\r\n", b"15;name=value\r\n" + JSON + b"\r\n", b"0\r\n\r\n",
    b"0\r\nX-Trailer: 1\r\n\r\n", b"0\r\nbad trailer\r\n\r\n", b"5\r\nabc", b"5\r\nabcdefgh\r\n",
    b"-1\r\nx\r\n", b"FFFFFFFFFFFFFFFF\r\nx\r\n", b"0x5\r\nabcde\r\n", b"\r\n", b"zz\r\n\r\n",
    b"5\nabcde\n", b"1;" + b"x" * 9_000 + b"\r\n1\r\n", b"100001\r\n" + b" " * 0x100001 + b"\r\n",
    b"15\r\n", b"1\r\n{\r\n", b"1\r\n}\r\n", b"1" * 9_000, b"2 \r\n{}\r\n", b"2\r\n{}\r\n",
]  # fmt: skip
HEADERS = [
    b"X-Long: " + b"x" * 8_100, b"X-Long: " + b"x" * 8_300, b"X-Long: " + b"x" * 100_000,
    b"\r\n".join(b"X-%d: 1" % n for n in range(90)),
    b"\r\n".join(b"X-%d: 1" % n for n in range(200)), b"No colon", b": no name", b"Spaced : x",
    b" Folded: x", b"X-Nul: a\0b", b"X-Cr: a\rb", b"X-Lf: a\nX-Injected: 1", b"X-Request-Id: a\nb",
    b"X-Request-Id: \xff", b"SCRIPT_NAME: /x", b"SCRIPT_NAME: /v1", b"PATH_INFO: /x",
    b"CONTENT_LENGTH: 5", b"X_API_KEY: x", b"Host: evil.example", b"Host: a b\xff",
    b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off", b"Connection: close",
    b"X-Forwarded-Proto: javascript", b"Connection: Upgrade\r\nUpgrade: websocket", b"\xff\xfe: x",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    b"Expect: 100-continue", b"Expect: a miracle", b"Content-Type: multipart/form-data",
    b"TE: trailers", b"Content-Type: multipart/form-data; boundary=x",
    b"Cookie: " + b"a=b; " * 1_000, b"Host:", b"Idempotency-Key: " + b"k" * 129,
    b"Idempotency-Key: \x01", b"X-API-Key: $SECRET", b"Content-Encoding: gzip",
    b"Connection: keep-alive, close, x", b"Last-Event-ID: \xb2",
]  # fmt: skip
LINES = [
    b"", b"\r\n\r\n", b"GET", b"GET /v1/", b"GET  /v1/  HTTP/1.1", b"get /v1/ HTTP/1.1",
    b"G\0T /v1/ HTTP/1.1", b"GET /v1/ HTTP/9.9", b"GET /v1/ HTTP/2.0", b"GET /v1/ HTTP/0.9",
    b"GET /v1/ HTTP/1.0", b"GET /v1/ http/1.1", b"GET /v1/ HTTP/1.1 x", b"/v1/ HTTP/1.1",
    b"GET\t/v1/\tHTTP/1.1", b"A" * 9_000 + b" /v1/ HTTP/1.1", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"OPTIONS * HTTP/1.1", b"CONNECT x:443 HTTP/1.1", b"GET * HTTP/1.1",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2",
    b"\xff\xff\xff\xff", b"GET /v1/ HTTP/1.1\rX", b"HELO x",
    b"GET http://evil.example/v1/ HTTP/1.1", b"GET http:///v1/ HTTP/1.1",
    b"GET http://[::1/v1/ HTTP/1.1", b"GET ?x HTTP/1.1", b"GET v1/ HTTP/1.1",
    b"GET /v1/#x HTTP/1.1",
]  # fmt: skip
PATHS = [
    b"%", b"%zz", b"%0", b"%00", b"%u1234", b"%ff%fe", b"%c0%80", b"%ed%a0%80", b"\0", b"\xff",
    b"\xc3\xa9", b"a" * 4_000, b"a" * 8_500, b"a" * 100_000, b"..", b"../../../etc/passwd",
    b"%2e%2e%2f", b"a b", b"\t", b"%0d%0aX-Injected:%201", b"external/%", b"external/%00",
    b"external/%ff", b"external/%2F/%2e/..", b"external/" + b"%F0%9F%98%80" * 255,
    b"external/" + b"a/" * 2_000, b"?", b"??&&==%", b"?%00=%ff", b"#", b"?limit=%00", b";a=b",
    b"$PLAYER%0a", b"$PLAYER/", b"%24", b"\x7f", b"{}|^`<>\\\"",
]  # fmt: skip


@st.composite
def attacks(draw: st.DrawFn) -> Attack:
    kind = draw(st.sampled_from([lengths, chunked, odd_headers, lines, odd_paths, mangled]))
    if draw(st.integers(0, 5)) == 0:
        return draw(pipelines())
    text = draw(kind())
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=2)))
    pieces = tuple(
        text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)
    )
    if draw(st.integers(0, 9)) == 0:
        return Attack(pieces[:1] or (text,), leaves=True)
    return Attack(pieces)


@st.composite
def lengths(draw: st.DrawFn) -> bytes:
    """A body whose length is told wrongly, or twice."""
    told = draw(st.lists(st.sampled_from(LENGTHS), min_size=1, max_size=2))
    if draw(st.booleans()):
        told = [str(draw(st.integers(0, 40))).encode()]
    fields = b"".join(b"Content-Length: %s\r\n" % each for each in told)
    return POST + fields + b"\r\n" + JSON


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    usual = draw(st.integers(0, 2))
    coding = draw(st.sampled_from(CODINGS[:1] if usual else CODINGS))
    text = POST + b"Transfer-Encoding: %s\r\n" % coding
    if draw(st.integers(0, 9)) == 0:
        text += b"Content-Length: %s\r\n" % draw(st.sampled_from(LENGTHS))
    chunks = draw(st.lists(st.sampled_from(CHUNKS), max_size=3))
    return text + b"\r\n" + b"".join(chunks)


@st.composite
def odd_headers(draw: st.DrawFn) -> bytes:
    first, _, rest = draw(st.sampled_from(GOOD)).partition(b"\r\n")
    headers = draw(
        st.lists(st.sampled_from(HEADERS) | st.binary(max_size=20), min_size=1, max_size=2)
    )
    return b"\r\n".join([first, *headers, rest])


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    line = draw(st.sampled_from(LINES) | st.sampled_from(LINES) | st.binary(max_size=30))
    return line + draw(st.sampled_from([b"\r\n", b"\n", b""])) + KEY + b"\r\n"


@st.composite
def odd_paths(draw: st.DrawFn) -> bytes:
    version = draw(st.sampled_from([b"1.1", b"1.0"]))
    start = draw(
        st.sampled_from([b"/v1/players/players/", b"/v1/players/players/", b"/v1/", b"//v1/"])
    )
    end = draw(st.sampled_from(PATHS) | st.binary(max_size=6))
    return b"GET %s%s HTTP/%s\r\n" % (start, end, version) + KEY + b"\r\n"


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A good request in which some bytes are others, and perhaps the end is missing."""
    text = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 3))
        text = text[:start] + draw(st.binary(max_size=3)) + text[end:]
    return text[: draw(st.integers(0, len(text)))] if draw(st.booleans()) else text


@st.composite
def pipelines(draw: st.DrawFn) -> Attack:
    """Several requests in one segment, then perhaps something else."""
    good = draw(st.lists(st.sampled_from(GOOD), min_size=2, max_size=6))
    if draw(st.booleans()):
        return Attack((b"".join(good),), answers=len(good))
    return Attack((b"".join([*good, draw(mangled())]),))


def converse(target: Target, attack: Attack) -> tuple[bytes, bool]:
    """What the server said until it closed the connection, and whether it closed it properly."""
    received = b""
    with closing(target.connect()) as channel:
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in attack.pieces:
                channel.sendall(target.fill(piece))
            if attack.leaves:
                return b"", False
            channel.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it refused before all was sent; what it said may still be there
        try:
            while more := channel.recv(65_536):
                received += more
        except ConnectionError:
            return received, False
    return received, True


def test_requests_that_are_none__are_refused_briefly(target: Target) -> None:
    sent = 0
    statuses: dict[int, int] = {}

    @deterministic(BADLY_FRAMED)
    @given(attacks())
    def send(attack: Attack) -> None:
        nonlocal sent
        sent += attack.answers or 1
        received, complete = converse(target, attack)
        if not complete:
            return
        whole = b"".join(attack.pieces)
        found = list(replies(received, head=whole.startswith(b"HEAD ")))
        for reply in found:
            statuses[reply.status] = statuses.get(reply.status, 0) + 1
            judge(reply, elsewhere=whole.count(b" /v1/") < whole.count(b" HTTP/"))
        assert attack.answers in (None, len(found)), received

    send()
    assert sent >= BADLY_FRAMED
    assert not {200, 201, 204, 400, 404, 413, 414, 431} - statuses.keys(), statuses
    target.still_answers()


HALF = {"head": GET, "body": POST + b"Content-Length: 20\r\n\r\n{"}


@pytest.mark.parametrize("part", HALF)
def test_requests_that_never_end__give_their_threads_back(target: Target, part: str) -> None:
    with ExitStack() as stack:
        for _ in range(THREADS + 4):
            stalled = stack.enter_context(closing(target.connect()))
            stalled.sendall(target.fill(HALF[part]))
        target.still_answers()

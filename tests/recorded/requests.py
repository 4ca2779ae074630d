"""The recorded requests, in the order in which they are sent: later ones see what earlier ones
wrote. None opens a stream."""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.api_client import EVENTS, PLAYERS
from tests.recorded.world import FLAGS, LOST, NEWCOMER, SEGMENTS, STRANGER, TOKENS, VETERAN

ETAG = "$ETAG"  # in a header: the ETag of the last reply that has one
LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
JSON = "application/json"

ONE = f"{PLAYERS}/{VETERAN}"
EVALUATE = "/v1/flags/flags/{}/evaluate"
ALL_FLAGS = "/v1/flags/flags/evaluate"
MEMBER = "/v1/segments/segments/{}/evaluate"
MEMBERSHIPS = "/v1/segments/player/{}"
OFREP = "/ofrep/v1/evaluate/flags"
TIME = "2026-01-31T12:00:00Z"


@dataclass(frozen=True, slots=True)
class Request:
    """`key` is a name in TOKENS, None for no key. `path` is as sent, with the query."""

    method: str
    path: str
    key: str | None = "public"
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False

    def __str__(self) -> str:
        parts = [self.method, short(self.path), f"key={self.key}"]
        parts += [f"{name}={short(value)}" for name, value in self.headers.items()]
        if self.content_type != JSON:
            parts.append(f"type={self.content_type}")
        if self.chunked:
            parts.append("chunked")
        if self.body:
            is_gzip = self.body.startswith(b"\x1f\x8b")
            shown = f"gzip of {gzip_text(self.body)}" if is_gzip else decoded(self.body)
            parts.append(f"{len(self.body)}: {short(shown)}" if len(shown) > 200 else shown)
        return " ".join(parts)


def short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:120]}…{text[-20:]}"


def decoded(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")


def gzip_text(body: bytes) -> str:
    try:
        return decoded(gzip.decompress(body))
    except (OSError, EOFError):
        return "damaged bytes"


def send(method: str, path: str, body: Any = None, *, key: str | None = "public",
         content_type: str = JSON, chunked: bool = False, **headers: str) -> Request:  # fmt: skip
    """Bytes are sent unchanged, anything else as JSON. Headers are keywords."""
    if body is None:
        body = b""
    data = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, path, key, data, content_type, named, chunked)


def get(path: str, **options: Any) -> Request:
    return send("GET", path, **options)


def post(path: str, body: Any = None, **options: Any) -> Request:
    return send("POST", path, body, **options)


def patch(path: str, body: Any = None, **options: Any) -> Request:
    return send("PATCH", path, body, **options)


# Each endpoint: method, path, a body that it accepts.
ENDPOINTS: list[tuple[str, str, Any]] = [
    ("POST", PLAYERS, {"external_id": "veteran"}),
    ("GET", PLAYERS, None),
    ("GET", f"{PLAYERS}/external/veteran", None),
    ("GET", ONE, None),
    ("PATCH", ONE, {"attributes": {"level": 45}}),
    ("POST", f"{ONE}/session", {"session_id": "s-0"}),
    ("POST", f"{ONE}/purchase", {"amount": 4.99, "transaction_id": "t-0"}),
    ("GET", f"{ONE}/lifecycle", None),
    ("GET", f"{ONE}/churn-risk", None),
    ("POST", f"{ONE}/aliases", {"external_id": "second-alias"}),
    ("DELETE", f"{ONE}/aliases/second-alias", None),
    ("POST", EVENTS, {"player_id": VETERAN, "event_name": "start", "event_id": "e-0"}),
    ("POST", f"{EVENTS}/batch",
     {"events": [{"player_id": VETERAN, "event_name": "start", "event_id": "e-1"}]}),
    ("GET", f"{EVENTS}/stream", None),
    ("POST", ALL_FLAGS, {"player_id": VETERAN}),
    ("POST", EVALUATE.format("new_tutorial"), {"player_id": VETERAN}),
    ("POST", MEMBER.format("beta-testers"), {"player_id": VETERAN}),
    ("GET", MEMBERSHIPS.format(VETERAN), None),
    ("POST", OFREP, {"context": {"targetingKey": "veteran"}}),
    ("POST", f"{OFREP}/new_tutorial", {"context": {"targetingKey": "veteran"}}),
    ("GET", "/v1/openapi.json", None),
]  # fmt: skip
WITH_BODY = [entry for entry in ENDPOINTS if entry[2] is not None]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def endpoints() -> Iterator[Request]:
    for method, path, body in ENDPOINTS:
        for key in ("public", "secret", None):
            if key != "secret" or not path.endswith("/stream"):  # a stream has no end
                yield send(method, path, body, key=key)


def methods() -> Iterator[Request]:
    declared: dict[str, set[str]] = {}
    for method, path, _ in ENDPOINTS:
        declared.setdefault(path, set()).add(method)
    for path, allowed in declared.items():
        for method in METHODS:
            if method not in allowed:
                yield send(method, path, key="secret")
    yield send("TRACE", PLAYERS)
    yield send("BREW", PLAYERS)
    yield send("OPTIONS", "/v1/nothing", key=None)
    yield send("OPTIONS", "/ofrep/nothing", key=None)


def keys() -> Iterator[Request]:
    body = {"player_id": VETERAN}
    path = EVALUATE.format("new_tutorial")
    for key in ("revoked", "expired", "expiring", "unknown", "other public", "other secret", "free",
                "restricted", "restricted secret"):  # fmt: skip
        yield post(path, body, key=key)
        yield get(ONE, key=key)
    public = TOKENS["public"]
    for token in ("", " ", "x", public[:-1], public[:-1] + "!", f"{public}0", f'"{public}"',
                  f"Bearer {public}", "pk_live_xxxxxxxxxxxx", "{{ILARA_KEY}}", f"a {public}",
                  "sdk-0f8c1e5a", "x" * 300, public.upper()):  # fmt: skip
        yield get(ONE, key=None, X_API_Key=token)
    for value in (f"Bearer {public}", f"bearer {public}", public, f"Basic {public}", "Bearer",
                  f"Bearer  {public}"):  # fmt: skip
        yield get(ONE, key=None, Authorization=value)
    yield get(ONE, key=None, X_Auth_Token=public)
    yield get(f"{ONE}?api_key={public}", key=None)
    yield get(ONE, key="public", Authorization="Bearer x")
    yield get(ONE, key="secret", Origin="https://game.example")
    yield get(ONE, key="public", Origin="https://game.example")
    yield post(PLAYERS, {"external_id": "veteran"}, key="free")
    yield post(EVENTS, {"player_id": VETERAN, "event_name": "a"}, key="restricted")
    yield get(PLAYERS, key="other secret")


def paths() -> Iterator[Request]:
    for path in (
        "/v1", "/v1/", "/v1//", "/v2/players", "/v1/nothing", "/v1/players", "/v1/players/players/",
        "/v1/players//players", "//v1/players/players", "/v1/Players/players",
        "/V1/players/players", "/v1/%70layers/players", "/v1/players%2Fplayers",
        "/v1/players/players?", "/v1/players/x",
        "/v1/player/players", "/v1/players/players/", "/api/v1/events/events", "/players/players",
        "/events/events", "/flags/flags/evaluate", "/v1/events", "/v1/events/batch",
        "/v1/events/events/", "/v1/events/events/batch/", "/v1/events/events/evnts",
        "/v1/flags/evaluate", "/v1/flags/flags", "/v1/flags/flags/", "/v1/flags/flags//evaluate",
        "/v1/flags/flags/new_tutorial", "/v1/flags/flags/new_tutorial/evaluate/",
        "/v1/flags/flags/new_tutorial/evalute", "/v1/flags/flags/a/b/evaluate",
        "/v1/flags/flags/new%5Ftutorial/evaluate", "/v1/flags/flags/new%2Ftutorial/evaluate",
        "/v1/flags/flags/%C3%A9/evaluate", "/v1/flags/flags/%FF/evaluate",
        "/v1/flags/flags/a%00b/evaluate", "/v1/flags/flags/a%0A/evaluate",
        "/v1/segments/evaluate", "/v1/segments/segments/beta-testers", "/v1/segments/player",
        "/v1/segments/player/", "/v1/openapi", "/v1/openapi.json/", "/v1/OPENAPI.json",
        "/ofrep", "/ofrep/", "/ofrep/v1", "/ofrep/v1/evaluate", "/ofrep/v1/evaluate/flags/",
        "/ofrep/v1/evaluate/flags/a/b", "/ofrep/v1/configuration", "/ofrep//v1/evaluate/flags",
        "/ofrep/v1/evaluate/flags%2Fnew_tutorial", "/ofrep/v1/evaluate/flags/new%5Ftutorial",
        "/ofrep/v1/evaluate/flags/%C3%A9", "/ofrep/v1/Evaluate/flags", "/ofrepx", "/v1x",
        "/v1/" + "x" * 300, "/v1/" + "x/" * 40, "/v1;x/players/players", "/v1/players/players;x",
        "/v1/./players/players", "/v1/players/../players/players",
    ):  # fmt: skip
        body = (
            {"context": {"targetingKey": "veteran"}} if "ofrep" in path else {"player_id": VETERAN}
        )
        yield post(path, body)
    for path in (
        f"{ONE}/", f"{PLAYERS}/{VETERAN.upper()}", f"{PLAYERS}/{VETERAN[:-1]}",
        f"{PLAYERS}/{VETERAN.replace('-', '')}", f"{PLAYERS}/1", f"{PLAYERS}/%20", f"{ONE}%0A",
        f"{PLAYERS}/{UNKNOWN}", f"{PLAYERS}/{STRANGER}", f"{ONE}/lifecycle/", f"{ONE}/churn_risk",
        f"{PLAYERS}/external", f"{PLAYERS}/external/", f"{PLAYERS}/external/odd/id%20%C3%A9+%25",
        f"{PLAYERS}/external/odd%2Fid%20%C3%A9%2B%25", f"{PLAYERS}/external/veteran-alias",
        f"{PLAYERS}/external/nobody", f"{PLAYERS}/external/stranger", f"{PLAYERS}/external/a%00b",
        f"{PLAYERS}/external/%20veteran", f"{PLAYERS}/external/%FF", f"{PLAYERS}/external/veteran/",
        f"{PLAYERS}/external/" + "x" * 256, MEMBERSHIPS.format(UNKNOWN), MEMBERSHIPS.format("x"),
        MEMBERSHIPS.format(LOST), f"{PLAYERS}/{LOST}/lifecycle", f"{PLAYERS}/{NEWCOMER}/lifecycle",
        f"{PLAYERS}/{LOST}/churn-risk", f"{PLAYERS}/{UNKNOWN}/churn-risk",
    ):  # fmt: skip
        yield get(path, key="secret")


def bodies() -> Iterator[Request]:
    value: Any
    fields: Any
    for method, path, _ in WITH_BODY:
        for body in (b"", b"{", b"[]"):
            yield send(method, path, body, key="secret")
    for raw in (b"null", b"1", b'"x"', b"{}", b'{"external_id":}', b"{'external_id':'x'}", b"\xff",
                b'{"external_id":"\xff"}', b'\xef\xbb\xbf{"external_id":"veteran"}',
                b'{"external_id":"a","external_id":"veteran"}', b'{"external_id":NaN}',
                b'{"external_id":"a\\u0000"}', b'{"external_id":"\\ud800"}', b" " * 30,
                b'{"external_id":"veteran"} x', b"[" * 40, b"external_id=veteran"):  # fmt: skip
        yield post(PLAYERS, raw)
    for value in (None, 1, True, [], {}, "", " ", " x", "x\n", "x" * 255, "x" * 256):
        yield post(PLAYERS, {"external_id": value})
    for fields in (
        {"device_id": 1}, {"device_id": "x" * 256}, {"device_id": None}, {"device_id": ""},
        {"email": "a@b.example"}, {"email": None}, {"email": "a\nb"}, {"email": "x" * 255},
        {"attributes": []}, {"attributes": None}, {"attributes": {"level": 46, "old": None}},
        {"attributes": {"": 1}}, {"attributes": {"k" * 129: 1}}, {"attributes": {"a\0": 1}},
        {"attributes": {"big": 2**70, "small": 1e-9, "minus": -0.0, "text": "é😀"}},
        {"attributes": {f"k{number}": 1 for number in range(201)}},
        {"attributes": {"text": "x" * 66_000}}, {"attributes": {"a": {"b": [1, {"c": None}]}}},
        {"level": 5, "userId": "x"}, {"externalId": "x"},
    ):  # fmt: skip
        yield post(PLAYERS, {"external_id": "subject", **fields}, key="public")
    yield post(PLAYERS, {"userId": "x"})
    yield post(PLAYERS, {"external_id": "deep", "attributes": nested(14)})
    yield post(PLAYERS, {"external_id": "deep", "attributes": nested(15)})
    plain = b'{"external_id":"veteran"}'
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "",
                         "application/v+json", "application/json; charset=latin-1",
                         "APPLICATION/JSON"):  # fmt: skip
        yield post(PLAYERS, plain, content_type=content_type)
    zipped = gzip.compress(plain, mtime=0)
    for encoding, body in (("gzip", zipped), ("x-gzip", zipped), ("GZIP", zipped), ("gzip", plain),
                           ("gzip", zipped[:-4]), ("gzip", zipped + b"x"), ("identity", plain),
                           ("br", plain), ("deflate", zipped)):  # fmt: skip
        yield post(PLAYERS, body, Content_Encoding=encoding)
    yield post(PLAYERS, gzip.compress(b" " * (1024 * 1024 + 1), mtime=0), Content_Encoding="gzip")
    yield post(PLAYERS, plain.ljust(1024 * 1024))
    yield post(PLAYERS, plain.ljust(1024 * 1024 + 1))
    yield post(PLAYERS, plain, chunked=True)
    yield post(PLAYERS, plain.ljust(1024 * 1024 + 1), chunked=True)
    yield post(EVALUATE.format("text"), {"player_id": VETERAN}, chunked=True)


def nested(levels: int) -> Any:
    return {"a": nested(levels - 1)} if levels else 1


def players() -> Iterator[Request]:
    body: Any
    for query in ("limit=1", "limit=0", "limit=201", "limit=x", "limit=", "limit=2&limit=1", "x=1",
                  "limit=1&cursor=", "cursor=x", f"cursor={VETERAN}",
                  f"cursor={LAST}", "limit=%31"):  # fmt: skip
        yield get(f"{PLAYERS}?{query}", key="secret")
    yield patch(ONE, {})
    yield patch(ONE, {"level": 5})
    yield patch(ONE, {"email": ""})
    yield patch(ONE, {"email": "new@example.com"})
    yield patch(ONE, {"device_id": None, "attributes": {"tags": None, "country": "AT"}})
    yield get(ONE, key="secret")
    yield patch(f"{PLAYERS}/{UNKNOWN}", {"email": None})
    yield patch(f"{PLAYERS}/x", {"email": None})
    session = f"{ONE}/session"
    for body in (None, {"session_id": "s-1", "duration_seconds": 60, "started_at": TIME},
                 {"session_id": "s-1", "duration_seconds": 60, "started_at": TIME},
                 {"session_id": "s-1", "duration_seconds": 61}, {"duration_seconds": -1},
                 {"duration_seconds": 1.5}, {"duration_seconds": 60.0, "session_id": "s-2"},
                 {"started_at": "yesterday"}, {"started_at": "1960-01-01T00:00:00Z"},
                 {"started_at": "2026-01-31"}, {"session_id": "x" * 129},
                 {"session_id": 5}):  # fmt: skip
        yield post(session, body)
    yield post(session, Idempotency_Key="k-1")
    yield post(session, Idempotency_Key="k-1")
    yield post(session, {"duration_seconds": 5}, Idempotency_Key="k-1")
    yield post(session, Idempotency_Key="x" * 129)
    yield post(f"{PLAYERS}/{UNKNOWN}/session")
    purchase = f"{ONE}/purchase"
    for body in ({"amount": 4.99, "transaction_id": "t-1", "product_id": "gems"},
                 {"amount": "4.990", "transaction_id": "t-1", "product_id": "gems"},
                 {"amount": 5, "transaction_id": "t-1", "currency": "EUR"}, {}, {"amount": 0},
                 {"amount": -1}, {"amount": "x"}, {"amount": 0.001}, {"amount": 1e12},
                 {"amount": 100, "currency": "JPY"}, {"amount": 4.99, "currency": "JPY"},
                 {"amount": 1.234, "currency": "kwd"}, {"amount": 1, "currency": "dollar"},
                 {"amount": True}, {"amount": [1]}):  # fmt: skip
        yield post(purchase, body)
    yield post(f"{purchase}?amount=4.99", None, Idempotency_Key="k-2")
    yield post(f"{purchase}?amount=4.99", {"amount": 4.99}, Idempotency_Key="k-2")
    yield post(f"{purchase}?amount=4.99", {"amount": 5})
    yield post(f"{purchase}?amount=x")
    yield post(f"{PLAYERS}/{NEWCOMER}/purchase", {"amount": 4.99, "transaction_id": "t-1"})
    yield post(f"{PLAYERS}/{UNKNOWN}/purchase", {"amount": 1})
    aliases = f"{ONE}/aliases"
    for body in ({"external_id": "third"}, {"external_id": "third"}, {"external_id": "newcomer"},
                 {"external_id": "veteran"}, {}):  # fmt: skip
        yield post(aliases, body, key="secret")
    yield get(f"{PLAYERS}/external/third")
    yield send("DELETE", f"{aliases}/third", key="secret")
    yield send("DELETE", f"{aliases}/third", key="secret")
    yield post(f"{PLAYERS}/{UNKNOWN}/aliases", {"external_id": "x"}, key="secret")


def events() -> Iterator[Request]:
    fault: Any
    value: Any
    win = {"player_id": NEWCOMER, "event_name": "win", "event_id": "w-1", "properties": {"a": 1}}
    yield post(EVENTS, win)
    yield post(EVENTS, win)
    yield post(EVENTS, {**win, "event_name": "lose", "properties": {"a": 2}, "session_id": "s"})
    yield post(EVENTS, {**win, "event_id": None})
    yield post(EVENTS, {**win, "event_id": None}, Idempotency_Key="i-1")
    yield post(EVENTS, {**win, "event_id": ""}, Idempotency_Key="i-1")
    yield post(EVENTS, {**win, "event_id": "w-2", "timestamp": TIME})
    yield post(EVENTS, {**win, "event_id": "w-3", "timestamp": TIME, "sent_at": TIME})
    yield post(EVENTS, {**win, "event_id": "w-4", "extra": 1, "properties": None})
    yield post(EVENTS, {"events": [win]})
    for fault in ({"player_id": UNKNOWN}, {"player_id": STRANGER}, {"player_id": "x"},
                  {"player_id": None}, {"event_name": ""}, {"event_name": " x"}, {"event_name": 1},
                  {"event_name": "ilara.x"}, {"event_name": "x" * 129}, {"event_name": "a\nb"},
                  {"properties": []}, {"properties": {f"k{n}": 1 for n in range(256)}},
                  {"properties": {"text": "x" * 66_000}}, {"properties": {"": 1}},
                  {"timestamp": "now"}, {"timestamp": 1769860800}, {"timestamp": "2199-01-01"},
                  {"timestamp": "1969-01-01T00:00:00Z"}, {"event_id": "x" * 129}, {"event_id": 1},
                  {"session_id": "a\0"}, {"sent_at": "x"}):  # fmt: skip
        yield post(EVENTS, {"player_id": VETERAN, "event_name": "a", "event_id": "f", **fault})
    yield post(EVENTS, {"event": "a", "playerId": VETERAN})
    yield post(EVENTS, {**win, "event_id": "w-5"}, Idempotency_Key="x" * 129)
    batch = f"{EVENTS}/batch"
    good = {"player_id": VETERAN, "event_name": "b", "event_id": "b-1"}
    yield post(batch, {"events": [good, {**good, "event_id": "b-2"}, {**good, "event_id": "b-1"}]})
    yield post(batch, {"events": [good, {**good, "event_id": "b-3", "player_id": UNKNOWN}, 5,
                                  {**good, "event_id": "b-4", "event_name": ""},
                                  {**good, "event_id": "b-5", "properties": {"a": 1}}]},
               )  # fmt: skip
    yield post(batch, {"events": [{**good, "properties": {"other": 1}, "session_id": "z"},
                                  {**good, "event_id": "b-6", "player_id": NEWCOMER}]})  # fmt: skip
    yield post(batch, {"events": [{**good, "event_id": None}] * 3, "sent_at": TIME})
    for value in (
        [],
        None,
        {},
        "x",
        [1],
        [good["player_id"]],
        [{}],
        [{**good, "player_id": UNKNOWN}],
    ):
        yield post(batch, {"events": value})
    many = [{**good, "event_id": f"m-{number}"} for number in range(1_000)]
    yield post(batch, {"events": many})
    yield post(batch, {"events": [*many, good]})
    yield post(batch, {"events": [good], "sent_at": "x", "extra": 1})
    yield post(batch, [good])
    yield post(batch, good)
    for query in ("after=x", "after=-1", "player_id=x", "event_name=a%0Ab"):
        yield get(f"{EVENTS}/stream?{query}", key="secret")
    yield get(f"{EVENTS}/stream", key="secret", Last_Event_ID="x")


def flags() -> Iterator[Request]:
    body: Any
    keys = [*FLAGS, "new_tutorial", "new-feature"]
    for key in keys:
        yield post(EVALUATE.format(key), {"player_id": VETERAN})
        yield post(EVALUATE.format(key), {"player_id": NEWCOMER, "context": {"level": 50}})
        yield post(EVALUATE.format(key) + "?explain=true", {"player_id": LOST}, key="secret")
        yield post(f"{OFREP}/{key}", {"context": {"targetingKey": "newcomer"}})
        yield post(f"{OFREP}/{key}", {"context": {}})
    for key in ("new-tutorial", "NEW_TUTORIAL", "nothing", "x" * 200):
        yield post(EVALUATE.format(key), {"player_id": VETERAN})
        yield post(f"{OFREP}/{key}", {"context": {"targetingKey": "veteran"}})
    text = EVALUATE.format("split")
    for query in ("explain=true", "explain=false", "explain=", "explain=1", "at=x", "at=",
                  "at=2091-01-01T00:00:00Z", "explain=true&at=2091-01-01T00:00:00Z", "x=1",
                  "at=2020-01-01T00:00:00Z"):  # fmt: skip
        yield post(f"{text}?{query}", {"player_id": VETERAN}, key="secret")
        yield post(f"{text}?{query}", {"player_id": VETERAN})
    yield post(f"{ALL_FLAGS}?explain=true", {"player_id": VETERAN}, key="secret")
    yield post(f"{ALL_FLAGS}?at=2091-01-01T00:00:00Z", {"player_id": VETERAN}, key="secret")
    for body in ({"player_id": NEWCOMER}, {"player_id": LOST, "context": {"level": 50}},
                 {"player_id": UNKNOWN}, {"player_id": STRANGER}, {"player_id": "x"},
                 {"player_id": 1}, {"player_id": VETERAN, "context": []},
                 {"player_id": VETERAN, "context": None},
                 {"player_id": VETERAN, "extra": 1}, {"playerId": VETERAN},
                 {"player_id": VETERAN.upper(), "context": {"country": "FR", "level": "45"}},
                 ):  # fmt: skip
        yield post(ALL_FLAGS, body)
        yield post(text, body)


def segments() -> Iterator[Request]:
    body: Any
    for key in (*SEGMENTS, "beta-testers"):
        for player in (VETERAN, NEWCOMER, LOST):
            yield post(MEMBER.format(key), {"player_id": player})
    for key in ("beta_testers", "nothing", "%C3%A9"):
        yield post(MEMBER.format(key), {"player_id": VETERAN})
    for body in (
        {"player_id": UNKNOWN},
        {"player_id": "x"},
        {"player_id": STRANGER},
        {"user": "x"},
    ):
        yield post(MEMBER.format("winners"), body, key="secret")
    for player in (VETERAN, NEWCOMER, STRANGER, VETERAN.upper()):
        yield get(MEMBERSHIPS.format(player), key="secret")


def ofrep() -> Iterator[Request]:
    context: Any
    newcomer = {"context": {"targetingKey": "newcomer", "level": 3}}
    yield post(OFREP, newcomer)
    yield post(OFREP, newcomer, If_None_Match=ETAG)
    yield post(OFREP, newcomer, If_None_Match=f'W/{ETAG}, "x"')
    yield post(OFREP, newcomer, If_None_Match="*")
    yield post(OFREP, newcomer, If_None_Match='"x"')
    yield post(OFREP, {"context": {"level": 3, "targetingKey": "newcomer"}}, If_None_Match=ETAG)
    yield post(OFREP, {"context": {"targetingKey": "veteran"}}, If_None_Match=ETAG)
    for context in (None, {}, [], {"targetingKey": None}, {"targetingKey": ""}, {"targetingKey": 1},
                    {"targetingKey": "x" * 256}, {"targetingKey": VETERAN},
                    {"targetingKey": "unregistered", "level": 45}, {"targetingKey": "a\0"},
                    {"targetingKey": UNKNOWN}, {"targetingKey": "veteran-alias"}):  # fmt: skip
        yield post(OFREP, {"context": context})
    yield post(OFREP, {"context": {"targetingKey": "veteran"}}, key=None,
               Authorization=f"Bearer {TOKENS['public']}")  # fmt: skip
    yield get("/v1/openapi.json", key=None, If_None_Match="*")


def headers() -> Iterator[Request]:
    for value in ("trace-1", "with space", "x" * 65, "a/b", ""):
        yield get(ONE, X_Request_Id=value)
    yield send("OPTIONS", PLAYERS, key=None, Origin="https://game.example",
               Access_Control_Request_Method="POST",
               Access_Control_Request_Headers="x-api-key, traceparent")  # fmt: skip
    for asked in ("x-a,,x-b", "x" * 5_000, "", " x-a "):
        yield send("OPTIONS", PLAYERS, key=None, Access_Control_Request_Headers=asked)
    for name, value in {"Accept": "text/html", "Accept-Encoding": "gzip", "Cookie": "sessionid=x",
                        "Range": "bytes=0-9", "X-HTTP-Method-Override": "DELETE", "If-Match": "x",
                        "X-Forwarded-Host": "x.example", "If-Modified-Since": "x",
                        }.items():  # fmt: skip
        yield get(ONE, **{name: value})
    yield send("OPTIONS", "/players/players", key=None)
    yield send("HEAD", "/v1/nothing", key=None)
    yield send("HEAD", f"{OFREP}/new_tutorial", key="public")


GROUPS = (endpoints, methods, keys, paths, bodies, players, events, flags, segments, ofrep, headers)
REQUESTS = [request for group in GROUPS for request in group()]

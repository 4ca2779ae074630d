"""Request bodies: accepted values are stored and returned unchanged, others are refused."""

import gzip
import re
import tracemalloc
import zlib
from io import BytesIO
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ilara_admin.api.bodies import checked_value, parse_body, parse_uuid
from ilara_admin.api.errors import ApiError
from ilara_admin.api.json_schema import INTEGER_RANGE
from ilara_admin.core.json_equality import identical
from ilara_admin.models import Environment
from tests.api_client import EVENTS, PLAYERS, Api, Reply
from tests.factories import make_key
from tests.inputs import inputs


def message_for(api: Api, body: bytes) -> tuple[str, str | None]:
    """The message and the field of a refused registration."""
    reply = api.post(PLAYERS, body)
    assert reply.status == 400, reply.json
    details = reply.error.get("details", [{"field": None}])
    return reply.error["message"], details[0]["field"]


def nested(levels: int) -> bytes:
    """A body whose deepest value is at this level; the body itself is level 1."""
    inner = levels - 2
    return b'{"external_id":"x","attributes":{"a":' + b"[" * inner + b"]" * inner + b"}}"


def attributes(text: bytes) -> bytes:
    return b'{"external_id":"x","attributes":{"a":' + text + b"}}"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"1" * 5_000])
def test_number_beyond_any_double__is_refused_by_name(number: bytes, public_api: Api) -> None:
    for text, field in (
        (number, "attributes.a"),
        (b'[{"b":' + number + b"}]", "attributes.a[0].b"),
    ):
        expected = (f"{field} must be a finite number", field)
        assert message_for(public_api, attributes(text)) == expected


@pytest.mark.parametrize("number", [b"0x10", b"01", b"1.", b".5", b"+1", b"1_0", b"nan"])
def test_number_outside_json__is_refused(number: bytes, public_api: Api) -> None:
    message, _ = message_for(public_api, attributes(number))
    assert message.startswith("The body is not valid JSON: ")
    assert re.search(r"\(byte \d+, in attributes(\.a)?\)$", message), message


@pytest.mark.parametrize(
    "text",
    [
        rb'"\ud800"', rb'"\udc00x"', rb'"\ud800\ud800"', b'"\xff"', b'"\xc3"', b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
    ],
)  # fmt: skip
def test_text_that_is_not_unicode__is_refused_by_name(text: bytes, public_api: Api) -> None:
    problem = "must be valid Unicode: it has half a surrogate pair or is not UTF-8"
    assert message_for(public_api, attributes(text)) == (f"attributes.a {problem}", "attributes.a")
    body = b'{"external_id":"x","something":' + text + b"}"
    assert message_for(public_api, body) == (f"something {problem}", "something")
    message, _ = message_for(public_api, b'{"external_id":"x",' + text + b":1}")
    assert message == f"A key {problem}"


def test_surrogate_pair__is_one_character(public_api: Api) -> None:
    assert public_api.post(PLAYERS, attributes(rb'"\ud83d\ude00"')).data["attributes"] == {
        "a": "😀"
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (rb'{"external_id":"a\u0000b"}', "external_id"),
        (attributes(rb'"\u0000"'), "attributes.a"),
        (attributes(rb'[1,{"b":["\u0000"]}]'), "attributes.a[1].b[0]"),
    ],
)
def test_nul_in_a_value__is_refused_with_its_path(body: bytes, field: str, public_api: Api) -> None:
    expected = (f"{field} must not contain the character NUL", field)
    assert message_for(public_api, body) == expected


def test_nul_in_a_key__is_refused(public_api: Api) -> None:
    body = rb'{"external_id":"x","attributes":{"a\u0000b":1}}'
    assert message_for(public_api, body)[0] == "A key must not contain the character NUL"


@pytest.mark.parametrize("key", [b"", b"k" * 129])
def test_key_that_is_empty_or_too_long__is_refused(key: bytes, public_api: Api) -> None:
    body = b'{"external_id":"x","attributes":{"' + key + b'":1}}'
    assert message_for(public_api, body)[0] == "A key has 1 to 128 characters"


@pytest.mark.parametrize("key", [b"", b"k" * 129, b"k" * 200_000])
def test_field_name_that_is_empty_or_too_long__gets_a_short_error(
    key: bytes, public_api: Api
) -> None:
    reply = public_api.post(PLAYERS, b'{"external_id":"x","' + key + rb'":"\u0000"}')
    assert reply.error["message"] == "A key has 1 to 128 characters"
    assert len(reply.body) < 300


def test_key_of_128_characters__is_stored(public_api: Api) -> None:
    assert public_api.register(attributes={"é" * 128: 1})["attributes"] == {"é" * 128: 1}


def test_16_levels__are_stored(public_api: Api) -> None:
    assert public_api.post(PLAYERS, nested(16)).status == 201


@pytest.mark.parametrize("levels", [17, 3_000])
def test_more_levels__are_refused(levels: int, public_api: Api) -> None:
    assert "nests deeper than 16 levels" in message_for(public_api, nested(levels))[0]


def test_100_000_levels__are_refused(public_api: Api) -> None:
    message, field = message_for(public_api, nested(100_000))
    assert message == f"{field} nests deeper than 16 levels"
    assert field
    assert field.startswith("attributes.a[0][0]")


@pytest.mark.parametrize("levels", [17, 3_000])
def test_levels_in_unknown_fields__count(levels: int, public_api: Api) -> None:
    body = nested(levels).replace(b'"attributes"', b'"something"')
    assert "nests deeper than 16 levels" in message_for(public_api, body)[0]


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0, 2**53 + 1])
def test_64_bit_integer__is_returned_exactly(number: int, public_api: Api) -> None:
    assert public_api.register(attributes={"n": number})["attributes"]["n"] == number


@pytest.mark.parametrize("given", inputs("numbers"), ids=lambda given: given["text"])
def test_number__is_returned_by_value(given: dict[str, Any], public_api: Api) -> None:
    reply = public_api.post(PLAYERS, attributes(given["text"].encode()))
    if given["value"] is None:
        assert reply.error["details"][0]["field"] == "attributes.a"
        return
    path = f"{PLAYERS}/{reply.data['id']}"
    for _ in range(2):
        stored = public_api.get(path).data["attributes"]["a"]
        assert stored == given["value"] or float(stored) == given["value"]
        assert public_api.patch(path, {"attributes": {"a": stored}}).status == 200


def test_integer_beyond_64_bits__is_the_double_that_others_read(public_api: Api) -> None:
    stored = public_api.register(attributes={"n": [2**64 + 1, {"m": -(2**63) - 1}]})["attributes"]
    assert stored["n"][0] not in (2**64 + 1, float("inf"))
    assert float(stored["n"][0]) == 2.0**64
    assert float(stored["n"][1]["m"]) == -(2.0**63)


JSON_NUMBERS = st.one_of(
    st.integers(-(10**25), 10**25),
    st.integers(-(2**66), 2**66),
    st.sampled_from([1e20, 1e308, 5e-324, -0.0, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**308]),
    st.floats(allow_nan=False, allow_infinity=False),
)
JSON_TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
JSON_KEYS = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8
)
JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), JSON_NUMBERS, JSON_TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(JSON_KEYS, inner, max_size=3),
    max_leaves=4,
)
PER_CALL = 100


@pytest.mark.slow
@settings(max_examples=20, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(values=st.lists(JSON_VALUES, min_size=PER_CALL, max_size=PER_CALL))
def test_what_get_returns__patch_takes(values: list[Any], environment: Environment) -> None:
    """2,000 JSON values: what is sent, stored, returned and sent again has one value."""
    api = Api(make_key(environment).token)
    sent = {f"v{number}": value for number, value in enumerate(values) if value is not None}
    reply = api.post(PLAYERS, {"external_id": f"p-{next(_numbers)}", "attributes": sent})
    if "64 KiB" in reply.body.decode():
        return
    path = f"{PLAYERS}/{reply.data['id']}"
    got = api.get(path).data["attributes"]
    assert same_value(got, sent)
    again = api.patch(path, {"attributes": got})
    assert again.status == 200, again.json
    assert identical(api.get(path).data["attributes"], got)


_numbers = count(1)


def same_value(one: Any, other: Any) -> bool:
    """Whether JSON values are equal: 64-bit integers exactly, other numbers as doubles."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if isinstance(one, int) and isinstance(other, int) and other in INTEGER_RANGE:
        return one == other
    return one == other if isinstance(one, str) else float(one) == float(other)


def test_duplicate_keys__the_last_wins(public_api: Api) -> None:
    body = b'{"external_id":"x","external_id":"y","attributes":{"a":1,"a":2}}'
    player = public_api.post(PLAYERS, body).data
    assert (player["external_id"], player["attributes"]) == ("y", {"a": 2})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"external_id": None}, "external_id must be a string, not null"),
        ({"external_id": ""}, "external_id must have at least 1 character"),
        ({"external_id": "x" * 256}, "external_id must have at most 255 characters"),
        ({"external_id": "x", "email": 1}, "email must be a string or null, not an integer"),
        ({"external_id": "x", "email": "e" * 255}, "email must have at most 254 characters"),
        ({"external_id": "x", "email": "a\nb"}, "email has characters that are not allowed"),
        ({"external_id": "x", "email": "a@b\n"}, "email has characters that are not allowed"),
        ({"external_id": "x", "device_id": []}, "device_id must be a string or null, not an array"),
        (
            {"external_id": "x", "attributes": []},
            "attributes must be an object or null, not an array",
        ),
        (
            {"external_id": "x", "attributes": 1.5},
            "attributes must be an object or null, not a num",
        ),
    ],
)
def test_wrong_type__error_names_the_field(
    body: dict[str, Any], message: str, public_api: Api
) -> None:
    actual, field = message_for(public_api, msgspec.json.encode(body))
    assert actual.startswith(message)
    assert actual.partition(" ")[0] == field


@pytest.mark.parametrize(
    ("timestamp", "message"),
    [
        ("yesterday", "timestamp must be a time like 2026-01-31T12:00:00Z"),
        ("2026-02-30T12:00:00Z", "timestamp must be a time like 2026-01-31T12:00:00Z"),
        ("1769860800", "timestamp must be a time like 2026-01-31T12:00:00Z"),
        (1769860800, "timestamp must be a time like 2026-01-31T12:00:00Z, not a number"),
        (1769860800.5, "timestamp must be a time like 2026-01-31T12:00:00Z, not a number"),
        (True, "timestamp must be a time like 2026-01-31T12:00:00Z, not true or false"),
        ([], "timestamp must be a time like 2026-01-31T12:00:00Z, not an array"),
        ("1969-12-31T23:59:59Z", "timestamp must be between the years 1970 and 2099"),
        ("2100-01-01T00:00:00Z", "timestamp must be between the years 1970 and 2099"),
        ("9999-12-31T23:59:59-23:59", "timestamp must be between the years 1970 and 2099"),
        ("0001-01-01T00:00:00+23:59", "timestamp must be between the years 1970 and 2099"),
    ],
)
def test_time_that_cannot_be_stored__is_refused(
    timestamp: object, message: str, public_api: Api
) -> None:
    body = {"player_id": public_api.register()["id"], "event_name": "x", "timestamp": timestamp}
    assert public_api.post(EVENTS, body).error["message"] == message


def test_byte_order_mark__is_ignored(public_api: Api) -> None:
    assert public_api.post(PLAYERS, b'\xef\xbb\xbf{"external_id":"x"}').status == 201


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"{", "JSON: Expecting property name enclosed in double quotes (byte 1)"),
        (b'{"external_id":"x"', "JSON: Expecting ',' delimiter (byte 18, in external_id)"),
        (b'{"external_id":"x', "JSON: Unterminated string (byte 15, in external_id)"),
        ('{"external_id":"é",x}'.encode(), "(byte 20)"),
        (b'{"external_id":"x"} x', "JSON: Extra data (byte 20)"),
        (
            b'{"attributes":{"a":[1,{"b":tru',
            "JSON: Expecting value (byte 27, in attributes.a[1].b)",
        ),
        (b'{"external_id":"x",\xff', "UTF-8 (byte 19)"),
        ('{"external_id":"x"}'.encode("utf-16"), "UTF-8 (byte 0)"),
    ],
)
def test_body_that_is_not_json__error_names_the_byte(
    body: bytes, where: str, public_api: Api
) -> None:
    message, field = message_for(public_api, body)
    assert message.startswith("The body is not valid ")
    assert message.endswith(where), message
    assert field is None


@pytest.mark.parametrize("field", ["sent_at", "started_at"])
def test_number_as_a_time__is_refused_with_the_right_form(field: str, public_api: Api) -> None:
    player_id = public_api.register()["id"]
    path = EVENTS if field == "sent_at" else f"{PLAYERS}/{player_id}/session"
    reply = public_api.post(path, {"player_id": player_id, "event_name": "x", field: 1769860800})
    message = f"{field} must be a time like 2026-01-31T12:00:00Z, not a number"
    assert (reply.status, reply.error["message"]) == (400, message)


def test_ignored_fields__are_listed_up_to_20(public_api: Api) -> None:
    names = {f"n{number}": 1 for number in range(30)}
    reply = public_api.post(PLAYERS, {"external_id": "x", **names})
    assert len(reply.headers["X-Ilara-Ignored"].split(", ")) == 20


def test_ignored_name__cannot_break_out_of_the_header(public_api: Api) -> None:
    reply = public_api.post(PLAYERS, {"external_id": "x", "a\r\nSet-Cookie: b": 1})
    assert reply.headers["X-Ilara-Ignored"] == "a%0D%0ASet-Cookie%3A%20b"


@pytest.mark.parametrize("number", [b"1e400", b"1e99999999999999999999", b"1e-999999999999999999"])
def test_amount_out_of_range__is_refused(number: bytes, public_api: Api) -> None:
    path = f"{PLAYERS}/{public_api.register()['id']}/purchase"
    assert public_api.post(path, b'{"amount":' + number + b"}").status == 400


def test_exact_numbers__keep_every_digit() -> None:
    assert str(parse_body(b'{"a": 4.10}', exact_numbers=True)["a"]) == "4.10"


def test_checked_value__counts_levels_from_the_given_level() -> None:
    assert checked_value([[]], "x", level=15) == [[]]
    with pytest.raises(ApiError, match=r"x\[0\] nests deeper"):
        checked_value([[]], "x", level=16)


def test_uuid__names_the_last_part_of_the_field() -> None:
    with pytest.raises(ApiError, match=r"^Invalid player_id format$"):
        parse_uuid("x", "events[3].player_id")


# --- Compression ----------------------------------------------------------------------------------

BODY = b'{"external_id":"x","attributes":{"a":1}}'
LIMIT = 1024 * 1024


def send_packed(api: Api, body: bytes, encoding: str = "gzip") -> Reply:
    return api.request("POST", PLAYERS, body, headers={"Content-Encoding": encoding})


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", " gzip "])
def test_gzip__is_inflated(encoding: str, public_api: Api) -> None:
    reply = send_packed(public_api, gzip.compress(BODY), encoding)
    assert (reply.status, reply.data["attributes"]) == (201, {"a": 1})


@pytest.mark.parametrize("encoding", ["identity", ""])
def test_identity__is_no_encoding(encoding: str, public_api: Api) -> None:
    assert send_packed(public_api, BODY, encoding).status == 201


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "nonsense"])
def test_other_encoding__is_415_and_named(encoding: str, public_api: Api) -> None:
    reply = send_packed(public_api, zlib.compress(BODY), encoding)
    assert reply.status == 415
    assert reply.error["message"] == f"Content-Encoding must be gzip or absent, not {encoding}"
    assert reply.headers["Accept-Encoding"] == "gzip"


PACKED = gzip.compress(BODY, mtime=0)  # its bytes are part of test names


@pytest.mark.parametrize(
    "body",
    [
        BODY, PACKED[:-1], PACKED[:12], PACKED[:5], PACKED[:-8] + bytes(8), PACKED + b"x",
        zlib.compress(BODY),
    ],
)  # fmt: skip
def test_broken_gzip__is_400_and_names_the_header(body: bytes, public_api: Api) -> None:
    reply = send_packed(public_api, body)
    assert reply.status == 400
    assert "Content-Encoding" in reply.error["message"]


def test_gzip__has_the_limit_of_any_body_after_inflation(public_api: Api) -> None:
    fill = LIMIT - len(b'{"external_id":"x","y":""}')
    body = b'{"external_id":"x","y":"' + b"y" * fill + b'"}'
    assert send_packed(public_api, gzip.compress(body)).status == 201
    assert send_packed(public_api, gzip.compress(body + b" ")).status == 413


def test_gzip_bomb__is_refused_without_memory(public_api: Api) -> None:
    bomb = gzip.compress(bytes(100 * LIMIT), 1)
    assert len(bomb) < LIMIT
    public_api.register()
    tracemalloc.start()
    try:
        assert send_packed(public_api, bomb).status == 413
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * LIMIT


def test_gzip_in_chunks__is_inflated(public_api: Api) -> None:
    environ = {
        "wsgi.input": BytesIO(PACKED),
        "HTTP_TRANSFER_ENCODING": "chunked",
        "CONTENT_LENGTH": "",
    }
    headers = {"Content-Encoding": "gzip"}
    reply = public_api.request("POST", PLAYERS, b"", environ=environ, headers=headers)
    assert (reply.status, reply.data["attributes"]) == (201, {"a": 1})

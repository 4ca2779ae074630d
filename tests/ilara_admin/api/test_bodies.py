"""Request bodies: accepted values are stored and returned unchanged, others are refused."""

from typing import Any

import msgspec
import pytest

from ilara_admin.api.bodies import check_value, parse_object, parse_uuid
from ilara_admin.api.errors import ApiError
from tests.api_client import EVENTS, PLAYERS, Api


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


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"0x10", b"01"])
def test_number_outside_json__is_refused(number: bytes, public_api: Api) -> None:
    assert message_for(public_api, attributes(number))[0].startswith("The body is not valid JSON")


@pytest.mark.parametrize("text", [rb'"\ud800"', rb'"\udc00x"', rb'"\ud800\ud800"'])
def test_lone_surrogate__is_refused(text: bytes, public_api: Api) -> None:
    assert message_for(public_api, attributes(text))[0].startswith("The body is not valid JSON")


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
    message, _ = message_for(public_api, nested(100_000))
    assert message == "The body nests deeper than 16 levels"


@pytest.mark.parametrize("levels", [17, 3_000])
def test_levels_in_unknown_fields__count(levels: int, public_api: Api) -> None:
    body = nested(levels).replace(b'"attributes"', b'"something"')
    assert "nests deeper than 16 levels" in message_for(public_api, body)[0]


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0, 2**53 + 1])
def test_64_bit_integer__is_returned_exactly(number: int, public_api: Api) -> None:
    assert public_api.register(attributes={"n": number})["attributes"]["n"] == number


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_longer_integer__is_refused(number: int, public_api: Api) -> None:
    message, field = message_for(public_api, attributes(str(number).encode()))
    assert (message, field) == ("attributes.a must be an integer within 64 bits", "attributes.a")


def test_integer_of_5_000_digits__is_refused(public_api: Api) -> None:
    assert message_for(public_api, attributes(b"1" * 5_000))[0]


@pytest.mark.parametrize("number", [1e20, 1e308, -1.5, 5e-324, 0.1])
def test_float__is_returned_exactly(number: float, public_api: Api) -> None:
    stored = public_api.register(attributes={"n": number})["attributes"]["n"]
    assert float(stored) == number


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
            "attributes must be an object, not an array",
        ),
        (
            {"external_id": "x", "attributes": 1.5},
            "attributes must be an object, not a num",
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
        ("", "timestamp must be a time like 2026-01-31T12:00:00Z"),
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


@pytest.mark.parametrize("field", ["sent_at", "started_at"])
def test_number_as_a_time__is_refused_with_the_right_form(field: str, public_api: Api) -> None:
    player_id = public_api.register()["id"]
    path = EVENTS if field == "sent_at" else f"{PLAYERS}/{player_id}/session"
    reply = public_api.post(path, {"player_id": player_id, "event_name": "x", field: 1769860800})
    message = f"{field} must be a time like 2026-01-31T12:00:00Z, not a number"
    assert (reply.status, reply.error["message"]) == (400, message)


@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_invalid_utf_8__is_refused_even_in_unknown_fields(text: bytes, public_api: Api) -> None:
    body = b'{"external_id":"x","something":"' + text + b'"}'
    assert message_for(public_api, body)[0] == "The body is not valid UTF-8"


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
    assert str(parse_object(b'{"a": 4.10}', exact_numbers=True)["a"]) == "4.10"


def test_check_value__counts_levels_from_the_given_level() -> None:
    check_value([[]], "x", level=15)
    with pytest.raises(ApiError, match=r"x\[0\] nests deeper"):
        check_value([[]], "x", level=16)


def test_uuid__names_the_last_part_of_the_field() -> None:
    with pytest.raises(ApiError, match=r"^Invalid player_id format$"):
        parse_uuid("x", "events[3].player_id")

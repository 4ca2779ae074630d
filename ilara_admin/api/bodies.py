"""Request bodies: from bytes to a struct, or to an error that names the field and the fix.

The whole body is checked before any endpoint runs: size, encoding, nesting, and values that
PostgreSQL or another client could not read (NUL, lone surrogates, integers beyond 64 bits).
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from hashlib import blake2b
from secrets import token_bytes
from typing import Any, BinaryIO, cast
from urllib.parse import quote
from uuid import UUID

import msgspec
from django.http import HttpRequest

from ilara_admin.api.errors import ApiError, invalid
from ilara_admin.api.json_schema import (
    INTEGER_RANGE,
    MAX_KEY_CHARACTERS,
    MAX_LEVELS,
    UUID_PATTERN,
    YEARS,
)
from ilara_admin.core.times import EXAMPLE, read_time

MAX_BODY_BYTES = 1024 * 1024
MAX_IGNORED_NAMES = 20

_uuid = re.compile(UUID_PATTERN)
_decoder = msgspec.json.Decoder()
_exact_decoder = msgspec.json.Decoder(float_hook=Decimal)


def is_uuid(text: str) -> bool:
    return _uuid.fullmatch(text) is not None


def parse_uuid(text: object, field: str) -> UUID:
    """A UUID in its 36-character form, any case; other forms that Python accepts are refused."""
    if not isinstance(text, str) or not is_uuid(text):
        raise invalid(f"Invalid {field.rpartition('.')[2]} format", field)
    return UUID(text)


def decode_body[T: msgspec.Struct](
    request: HttpRequest,
    struct: type[T],
    checks_itself: tuple[str, ...] = (),
    *,
    exact_numbers: bool = False,
) -> tuple[T, tuple[str, ...]]:
    """The decoded body and the names of unknown top-level fields.

    An empty body counts as {}. The contents of fields in `checks_itself` are not checked.
    """
    body = read_body(request)
    data = parse_object(body, exact_numbers=exact_numbers) if body.strip() else {}
    for name, value in data.items():
        check_key(name, name[:64])
        if name not in checks_itself:
            check_value(value, name, level=2)
    known = struct.__struct_encode_fields__
    ignored = [quote(name, safe="")[:64] for name in data if name not in known]
    return to_struct(data, struct), tuple(ignored[:MAX_IGNORED_NAMES])


def read_body(request: HttpRequest) -> bytes:
    """The complete body, within the size limit. Read once and stored with the request, as is the
    error of a refused body: when the request is restarted, the rest must not pass as a body."""
    if not hasattr(request, "raw_body"):
        try:
            request.raw_body = _read_body(request)  # type: ignore[attr-defined]
        except ApiError as error:
            request.raw_body = error  # type: ignore[attr-defined]
    body: bytes | ApiError = request.raw_body  # type: ignore[attr-defined]
    if isinstance(body, ApiError):
        raise body
    return body


def read_object(request: HttpRequest) -> dict[str, Any] | None:
    """The object in the body, or None if the body cannot be read as one."""
    try:
        return parse_object(read_body(request))
    except ApiError:
        return None


def _read_body(request: HttpRequest) -> bytes:
    environ = request.META
    chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise invalid("The Content-Length header is not a number") from None
    if length > MAX_BODY_BYTES:
        raise _too_large()
    # The server ends a chunked stream at the last chunk; Django itself would read nothing.
    source: BinaryIO = environ["wsgi.input"] if chunked else cast(BinaryIO, request)
    try:
        body = source.read(MAX_BODY_BYTES + 1 if chunked else length)
    except Exception as error:
        # The server raises its own exceptions for malformed chunks and disconnected clients.
        raise invalid("The body ends early or its chunks are malformed") from error
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    if not chunked and len(body) < length:
        raise invalid("The body is shorter than its Content-Length says")
    if body:
        _check_content_type(environ.get("CONTENT_TYPE", ""))
    return body


def _too_large() -> ApiError:
    return invalid("The body is larger than 1 MiB", status=413)


def _check_content_type(header: str) -> None:
    media_type = header.partition(";")[0].strip().lower()
    if media_type not in ("", "application/json") and not media_type.endswith("+json"):
        raise invalid("Send the body as application/json", status=415)


def parse_object(body: bytes, *, exact_numbers: bool = False) -> dict[str, Any]:
    """Decode JSON that must be an object."""
    try:
        body.decode("utf-8")
        data = (_exact_decoder if exact_numbers else _decoder).decode(body)
    except UnicodeDecodeError:
        raise invalid("The body is not valid UTF-8") from None
    except RecursionError:
        raise invalid(f"The body nests deeper than {MAX_LEVELS} levels") from None
    except InvalidOperation:
        raise invalid("The body is not valid JSON: Number out of range") from None
    except msgspec.DecodeError as error:
        text = str(error).removeprefix("JSON is malformed: ").partition(" - at `")[0]
        raise invalid(f"The body is not valid JSON: {text}") from None
    if not isinstance(data, dict):
        raise invalid("The body must be a JSON object")
    return data


def check_value(value: Any, path: str, level: int) -> None:
    """Raise ApiError unless this JSON value can be stored and returned unchanged.

    `level` is the nesting depth of the value; the body itself is level 1.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise invalid(f"{path} must not contain the character NUL", path)
    elif isinstance(value, bool | float):
        return
    elif isinstance(value, int):
        if value not in INTEGER_RANGE:
            raise invalid(f"{path} must be an integer within 64 bits", path)
    elif isinstance(value, dict | list):
        if level > MAX_LEVELS:
            raise invalid(f"{path} nests deeper than {MAX_LEVELS} levels", path)
        for place, name, item in _children(value, path):
            if name is not None:
                check_key(name, place)
            check_value(item, place, level + 1)


def _children(value: Any, path: str) -> Iterator[tuple[str, str | None, Any]]:
    if isinstance(value, dict):
        return ((f"{path}.{name[:64]}", name, item) for name, item in value.items())
    return ((f"{path}[{index}]", None, item) for index, item in enumerate(value))


def check_key(name: str, path: str) -> None:
    if not 1 <= len(name) <= MAX_KEY_CHARACTERS:
        raise invalid(f"A key has 1 to {MAX_KEY_CHARACTERS} characters", path)
    if "\0" in name:
        raise invalid("A key must not contain the character NUL", path.replace("\0", ""))


def parse_moment(text: str, field: str) -> datetime:
    """Parse a time, in the body or the query string, as UTC. The year, as written, is one that
    every part of the system supports."""
    moment = read_time(text)
    if moment is None:
        raise invalid(f"{field} must be {TYPES['datetime']}", field)
    if moment.tzinfo is not UTC or int(text[:4]) not in YEARS:
        raise invalid(f"{field} must be between the years {YEARS[0]} and {YEARS[-1]}", field)
    return moment


# --- Ids that clients give ----------------------------------------------------------------------


def idempotency_key(request: HttpRequest) -> str | None:
    """The Idempotency-Key header, used when the body has no id."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= 128:
        raise invalid("Idempotency-Key must have 1 to 128 characters", "Idempotency-Key")
    return key


def client_id(request: HttpRequest, in_body: str | None) -> str | None:
    """The id in the body, else the header. An invalid header is refused even if it is not used."""
    key = idempotency_key(request)
    return in_body or key


def digest_of(client_id: str | None) -> bytes:
    """The 16 bytes that identify a client's id in a ledger; random bytes if there is no id."""
    if client_id is None:
        return token_bytes(16)
    return blake2b(client_id.encode(), digest_size=16).digest()


# --- Structs and messages ---------------------------------------------------------------------

TYPES = {
    "str": "a string", "int": "an integer", "float": "a number", "bool": "true or false",
    "object": "an object", "array": "an array", "null": "null", "decimal": "a number",
    "datetime": f"a time like {EXAMPLE}",
}  # fmt: skip


def to_struct[T: msgspec.Struct](data: Any, struct: type[T], prefix: str = "") -> T:
    """Plain data as a struct. `prefix` is the path of the data, like `events[3].`."""
    try:
        return msgspec.convert(data, struct)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        path = place.rstrip("`").lstrip(".")
        if path in _moments_in(struct):
            problem = _TEXT_EXPECTED.sub("Expected `datetime`", problem).replace("`int`", "`float`")
        raise _readable(problem, path, prefix) from None


_TEXT_EXPECTED = re.compile(r"Expected `str( \| null)?`")


@cache
def _moments_in(struct: type[msgspec.Struct]) -> frozenset[str]:
    """The names of the fields that take a time."""
    _, components = msgspec.json.schema_components((struct,))
    fields = components[struct.__name__]["properties"]
    return frozenset(name for name, schema in fields.items() if "date-time" in repr(schema))


def _readable(problem: str, path: str, prefix: str) -> ApiError:
    if found := re.search(r"missing required field `(.+)`", problem):
        field = prefix + ".".join(filter(None, [path, found[1]]))
        return invalid(f"{field} is required", field)
    field = prefix + path
    if not field:
        return invalid("The body must be a JSON object")
    if field.endswith("player_id"):
        return invalid("Invalid player_id format", field)
    return invalid(f"{field} {_sentence(problem)}", field)


def _sentence(problem: str) -> str:
    if found := re.search(r"Expected `(.+?)`, got `(.+?)`", problem):
        wanted = " or ".join(TYPES.get(name, name) for name in found[1].split(" | "))
        return f"must be {wanted}, not {TYPES.get(found[2], found[2])}"
    if found := re.search(r"Expected `(\w+)` of length (>=|<=) (\d+)", problem):
        bound = "at least" if found[2] == ">=" else "at most"
        noun = {"str": "character", "array": "item", "object": "key"}.get(found[1], "item")
        return f"must have {bound} {found[3]} {noun}{'' if found[3] == '1' else 's'}"
    if found := re.search(r"Expected `\w+` (>=|<=|>|<) (\S+)", problem):
        bounds = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
        return f"must be {bounds[found[1]]} {found[2]}"
    if "multiple of 1" in problem:
        return "must be a whole number"
    if "RFC3339" in problem or "datetime" in problem:
        return f"must be {TYPES['datetime']}"
    if "matching regex" in problem:
        return "has characters that are not allowed"
    return f"is invalid: {problem}"

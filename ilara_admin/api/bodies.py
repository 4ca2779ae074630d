"""Request bodies: from bytes to a struct, or to an error that names the field and the fix.

The whole body is checked before any endpoint runs: size, encoding, nesting, and values that
PostgreSQL or another client could not read (NUL, lone surrogates, numbers beyond any double).
Numbers count by value: an integer beyond 64 bits becomes the double that other languages read.
"""

import re
import zlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from math import inf, isfinite
from secrets import token_bytes
from typing import Any, BinaryIO, cast
from urllib.parse import quote
from uuid import UUID

import msgspec
from django.http import HttpRequest

from ilara_admin.api import body_errors
from ilara_admin.api.errors import ApiError, Code, invalid
from ilara_admin.api.json_schema import (
    INTEGER_RANGE,
    MAX_KEY_CHARACTERS,
    MAX_LEVELS,
    UUID_PATTERN,
    YEARS,
)
from ilara_admin.api.json_text import exact_number, read_leniently, storable
from ilara_admin.core.structs import converter
from ilara_admin.core.times import read_time

MAX_BODY_BYTES = 1024 * 1024
MAX_IGNORED_NAMES = 20

_uuid = re.compile(UUID_PATTERN)
_decoder = msgspec.json.Decoder()
_exact_decoder = msgspec.json.Decoder(float_hook=exact_number)
BOM = b"\xef\xbb\xbf"
GZIP = ("gzip", "x-gzip")  # RFC 9110 has both names for it
CONTAINERS = (dict, list)
LEAST, MOST = INTEGER_RANGE[0], INTEGER_RANGE[-1]
_surrogate = re.compile("[\ud800-\udfff]").search
is_key = re.compile(f"[^\0\ud800-\udfff]{{1,{MAX_KEY_CHARACTERS}}}").fullmatch


class BodyRequest(HttpRequest):
    """`raw_body` is set once the body was read: the bytes, or why they are refused. `ignored` are
    the names of unknown top-level fields."""

    raw_body: bytes | ApiError
    ignored: Sequence[str]


def is_uuid(text: str) -> bool:
    return _uuid.fullmatch(text) is not None


def parse_uuid(text: object, field: str) -> UUID:
    """A UUID in its 36-character form, any case; other forms that Python accepts are refused."""
    if not isinstance(text, str) or not is_uuid(text):
        name = field.rpartition(".")[2]
        raise invalid(
            f"Invalid {name} format",
            field,
            fix=body_errors.PLAYER_ID if name == "player_id" else None,
        )
    return UUID(text)


def decode_body[T: msgspec.Struct](
    request: BodyRequest,
    struct: type[T],
    checks_itself: tuple[str, ...] = (),
    *,
    exact_numbers: bool = False,
) -> T:
    """The decoded body. Sets `request.ignored` to the names of unknown top-level fields, also where
    the body is refused: the wrong name of a required field is among them.

    An empty body counts as {}. The contents of fields in `checks_itself` are not checked.
    """
    body = read_body(request)
    data = parse_body(body, exact_numbers=exact_numbers) if body.strip() else {}
    if not isinstance(data, dict):
        raise body_errors.not_an_object(data, struct)
    known = struct.__struct_encode_fields__
    ignored = [quote(name, "", errors="replace")[:64] for name in data if name not in known]
    request.ignored = ignored[:MAX_IGNORED_NAMES]
    return checked_struct(data, struct, checks_itself)


def checked_struct[T: msgspec.Struct](
    data: dict[str, Any], struct: type[T], checks_itself: Collection[str] = ()
) -> T:
    """A decoded body as a struct, after the checks of its values. Empty text in an optional text
    field counts as absent: some runtimes write it for null."""
    for name, value in data.items():
        if not is_key(name):
            check_key(name, name[:64])
        if name not in checks_itself and not _is_plain(value):
            data[name] = checked_value(value, name, level=2)
    if "" in data.values():
        for name in optional_texts(struct):
            if data.get(name) == "":
                del data[name]
    return to_struct(data, struct)


@cache
def optional_texts(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    """The optional fields of a body that take text: texts, times, and amounts."""
    inspect = msgspec.inspect
    texts = (inspect.StrType, inspect.DateTimeType, inspect.AnyType)
    found = []
    for field in cast(inspect.StructType, inspect.type_info(struct)).fields:
        of = field.type
        parts = of.types if isinstance(of, inspect.UnionType) else (of,)
        plain = (part.type if isinstance(part, inspect.Metadata) else part for part in parts)
        if not field.required and any(isinstance(part, texts) for part in plain):
            found.append(field.name)
    return tuple(found)


def read_body(request: BodyRequest) -> bytes:
    """The complete body, within the size limit. Read once and stored with the request, as is the
    error of a refused body: when the request is restarted, the rest must not pass as a body."""
    if not hasattr(request, "raw_body"):
        try:
            request.raw_body = _read_body(request)
        except ApiError as error:
            request.raw_body = error
    if isinstance(request.raw_body, ApiError):
        raise request.raw_body
    return request.raw_body


def read_object(request: BodyRequest) -> dict[str, Any] | None:
    """The object in the body, or None if the body cannot be read as one."""
    try:
        data = parse_body(read_body(request))
    except ApiError:
        return None
    return data if isinstance(data, dict) else None


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
    if not body:
        return body
    _check_content_type(environ.get("CONTENT_TYPE", ""))
    return _inflated(body, environ.get("HTTP_CONTENT_ENCODING", ""))


def _inflated(body: bytes, header: str) -> bytes:
    """The body without the compression that the header Content-Encoding names."""
    encoding = header.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in GZIP:
        raise ApiError(
            Code.VALIDATION_ERROR,
            f"Content-Encoding must be gzip or absent, not {header.strip()[:64]}",
            status=415,
            headers={"Accept-Encoding": "gzip"},
        )
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        # Stops behind the limit, however much there is to inflate.
        plain = stream.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise invalid("The body is not gzip, as its Content-Encoding says") from None
    if len(plain) > MAX_BODY_BYTES:
        raise _too_large()
    if not stream.eof or stream.unused_data:
        problem = "ends early" if not stream.eof else "continues after its end"
        raise invalid(f"The body {problem}: Content-Encoding says gzip")
    return plain


def _too_large() -> ApiError:
    return invalid("The body is larger than 1 MiB", status=413)


def _check_content_type(header: str) -> None:
    media_type = header.partition(";")[0].strip().lower()
    if media_type not in ("", "application/json") and not media_type.endswith("+json"):
        raise invalid("Send the body as application/json", status=415)


def parse_body(body: bytes, *, exact_numbers: bool = False) -> Any:
    """Decode JSON. It may contain what checked_value refuses."""
    body = body.removeprefix(BOM)
    try:
        body.decode("utf-8")
        return (_exact_decoder if exact_numbers else _decoder).decode(body)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return read_leniently(body, exact_numbers=exact_numbers)


def checked_value(value: Any, path: str, level: int) -> Any:
    """The JSON value as it is stored and returned. Changes containers in place: integers beyond 64
    bits become doubles. Raises ApiError if it cannot be stored.

    `level` is the nesting depth of the value; the body itself is level 1.
    """
    if isinstance(value, CONTAINERS) and level > MAX_LEVELS:
        raise invalid(f"{path} nests deeper than {MAX_LEVELS} levels", path)
    if isinstance(value, dict):
        for name, item in value.items():
            if not is_key(name):
                check_key(name, f"{path}.{name[:64]}")
            if not _is_plain(item):
                value[name] = checked_value(item, f"{path}.{name[:64]}", level + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if not _is_plain(item):
                value[index] = checked_value(item, f"{path}[{index}]", level + 1)
    elif isinstance(value, str) and not _is_storable(value):
        raise invalid(_text_problem(path, value), path)
    elif isinstance(value, int | float) and not _is_plain(value):
        try:
            value = float(value)
        except OverflowError:
            value = inf
        if not isfinite(value):
            raise invalid(f"{path} must be a finite number", path)
    return value


def _is_plain(value: Any) -> bool:
    """Whether the value needs no check of its contents and no change."""
    if isinstance(value, str):  # _is_storable, without the call
        return "\0" not in value and (value.isascii() or not _surrogate(value))
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, int):
        return LEAST <= value <= MOST
    return not isinstance(value, CONTAINERS)


def _is_storable(text: str) -> bool:
    return "\0" not in text and (text.isascii() or not _surrogate(text))


def _text_problem(subject: str, text: str) -> str:
    if "\0" in text:
        return f"{subject} must not contain the character NUL"
    return f"{subject} must be valid Unicode: it has half a surrogate pair or is not UTF-8"


def check_key(name: str, path: str) -> None:
    path = storable(path.replace("\0", ""))
    if not 1 <= len(name) <= MAX_KEY_CHARACTERS:
        raise invalid(f"A key has 1 to {MAX_KEY_CHARACTERS} characters", path)
    if not _is_storable(name):
        raise invalid(_text_problem("A key", name), path)


def parse_moment(text: str, field: str) -> datetime:
    """Parse a time, in the body or the query string, as UTC. The year, as written, is one that
    every part of the system supports."""
    moment = read_time(text)
    if moment is None:
        raise invalid(f"{field} must be {body_errors.TYPES['datetime']}", field)
    if moment.tzinfo is not UTC or int(text[:4]) not in YEARS:
        raise invalid(f"{field} must be between the years {YEARS[0]} and {YEARS[-1]}", field)
    return moment


# --- Ids that clients give ----------------------------------------------------------------------


def idempotency_key(request: HttpRequest) -> str | None:
    """The Idempotency-Key header, used when the body has no id. An empty one counts as absent."""
    key = request.headers.get("Idempotency-Key") or None
    if key is not None and len(key) > 128:
        raise invalid("Idempotency-Key must have at most 128 characters", "Idempotency-Key")
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


# --- Structs --------------------------------------------------------------------------------------


def to_struct[T: msgspec.Struct](data: Any, struct: type[T], prefix: str = "") -> T:
    """Plain data as a struct. `prefix` is the path of the data, like `events[3].`."""
    try:
        found: T = converter(struct)(data)
    except msgspec.ValidationError as error:
        raise body_errors.of_struct(error, data, struct, prefix) from None
    return found

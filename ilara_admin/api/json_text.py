"""Reads bodies that the strict decoder refuses, so that the error can name the value or the place.

Imports Django only through the errors.
"""

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from ilara_admin.api.errors import ApiError, invalid
from ilara_admin.api.json_schema import MAX_LEVELS

MAX_INTEGER_DIGITS = 400  # more than the largest double has; Python refuses to read over 4,300
_token = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{},:]', re.DOTALL)


def exact_number(text: str) -> Decimal | float:
    """A fraction with all its digits. If its exponent is out of range: infinity, or 0.0."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return float(text)


def read_leniently(body: bytes, *, exact_numbers: bool) -> Any:
    """The value in a body, which may contain what no other reader accepts: NaN, numbers beyond any
    double (as infinity), lone surrogates, and bytes that are not UTF-8 (as lone surrogates).

    Raises ApiError with the byte where it stops being JSON, and the item of a list."""
    text = body.decode("utf-8", "surrogateescape")
    try:
        return json.loads(
            text, parse_float=exact_number if exact_numbers else float, parse_int=_integer
        )
    except RecursionError:
        raise _too_deep(text) from None
    except json.JSONDecodeError as error:
        raise _malformed(body, text, error) from None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else float(digits)


def _malformed(body: bytes, text: str, error: json.JSONDecodeError) -> ApiError:
    problem = f"JSON: {error.msg.removesuffix(' at').removesuffix(' starting')}"
    byte, position = len(text[: error.pos].encode("utf-8", "surrogateescape")), error.pos
    try:
        body.decode()
    except UnicodeDecodeError as broken:
        if broken.start <= byte:
            byte, position = broken.start, len(body[: broken.start].decode())
            problem = "UTF-8"
    path = _path(text, position)
    where = f"byte {byte}, in {path}" if path else f"byte {byte}"
    # Only an item of a list is worth a field: the rest of the body was read.
    item = re.match(r"\w+\[\d+\]", path)
    return invalid(f"The body is not valid {problem} ({where})", item and item[0])


def _too_deep(text: str) -> ApiError:
    path = _path(text, len(text), MAX_LEVELS)
    if path[:1] in ("", "["):
        return invalid(f"The body nests deeper than {MAX_LEVELS} levels")
    return invalid(f"{path} nests deeper than {MAX_LEVELS} levels", path)


def _path(text: str, end: int, levels: int | None = None) -> str:
    """The path of the value that `end` is in, like `events[2].properties`, or of the first value
    deeper than `levels`. Does not recurse, as the text may nest without limit."""
    steps: list[int | str] = []  # per open container: the index in a list, or the key
    key = ""
    for found in _token.finditer(text, 0, end):
        token = found[0]
        match token[0]:
            case "[":
                steps.append(0)
            case "{":
                steps.append("")
            case "]" | "}":
                del steps[-1:]
            case '"':
                key = token[1:65].removesuffix('"')
            case ":" if steps and isinstance(steps[-1], str):
                steps[-1] = key
            case "," if steps:
                last = steps[-1]
                steps[-1] = last + 1 if isinstance(last, int) else ""
        if levels is not None and len(steps) > levels:
            break
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return storable(path.strip("."))


def storable(text: str) -> str:
    """The text with its lone surrogates, which nothing else can encode, as escapes."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()

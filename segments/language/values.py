"""The values that rules compare: durations, times, versions, patterns. Imports no Django.

The format of versions is a regular expression in the syntax common to Python and PostgreSQL, so
that both evaluators accept the same text; times are read by core/times.py.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import floor
from typing import Any

import re2

from ilara_admin.core.times import read_time

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

# A number as a time: a smaller one is in seconds since 1970, any other in milliseconds.
FIRST_MILLISECONDS = 10**11
EARLIEST_SECOND, LATEST_SECOND = -62_135_596_800, 253_402_300_799  # of the years 1 to 9999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# One to eight numbers, then the pre-release and build of semantic versioning.
VERSION = (
    r"^[vV]?[0-9]{1,16}(?:\.[0-9]{1,16}){0,7}"
    r"(?:-[0-9A-Za-z-]{1,40}(?:\.[0-9A-Za-z-]{1,40}){0,7})?(?:\+[0-9A-Za-z.+-]{1,80})?$"
)
VERSION_PARTS = 8
MAX_VERSION_PART = 2**53 - 1
VERSION_PART_DIGITS = 16
IDENTIFIER_LENGTH = 40
RELEASE = "~"  # sorts after every pre-release

MAX_PATTERN_MEMORY = 1 << 20  # bytes; a pattern that needs more is rejected

_is_version = re.compile(VERSION[1:-1]).fullmatch
_is_number = re.compile("[0-9]+").fullmatch


def duration(text: str) -> timedelta:
    """`30d`, `12h`, `90m` or `2w`; raises ValueError for anything else."""
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS or not (number.isascii() and number.isdigit()) or len(number) > 5:
        raise ValueError(text)
    return timedelta(**{UNITS[unit]: int(number)})


def moment(value: object) -> datetime | None:
    """A player's value as a time, None if it is not one. A number counts from 1970, in seconds or
    milliseconds by its size, and is cut to whole milliseconds."""
    if isinstance(value, str):
        return read_time(value)
    if isinstance(value, datetime):
        return value
    return _since_1970(value) if is_number(value) else None


def _since_1970(number: Any) -> datetime | None:
    if isinstance(number, float):
        number = Decimal(repr(number))  # as PostgreSQL stores it
    if not abs(number) < 1000 * (LATEST_SECOND + 1):
        return None
    milliseconds = floor(number * 1000 if is_in_seconds(number) else number)
    if milliseconds < 1000 * EARLIEST_SECOND:
        return None
    return _EPOCH + timedelta(milliseconds=milliseconds)


def is_in_seconds(number: Any) -> bool:
    """Whether a number that stands for a time counts seconds rather than milliseconds."""
    return bool(abs(number) < FIRST_MILLISECONDS)


def boundary(text: str) -> datetime | timedelta:
    """The operand of `before` and `after`: a time, or an offset from now such as `-7d` or `+12h`.
    Raises ValueError for anything else."""
    if text[:1] in ("-", "+"):
        span = duration(text[1:])
        return span if text[0] == "+" else -span
    fixed = read_time(text)
    if fixed is None or fixed.tzinfo is not UTC:  # the database may not read another offset
        raise ValueError(text)
    return fixed


type Version = tuple[tuple[int, ...], str]


def version(value: object) -> Version | None:
    """The sort key of a version (semver.org 2.0.0, section 11): numbers padded with zeros, then the
    pre-release with identifiers rewritten so that text comparison orders them."""
    if not isinstance(value, str) or not _is_version(value):
        return None
    numbers, dash, pre_release = value.lstrip("vV").partition("+")[0].partition("-")
    parts = [int(part) for part in numbers.split(".")]
    if max(parts) > MAX_VERSION_PART:
        return None
    parts += [0] * (VERSION_PARTS - len(parts))
    if not dash:
        return tuple(parts), RELEASE
    identifiers = (
        "0" + part.zfill(IDENTIFIER_LENGTH) if _is_number(part) else "1" + part
        for part in pre_release.split(".")
    )
    return tuple(parts), " ".join(identifiers)


def pattern(text: str) -> Any:
    """Compile an RE2 regular expression, whose run time is linear in the text. Raises ValueError
    with the reason."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_MEMORY
    try:
        return re2.compile(text, options)
    except re2.error as error:
        found = error.args[0]
        raise ValueError(found.decode() if isinstance(found, bytes) else str(found)) from None


def exact(number: float) -> int | float:
    """The number as PostgreSQL's JSON returns it, where 1e23 is an integer."""
    if isinstance(number, float) and number.is_integer():
        return int(Decimal(repr(number)))
    return number


def is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)

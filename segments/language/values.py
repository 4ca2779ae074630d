"""The values that rules compare: durations, times, versions, patterns. Imports no Django.

Formats are regular expressions in the syntax common to Python and PostgreSQL, so that both
evaluators accept the same text for times and versions.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import re2

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

# Valid dates from year 1; times to the microsecond; offsets below 16 hours.
_DAY = (
    "(?!0000)(?:"
    "[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?"
_ZONE = "(?:Z|[+-](?:0[0-9]|1[0-5]):[0-5][0-9])"
NAIVE_MOMENT = f"^{_DAY}(?:[T ]{_TIME})?$"
ZONED_MOMENT = f"^{_DAY}[T ]{_TIME}{_ZONE}$"

# One to four numbers, then the pre-release and build of semantic versioning.
VERSION = (
    r"^v?[0-9]{1,9}(?:\.[0-9]{1,9}){0,3}"
    r"(?:-[0-9A-Za-z-]{1,40}(?:\.[0-9A-Za-z-]{1,40}){0,7})?(?:\+[0-9A-Za-z.-]{1,80})?$"
)
VERSION_PARTS = 4
IDENTIFIER_LENGTH = 40
RELEASE = "~"  # sorts after every pre-release

MAX_PATTERN_MEMORY = 1 << 20  # bytes; a pattern that needs more is rejected

_is_naive = re.compile(NAIVE_MOMENT[1:-1]).fullmatch
_is_zoned = re.compile(ZONED_MOMENT[1:-1]).fullmatch
_is_version = re.compile(VERSION[1:-1]).fullmatch
_is_number = re.compile("[0-9]+").fullmatch


def duration(text: str) -> timedelta:
    """`30d`, `12h`, `90m` or `2w`; raises ValueError for anything else."""
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS or not (number.isascii() and number.isdigit()) or len(number) > 5:
        raise ValueError(text)
    return timedelta(**{UNITS[unit]: int(number)})


def moment(value: object) -> datetime | None:
    """A player's value as a time. Text without a zone is UTC; None if it is not a time."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        return None
    if _is_zoned(value):
        return datetime.fromisoformat(value)
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if _is_naive(value) else None


def boundary(text: str) -> datetime | timedelta:
    """The operand of `before` and `after`: a time, or an offset from now such as `-7d` or `+12h`.
    Raises ValueError for anything else."""
    if text[:1] in ("-", "+"):
        span = duration(text[1:])
        return span if text[0] == "+" else -span
    fixed = moment(text)
    if fixed is None:
        raise ValueError(text)
    return fixed


type Version = tuple[tuple[int, ...], str]


def version(value: object) -> Version | None:
    """The sort key of a version (semver.org 2.0.0, section 11): numbers padded with zeros, then the
    pre-release with identifiers rewritten so that text comparison orders them."""
    if not isinstance(value, str) or not _is_version(value):
        return None
    numbers, dash, pre_release = value.removeprefix("v").partition("+")[0].partition("-")
    parts = [int(part) for part in numbers.split(".")]
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

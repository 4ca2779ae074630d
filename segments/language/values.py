"""The values that rules compare: time spans, moments, versions, patterns. Imports no Django.

The forms are regular expressions in the dialect that Python and PostgreSQL share, so that both
evaluators of rules take the same texts for moments and versions.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import re2

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

# Every date that exists from the year 1 on; a time to the microsecond, an offset below 16 hours.
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

# One to four numbers, then what semantic versioning allows: a pre-release and a build.
VERSION = (
    r"^v?[0-9]{1,9}(?:\.[0-9]{1,9}){0,3}"
    r"(?:-[0-9A-Za-z-]{1,40}(?:\.[0-9A-Za-z-]{1,40}){0,7})?(?:\+[0-9A-Za-z.-]{1,80})?$"
)
VERSION_PARTS = 4
IDENTIFIER_LENGTH = 40
RELEASE = "~"  # sorts after every pre-release

MAX_PATTERN_MEMORY = 1 << 20  # bytes; a pattern that needs more is refused

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
    """A time of a player, or a text that is one; without a zone it means UTC."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        return None
    if _is_zoned(value):
        return datetime.fromisoformat(value)
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if _is_naive(value) else None


def boundary(text: str) -> datetime | timedelta:
    """What `before` and `after` compare with: a moment, or how far from now it lies, for `-7d` or
    `+12h`. Raises ValueError for anything else."""
    if text[:1] in ("-", "+"):
        span = duration(text[1:])
        return span if text[0] == "+" else -span
    fixed = moment(text)
    if fixed is None:
        raise ValueError(text)
    return fixed


type Version = tuple[tuple[int, ...], str]


def version(value: object) -> Version | None:
    """What versions sort by, after semver.org 2.0.0, part 11: the numbers, filled up with zeros,
    then the pre-release. Its identifiers are written so that plain text comparison orders them."""
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
    """A regular expression of RE2, whose time is linear in the text it searches. Raises
    ValueError with what is wrong."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_MEMORY
    try:
        return re2.compile(text, options)
    except re2.error as error:
        found = error.args[0]
        raise ValueError(found.decode() if isinstance(found, bytes) else str(found)) from None


def exact(number: float) -> int | float:
    """The number as PostgreSQL's JSON gives it back, where 1e23 is a whole number."""
    if isinstance(number, float) and number.is_integer():
        return int(Decimal(repr(number)))
    return number


def is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)

"""The one reader of times that others send: API, rules, documents, commands. Imports no Django.

It reads ISO 8601 and RFC 3339 as the standard libraries of .NET, Java, Kotlin, Go, JavaScript,
Swift, Python, Ruby and PostgreSQL write them: a date, with or without hyphens, then perhaps a time
after `T` or a space, with or without colons, seconds and a fraction, of which microseconds count.
A zone is `Z`, `UTC` or an offset below 24 hours; without one the text is UTC. The zone's name may
follow, as Go (` +0100 CET`) and RFC 9557 (`+01:00[Europe/Berlin]`) write it. `24:00:00` is the end
of the day, and `23:59:60` UTC is the second after 23:59:59. Years are 0001 to 9999, as written.

The Python and the SQL reader share regular expressions in the syntax common to both, so they accept
the same texts. These have neither groups nor lookaround, which make PostgreSQL many times slower.
"""

import re
from datetime import UTC, datetime, timedelta, timezone

EXAMPLE = "2026-01-31T12:00:00Z"


def _date(dash: str) -> str:
    year = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
    leap_year = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
    return (
        f"(?:{year}{dash}(?:(?:0[13578]|1[02]){dash}(?:0[1-9]|[12][0-9]|3[01])"
        f"|(?:0[469]|11){dash}(?:0[1-9]|[12][0-9]|30)|02{dash}(?:0[1-9]|1[0-9]|2[0-8]))"
        f"|{leap_year}{dash}02{dash}29)"
    )


def _clock(colon: str) -> str:
    second = f"(?:{colon}(?:[0-5][0-9]|60)(?:[.,][0-9]+)?)?"
    return f"(?:[01][0-9]|2[0-3]){colon}[0-5][0-9]{second}|24{colon}00(?:{colon}00(?:[.,]0+)?)?"


_DATE = f"(?:{_date('-')}|{_date('')})"
_CLOCK = f"(?:{_clock(':')}|{_clock('')})"
_HOURS = "[+-](?:[01][0-9]|2[0-3])"
_OFFSET = f"{_HOURS}(?::?[0-5][0-9](?::?[0-5][0-9])?)?"
_GO_NAME = r"(?: (?:[A-Za-z]+|[+-][0-9]+)(?: m=[+-][0-9]+(?:\.[0-9]+)?)?)?"
_NAME = r"(?:\[!?[0-9A-Za-z_+/:=.-]+\])*"
# Directly after a date, `-05` and `-0500` would look like a part of it.
_AFTER_DATE = f"(?:[Zz]|{_HOURS}:[0-5][0-9])?"
_AFTER_CLOCK = f"(?: ?(?:[Zz]|UTC){_NAME}| ?{_OFFSET}(?:{_GO_NAME}|{_NAME}))?"
TIME = f"^{_DATE}(?:{_AFTER_DATE}|[Tt ]{_CLOCK}{_AFTER_CLOCK})$"
# The commonest forms, with offsets that PostgreSQL reads.
USUAL_TIME = (
    f"^{_date('-')}(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:\.[0-9]+)?(?:Z|[+-](?:0[0-9]|1[0-5]):[0-5][0-9])?)?$"
)

# What fromisoformat reads, in all versions of Python; it also checks the date.
_is_usual = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:\.[0-9]+)?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?)?"
).fullmatch
_is_time = re.compile(TIME[1:-1]).fullmatch
_parts = re.compile(
    f"([0-9]{{4}}-?[0-9]{{2}}-?[0-9]{{2}})(?:[Tt ]({_CLOCK}))?(?: ?([+-])([0-9:]+))?"
).match


def read_time(value: object) -> datetime | None:
    """The time in UTC that a text states; None if it states none. An instant outside the years 1 to
    9999 in UTC keeps its offset."""
    if not isinstance(value, str):
        return value if isinstance(value, datetime) else None
    if not _is_usual(value):
        return _read(value) if _is_time(value) else None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    if at.tzinfo is UTC:
        return at
    return _in_utc(at) if at.tzinfo else at.replace(tzinfo=UTC)


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        return at


def _read(text: str) -> datetime | None:
    found = _parts(text)
    assert found, "a time has these parts"
    day, clock, sign, offset = found.groups("")
    clock, offset = clock.replace(":", ""), offset.replace(":", "").ljust(6, "0")
    since_midnight = timedelta(
        hours=int(clock[:2] or 0),
        minutes=int(clock[2:4] or 0),
        seconds=int(clock[4:6] or 0),
        microseconds=int(clock[7:13].ljust(6, "0")),
    )
    east = timedelta(hours=int(offset[:2]), minutes=int(offset[2:4]), seconds=int(offset[4:]))
    east = -east if sign == "-" else east
    if clock[4:6] == "60" and (since_midnight - east) % timedelta(days=1) >= timedelta(seconds=1):
        return None  # not the end of a day in UTC
    try:
        local = datetime.fromisoformat(day) + since_midnight
    except OverflowError:
        return None
    return _in_utc(local.replace(tzinfo=timezone(east)))


def sql_time(text: str) -> str:
    """SQL that reads the SQL expression `text` as read_time does: a timestamptz, or NULL.

    A regular expression ensures that casts cannot fail, and string functions, which are faster than
    more of them, find the parts.
    """
    seconds, end = f"left({text}, 19)", f"substr({text}, 20)"
    fraction = f"left(split_part(translate({end}, 'Z-', '++'), '+', 1), {len('.123456')})"
    usual = f"{seconds} || {fraction} || coalesce(nullif(ltrim({end}, '.0123456789'), ''), 'Z')"
    date_length = f"CASE WHEN substr({text}, 5, 1) = '-' THEN 10 ELSE 8 END"
    date = f"translate(left({text}, {date_length}), '-', '')"
    after = f"split_part(ltrim(substr({text}, 1 + {date_length}), 'Tt '), '[', 1)"
    clock = f"split_part(translate({after}, ' ZzU-', '+++++'), '+', 1)"
    zone = f"split_part(ltrim(substr({after}, 1 + length({clock}))), ' ', 1)"
    digits = f"translate({clock}, ',:', '.')"
    # In this basic format, PostgreSQL reads leap seconds with a fraction, too.
    local = f"({date} || ' ' || left({digits}, {len('235960.123456')}))::timestamp"
    span = f"rpad(translate({zone}, ':', ''), {len('+010000')}, '0')"
    span = f"overlay(overlay({span} PLACING ':' FROM 6 FOR 0) PLACING ':' FROM 4 FOR 0)::interval"
    span = f"CASE WHEN left({zone}, 1) IN ('+', '-') THEN {span} ELSE '0'::interval END"
    utc = f"({local} - {span})"
    is_leap_second = f"substr({digits}, 5, 2) = '60'"
    return f"""CASE WHEN {text} ~ '{USUAL_TIME}' THEN ({usual})::timestamptz
        WHEN {text} !~ '{TIME}' THEN NULL
        WHEN CASE WHEN left({clock}, 2) = '24' OR {is_leap_second} THEN {local} >= '10000-01-01'
            OR {is_leap_second} AND date_trunc('second', {utc})::time <> '00:00' END THEN NULL
        ELSE {utc} AT TIME ZONE 'UTC' END"""

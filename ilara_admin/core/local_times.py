"""Times of a time zone and the instants that they mean. Imports no Django.

When clocks are set back, a local time occurs twice; when they are set forward, some do not occur.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import NamedTuple


class Typed(NamedTuple):
    """A time in a form: the local time as typed, and the instant that it stands for, as ISO 8601
    with an offset; "" if there is none. The instant keeps what the local time cannot express: which
    of two equal times, and parts of a second."""

    local: str
    exact: str = ""


class NotOneTime(ValueError):
    """A local time that occurs twice or not at all. `choices` are the two instants to offer."""

    def __init__(self, local: datetime, zone: tzinfo, choices: Sequence[datetime]) -> None:
        self.choices = choices
        twice = all(each.replace(tzinfo=None) == local for each in choices)
        why = "occurs twice, as clocks go back" if twice else "is skipped, as clocks go forward"
        super().__init__(f"In {zone}, {clock_text(local)} {why}.")


def in_zone(instant: datetime, zone: tzinfo) -> datetime:
    """The instant as a local time with its offset. Unlike a time of the zone itself, it compares
    and prints by that offset."""
    here = instant.astimezone(zone)
    return here.replace(tzinfo=timezone(here.utcoffset() or timedelta()), fold=0)


def readings(local: datetime, zone: tzinfo) -> list[datetime]:
    """The instants that a local time may mean, earliest first: one, or two if it occurs twice. If
    it does not occur, the two that the offsets before and after the change give it. Raises
    ValueError at the ends of the calendar."""
    try:
        found = {local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
        return [in_zone(instant, zone) for instant in sorted(found)]
    except OverflowError:
        raise ValueError("That time is too far away.") from None


def typed_time(instant: datetime, zone: tzinfo) -> Typed:
    """An instant for a form, to the second."""
    here = in_zone(instant, zone)
    return Typed(here.replace(tzinfo=None, microsecond=0).isoformat(), here.isoformat())


def choices_for(typed: Typed, zone: tzinfo) -> list[tuple[datetime, bool]]:
    """The instants to choose from, each with whether it is chosen; none if the local time means one
    instant or cannot be read."""
    try:
        found = readings(_precise(typed), zone)
    except ValueError:
        return []
    chosen = _instant(typed.exact)
    return [(each, each == chosen) for each in found] if len(found) > 1 else []


def resolve(typed: Typed, zone: tzinfo) -> datetime | None:
    """The instant of a form, None if it is empty. Raises NotOneTime, and ValueError if it cannot
    be read."""
    if not typed.local.strip():
        return None
    local, exact = _precise(typed), _instant(typed.exact)
    if local.tzinfo is not None:
        return in_zone(local, zone)
    if exact is not None and exact.replace(tzinfo=None) == local:
        return exact
    found = readings(local, zone)
    if exact in found:
        return exact
    if len(found) > 1:
        raise NotOneTime(local, zone, found)
    return found[0]


def _precise(typed: Typed) -> datetime:
    """The local time as typed, with the parts of a second of an instant that it still equals."""
    local, exact = datetime.fromisoformat(typed.local.strip()), _instant(typed.exact)
    if exact is not None and local == exact.replace(tzinfo=None, microsecond=0):
        return exact.replace(tzinfo=None)
    return local


def _instant(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def clock_text(local: datetime) -> str:
    """`31 Oct 2027, 02:30`, with an offset `31 Oct 2027, 02:30 UTC+02:00`; seconds if not 0."""
    text = f"{local.day} {local:%b %Y}, {local:{'%H:%M:%S' if local.second else '%H:%M'}}"
    return f"{text} {local.tzinfo}" if local.tzinfo else text


def choice_text(at: datetime) -> str:
    """`02:30 UTC+02:00, 31 Oct 2027`: what differs between two choices comes first."""
    date, _, clock = clock_text(at).partition(", ")
    return f"{clock}, {date}"


def line_text(instant: datetime, zone: tzinfo) -> str:
    """`2026-12-01 09:00` for a line of text, with seconds and their parts if not 0, and with the
    offset if the local time occurs twice: `2027-10-31 02:30 +02:00`."""
    here = in_zone(instant, zone)
    local = here.replace(tzinfo=None)
    return line_with_offset(here) if len(readings(local, zone)) > 1 else _line(local)


def line_with_offset(at: datetime) -> str:
    local = at.replace(tzinfo=None)
    return f"{_line(local)} {at.isoformat().removeprefix(local.isoformat())}"


def _line(local: datetime) -> str:
    whole = local.second == local.microsecond == 0
    return local.isoformat(" ", "minutes" if whole else "auto")


def day_starts(today: date, days: int, zone: tzinfo) -> list[datetime]:
    """When each of the last `days` days begins and when the last one ends, in UTC: together they
    cover the time without gap or overlap, also where midnight occurs twice or not at all."""
    return [_day_start(today - timedelta(days=ago), zone) for ago in range(days - 1, -2, -1)]


def _day_start(day: date, zone: tzinfo) -> datetime:
    """The second in which the local date becomes `day` or a later one."""
    usual = datetime.combine(day, time(), zone).astimezone(UTC)
    before = usual - timedelta(seconds=1)
    if before.astimezone(zone).date() < day == usual.astimezone(zone).date():
        return usual
    midnight = datetime.combine(day, time(), UTC)
    # No zone is further from UTC than this.
    low, high = -26 * 3600, 26 * 3600
    while high - low > 1:
        middle = (low + high) // 2
        if (midnight + timedelta(seconds=middle)).astimezone(zone).date() < day:
            low = middle
        else:
            high = middle
    return midnight + timedelta(seconds=high)

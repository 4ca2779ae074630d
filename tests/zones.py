"""The time zones of the tz database and their clock changes of 2026 and 2027."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
DAY, HALF_HOUR = timedelta(days=1), timedelta(minutes=30)


@cache
def clock_changes() -> dict[ZoneInfo, list[datetime]]:
    """The first second of each new offset, by zone."""
    return {zone: changes_of(zone) for zone in map(ZoneInfo, sorted(available_timezones()))}


def changes_of(zone: ZoneInfo) -> list[datetime]:
    return list(_changes(zone))


def _changes(zone: ZoneInfo) -> Iterator[datetime]:
    at = BEGIN
    before = at.astimezone(zone).utcoffset()
    while at < END:
        low, high = at, at + DAY
        after = high.astimezone(zone).utcoffset()
        if after != before:
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                middle = middle.replace(microsecond=0)
                if middle.astimezone(zone).utcoffset() == before:
                    low = middle
                else:
                    high = middle
            yield high
        at, before = at + DAY, after


def around(change: datetime, hours: int) -> Iterator[datetime]:
    """Each half hour from `hours` before the change to `hours` after it."""
    for halves in range(-2 * hours, 2 * hours + 1):
        yield change + halves * HALF_HOUR

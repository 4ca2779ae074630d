"""Whether rejected events rise. Imports no Django.

The last hour is compared with the same hour of the previous days, so a daily rhythm is not pointed
out. Rejected events are kept for seven days, so the hour a week ago is partly deleted and left out.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

DAYS = range(1, 7)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FEWEST = 50  # in the last hour
FACTOR = 3


def hours(now: datetime) -> list[datetime]:
    """The starts of the last hour and of those it is compared with, newest first."""
    return [now - HOUR, *(now - HOUR - day * DAY for day in DAYS)]


def is_rising(count: int, before: Sequence[int]) -> bool:
    """`count` in the last hour, `before` in the hours it is compared with."""
    return count >= FEWEST and count >= FACTOR * max(before, default=0)


def words(count: int, before: Sequence[int]) -> str:
    most = max(before, default=0)
    usual = f"at most {most:,}" if most else "none"
    return f"{count:,} in the last hour; {usual} at this time on the {len(before)} days before."

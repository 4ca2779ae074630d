"""Events that stopped or surged. Imports no Django.

The last complete hours of an event are compared with the same hours of the previous seven days. So
an event is judged from its eighth day on, and a daily or weekly rhythm is not pointed out. An hour
is a UTC clock hour, named by its start.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from math import floor, log10
from statistics import median

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
DAYS = range(1, 8)
# Hours of a gap that are compared. Less than a day, so that a daily event that is an hour late, as
# after a change of clocks, is not missed yet.
GAP_HOURS = 23
LATE = 1  # hours
# A gap counts where so many events were usual, a surge from so many more than usual.
FEWEST_MISSED = 30
FEWEST_MORE = 100
SURGE_FACTOR = 3


class State(StrEnum):
    STOPPED = "stopped"
    SURGED = "surged"


@dataclass(frozen=True, slots=True)
class Unusual:
    """Stopped: none since the last event at `since`, where `usual` an hour arrived before.
    Surged: `count` in the hour from `since` on, where `usual` is the most of the days before."""

    state: State
    since: datetime
    usual: float
    count: int = 0


def last_hour(until: datetime) -> datetime:
    """The last hour that is complete if everything before `until` is counted."""
    return until.astimezone(UTC).replace(minute=0, second=0, microsecond=0) - HOUR


def hours_before(hour: datetime) -> list[datetime]:
    """The hours that a surge in `hour` is compared with: the same ones of the days before and those
    next to them, since clocks change."""
    return [hour - day * DAY + late * HOUR for day in DAYS for late in (-LATE, 0, LATE)]


def judge(
    counts: Mapping[datetime, int], *, known_since: datetime, last_seen: datetime, last: datetime
) -> Unusual | None:
    """What is unusual about an event, by its counts of the complete hours up to `last`; hours
    without events may be missing. Hours before `known_since` have no counts."""
    if known_since > last - WEEK - LATE * HOUR:
        return None
    return _stopped(counts, last_seen, last) or _surged(counts, last)


def _stopped(counts: Mapping[datetime, int], last_seen: datetime, last: datetime) -> Unusual | None:
    begin = last_hour(last_seen) + 2 * HOUR  # the first hour without an event
    gap = list(_hours(max(begin, last - (GAP_HOURS - 1) * HOUR), last))
    days = [day for day in DAYS if last - day * DAY < begin]
    if not gap or days[-1:] != [DAYS[-1]]:
        return None
    expected = [
        min(
            sum(counts.get(hour - day * DAY - late * HOUR, 0) for hour in gap) for late in (0, LATE)
        )
        for day in days
    ]
    # A day of the week without events is not missed, nor is a single burst.
    usual = min(median(expected), expected[-1])
    if usual < FEWEST_MISSED:
        return None
    return Unusual(State.STOPPED, last_seen, usual / len(gap))


def _surged(counts: Mapping[datetime, int], last: datetime) -> Unusual | None:
    count = counts.get(last, 0)
    most = max(counts.get(hour, 0) for hour in hours_before(last))
    if count < SURGE_FACTOR * most or count - most < FEWEST_MORE:
        return None
    return Unusual(State.SURGED, last, most, count)


def _hours(first: datetime, last: datetime) -> Iterator[datetime]:
    while first <= last:
        yield first
        first += HOUR


def words(found: Unusual, now: datetime) -> str:
    """What was compared, as a sentence, in the time zone of `now`."""
    since = _clock(found.since, now)
    if found.state is State.STOPPED:
        return f"None since {since}; usually about {_about(found.usual)} an hour at this time."
    end = _clock(found.since + HOUR, now)
    before = f"at most {found.usual:,.0f}" if found.usual else "none"
    return (
        f"{found.count:,} from {since} to {end}; {before} in an hour at this time in the 7 days "
        "before."
    )


def _clock(moment: datetime, now: datetime) -> str:
    """`14:07`, on another day `27 Nov, 14:07`."""
    here = moment.astimezone(now.tzinfo)
    day = "" if here.date() == now.date() else f"{here.day} {here:%b}, "
    return f"{day}{here:%H:%M}"


def _about(number: float) -> str:
    """With two significant digits: 1234.5 is "1,200"."""
    if number < 10:
        return f"{number:.1g}" if number < 1 else f"{number:.0f}"
    return f"{round(number, 1 - floor(log10(number))):,.0f}"

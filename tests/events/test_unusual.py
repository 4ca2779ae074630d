"""Which events stopped or surged: the rules, and how they are said."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from events.unusual import DAY, HOUR, WEEK, State, Unusual, judge, last_hour, words

LAST = datetime(2026, 11, 26, 15, tzinfo=UTC)  # a Thursday
NEXT = LAST + HOUR
LONG_AGO = LAST - 60 * DAY

type Rate = Callable[[datetime], int]


def counts_of(rate: Rate, *, until: datetime = NEXT, days: int = 16) -> dict[datetime, int]:
    """Counts of the hours before `until`; hours without events are missing."""
    hours = [until - HOUR * number for number in range(1, days * 24)]
    return {hour: rate(hour) for hour in hours if rate(hour)}


def steady(_: datetime) -> int:
    return 1_200


def on_weekdays(hour: datetime) -> int:
    return 1_200 if hour.weekday() < 5 else 0


def once_a_day(hour: datetime) -> int:
    return 5_000 if hour.hour == 4 else 0


def judged(
    counts: Mapping[datetime, int],
    *,
    known_since: datetime = LONG_AGO,
    last: datetime = LAST,
    last_seen: datetime | None = None,
) -> Unusual | None:
    seen = last_seen or max(counts) + timedelta(minutes=59)
    return judge(counts, known_since=known_since, last_seen=seen, last=last)


# --- Stopped --------------------------------------------------------------------------------------


def test_event_that_stopped__is_pointed_out_after_one_complete_hour() -> None:
    seen = datetime(2026, 11, 26, 14, 7, tzinfo=UTC)
    counts = counts_of(steady, until=LAST - HOUR) | {LAST - HOUR: 140}
    found = judged(counts, last_seen=seen)
    assert found == Unusual(State.STOPPED, seen, 1_200)
    assert judged(counts, last_seen=seen, last=LAST - HOUR) is None


def test_event_that_arrived_in_the_last_complete_hour_or_later__has_not_stopped() -> None:
    counts = counts_of(steady, until=LAST - 5 * HOUR)
    assert judged(counts | {LAST: 1}) is None
    assert judged(counts, last_seen=NEXT + HOUR) is None


@pytest.mark.parametrize(("per_hour", "hours"), [(29, 2), (10, 3), (3, 10), (2, 15)])
def test_sparse_event__needs_a_longer_gap(per_hour: int, hours: int) -> None:
    for gap in (1, 2, 3, 9, 10, 14, 15, 22):
        counts = counts_of(lambda _: per_hour, until=NEXT - HOUR * gap)
        assert (judged(counts) is not None) == (gap >= hours), gap


def test_rare_event__is_never_pointed_out() -> None:
    assert all(
        judged(counts_of(lambda _: 1, until=NEXT - HOUR * gap)) is None for gap in range(0, 150, 9)
    )


@pytest.mark.parametrize("known_since", [NEXT - WEEK, NEXT - DAY, NEXT])
def test_new_event__is_not_judged_before_its_eighth_day(known_since: datetime) -> None:
    counts = counts_of(steady, until=LAST)
    assert judged(counts, known_since=known_since) is None
    assert judged(counts, known_since=LAST - WEEK - HOUR) is not None


def test_weekly_rhythm__is_not_missed_at_the_weekend_but_on_monday() -> None:
    friday = datetime(2026, 11, 27, 23, tzinfo=UTC)
    counts = counts_of(on_weekdays, until=friday + HOUR)
    for hours in range(1, 50, 6):
        assert judged(counts, last=friday + hours * HOUR) is None, hours
    monday = judged(counts, last=datetime(2026, 11, 30, 8, tzinfo=UTC))
    assert monday is not None
    assert monday.state is State.STOPPED


@pytest.mark.parametrize("late", [0, 1])
def test_daily_event__may_be_an_hour_late(late: int) -> None:
    """As where it runs at a local time and clocks go back."""
    counts = counts_of(once_a_day, until=datetime(2026, 11, 26, 4, tzinfo=UTC))
    four = datetime(2026, 11, 26, 4, tzinfo=UTC)
    assert judged(counts, last=four + late * HOUR - HOUR) is None
    assert judged(counts, last=four + HOUR) is not None


def test_single_burst__is_not_missed_a_week_later() -> None:
    burst = counts_of(lambda hour: 9_000 if hour == LAST - WEEK else 5)
    assert judged({hour: n for hour, n in burst.items() if hour < LAST}) is None


def test_event_that_stopped_long_ago__is_pointed_out_for_a_week() -> None:
    for hours in (1, 23, 100, 167, 168, 169, 170, 190):
        found = judged(counts_of(steady, until=NEXT - HOUR * hours))
        assert (found is not None) == (hours <= 7 * 24), hours


# --- Surged ---------------------------------------------------------------------------------------


def test_surge__is_three_times_the_most_of_the_days_before() -> None:
    usual = counts_of(lambda _: 300, until=LAST)
    assert judged(usual | {LAST: 900}) == Unusual(State.SURGED, LAST, 300, 900)
    assert judged(usual | {LAST: 899}) is None
    assert judged(usual | {LAST: 900, LAST - 3 * DAY: 301}) is None
    assert judged(usual | {LAST: 900, LAST - 3 * DAY + 3 * HOUR: 5_000}) is not None


def test_surge_of_few_events__is_not_pointed_out() -> None:
    usual = counts_of(lambda _: 2, until=LAST)
    assert judged(usual | {LAST: 101}) is None
    assert judged(usual | {LAST: 102}) is not None
    assert judged({LAST: 100, LAST - 5 * HOUR: 1}) == Unusual(State.SURGED, LAST, 0, 100)
    assert judged({LAST: 100}, known_since=LAST - DAY) is None


def test_daily_event__does_not_surge_when_clocks_change() -> None:
    for moved in (-1, 0, 1):
        usual = counts_of(once_a_day, until=datetime(2026, 11, 26, tzinfo=UTC))
        hour = datetime(2026, 11, 26, 4 + moved, tzinfo=UTC)
        assert judged(usual | {hour: 5_000}, last=hour) is None
    assert judged(counts_of(on_weekdays), last=LAST) is None


def test_steady_event__is_not_pointed_out() -> None:
    assert judged(counts_of(steady)) is None


def test_no_counts__are_nothing_unusual() -> None:
    assert judged({}, last_seen=LAST - 3 * DAY) is None


# --- Words ----------------------------------------------------------------------------------------


def test_last_hour__is_complete() -> None:
    assert last_hour(datetime(2026, 11, 26, 16, 0, tzinfo=UTC)) == LAST
    kolkata = datetime(2026, 11, 26, 22, 20, tzinfo=ZoneInfo("Asia/Kolkata"))  # 16:50 UTC
    assert last_hour(kolkata) == LAST


@pytest.mark.parametrize(
    ("zone", "stopped", "surged"),
    [
        ("UTC", "14:07", "from 15:00 to 16:00"),
        ("Asia/Kolkata", "19:37", "from 20:30 to 21:30"),
        ("Asia/Tokyo", "26 Nov, 23:07", "from 00:00 to 01:00"),
    ],
)
def test_words__are_in_the_zone_of_the_reader(zone: str, stopped: str, surged: str) -> None:
    now = (NEXT + timedelta(minutes=10)).astimezone(ZoneInfo(zone))
    seen = LAST - timedelta(minutes=53)
    assert words(Unusual(State.STOPPED, seen, 1_234.5), now) == (
        f"None since {stopped}; usually about 1,200 an hour at this time."
    )
    assert words(Unusual(State.SURGED, LAST, 320, 3_400), now) == (
        f"3,400 {surged}; at most 320 in an hour at this time in the 7 days before."
    )


@pytest.mark.parametrize(
    ("usual", "text"),
    [(0.4, "0.4"), (1.3, "1"), (9.6, "10"), (12.4, "12"), (99.6, "100"), (987_654.0, "990,000")],
)
def test_usual__is_rounded(usual: float, text: str) -> None:
    assert f"about {text} an hour" in words(Unusual(State.STOPPED, LAST, usual), NEXT)
    assert "; none in an hour" in words(Unusual(State.SURGED, LAST, 0, 100), NEXT)

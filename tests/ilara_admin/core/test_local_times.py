"""Local times keep their instants, in every zone and around every change of clocks."""

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from ilara_admin.core.local_times import (
    NotOneTime,
    Typed,
    choices_for,
    clock_text,
    day_starts,
    line_text,
    line_with_offset,
    readings,
    resolve,
    typed_time,
)
from tests.zones import BEGIN, DAY, HALF_HOUR, around, clock_changes

BERLIN = ZoneInfo("Europe/Berlin")
TWICE, SKIPPED = "2027-10-31T02:30", "2027-03-28T02:30"
HOUR = timedelta(hours=1)
PARTS = (timedelta(), timedelta(seconds=7, microseconds=123_456))


def test_every_zone_is_tested_around_its_changes() -> None:
    changes = clock_changes()
    assert len(changes) > 400
    assert changes[BERLIN] == [
        datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC),
        datetime(2027, 3, 28, 1, tzinfo=UTC), datetime(2027, 10, 31, 1, tzinfo=UTC),
    ]  # fmt: skip


def test_instant_in_a_form__survives_an_unchanged_post() -> None:
    for zone, changes in clock_changes().items():
        for change in changes or [BEGIN]:
            for instant in around(change, 3):
                for part in PARTS:
                    exact = instant + part
                    assert resolve(typed_time(exact, zone), zone) == exact, (zone, exact)


def test_instant_on_a_line__survives_an_unchanged_post() -> None:
    for zone, changes in clock_changes().items():
        for change in changes or [BEGIN]:
            for instant in around(change, 3):
                line = line_text(instant, zone)
                assert resolve(Typed(line.replace(" +", "+").replace(" -", "-")), zone) == instant


def test_local_time__means_one_instant_or_offers_two() -> None:
    """The conversion back shows which of them exist."""
    for zone, changes in clock_changes().items():
        for change in changes or [BEGIN]:
            for instant in around(change, 3):
                local = instant.astimezone(zone).replace(tzinfo=None)
                found = readings(local, zone)
                assert instant in found
                assert {each.astimezone(zone).replace(tzinfo=None) for each in found} == {local}
            jump = change.astimezone(zone).replace(tzinfo=None)
            skipped = jump - timedelta(minutes=1)
            before = (change - timedelta(minutes=1)).astimezone(zone).replace(tzinfo=None)
            if changes and skipped > before + timedelta(minutes=1):
                with pytest.raises(NotOneTime) as refused:
                    resolve(Typed(skipped.isoformat()), zone)
                earlier, later = refused.value.choices
                assert earlier < change <= later


def test_time_that_occurs_twice__asks_which() -> None:
    with pytest.raises(NotOneTime) as refused:
        resolve(Typed(TWICE), BERLIN)
    assert str(refused.value) == (
        "In Europe/Berlin, 31 Oct 2027, 02:30 occurs twice, as clocks go back."
    )
    assert [clock_text(each) for each in refused.value.choices] == [
        "31 Oct 2027, 02:30 UTC+02:00", "31 Oct 2027, 02:30 UTC+01:00",
    ]  # fmt: skip
    assert [line_with_offset(each) for each in refused.value.choices] == [
        "2027-10-31 02:30 +02:00", "2027-10-31 02:30 +01:00",
    ]  # fmt: skip
    for choice in refused.value.choices:
        assert resolve(Typed(TWICE, choice.isoformat()), BERLIN) == choice


def test_time_that_does_not_occur__offers_the_times_beside_it() -> None:
    with pytest.raises(NotOneTime, match=r"28 Mar 2027, 02:30 is skipped") as refused:
        resolve(Typed(SKIPPED), BERLIN)
    assert [clock_text(each) for each in refused.value.choices] == [
        "28 Mar 2027, 01:30 UTC+01:00", "28 Mar 2027, 03:30 UTC+02:00",
    ]  # fmt: skip
    for choice in refused.value.choices:
        assert resolve(Typed(SKIPPED, choice.isoformat()), BERLIN) == choice


def test_choice__does_not_apply_to_another_time() -> None:
    first, second = readings(datetime.fromisoformat(TWICE), BERLIN)
    later = Typed("2027-11-01T12:00", first.isoformat())
    assert resolve(later, BERLIN) == datetime(2027, 11, 1, 11, tzinfo=UTC)
    with pytest.raises(NotOneTime):
        resolve(Typed("2026-10-25T02:30", second.isoformat()), BERLIN)
    other = typed_time(datetime(2027, 7, 1, tzinfo=UTC), BERLIN).exact
    with pytest.raises(NotOneTime):
        resolve(Typed(TWICE, other), BERLIN)


def test_choices__are_shown_for_unusual_times_only() -> None:
    first, second = readings(datetime.fromisoformat(TWICE), BERLIN)
    assert choices_for(Typed(TWICE), BERLIN) == [(first, False), (second, False)]
    assert choices_for(typed_time(second, BERLIN), BERLIN) == [(first, False), (second, True)]
    for text in ("2027-10-31T03:00", "", "soon"):
        assert choices_for(Typed(text), BERLIN) == []


def test_parts_of_a_second__are_kept_until_the_time_changes() -> None:
    exact = datetime(2027, 1, 1, 8, 30, 15, 123_456, tzinfo=UTC)
    typed = typed_time(exact, BERLIN)
    assert typed.local == "2027-01-01T09:30:15"
    assert resolve(typed, BERLIN) == exact
    changed = typed._replace(local="2027-01-01T09:31:15")
    assert resolve(changed, BERLIN) == datetime(2027, 1, 1, 8, 31, 15, tzinfo=UTC)
    assert line_text(exact, BERLIN) == "2027-01-01 09:30:15.123456"


def test_offset_that_was_typed__decides() -> None:
    at = datetime(2027, 1, 1, tzinfo=UTC)
    assert resolve(Typed("2027-01-01 00:00Z"), BERLIN) == at
    assert resolve(Typed("2027-01-01T05:30+05:30"), BERLIN) == at


@pytest.mark.parametrize(
    ("text", "zone", "message"),
    [
        ("soon", "UTC", "Invalid isoformat string"),
        ("2026-13-01T00:00", "UTC", "month must be in 1..12"),
        ("0001-01-01T00:00", "Asia/Tokyo", "That time is too far away"),
        ("9999-12-31T23:00", "America/New_York", "That time is too far away"),
    ],
)
def test_unreadable_time__is_a_value_error(text: str, zone: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(Typed(text), ZoneInfo(zone))


@pytest.mark.parametrize("exact", ["", "soon", "2027-01-01T00:00"])
def test_unreadable_instant__is_ignored(exact: str) -> None:
    assert resolve(Typed("2027-01-01T01:00", exact), BERLIN) == datetime(2027, 1, 1, tzinfo=UTC)


def test_days__cover_the_time_without_gap_or_overlap() -> None:
    for zone, changes in clock_changes().items():
        for change in changes or [BEGIN]:
            today = change.astimezone(zone).date() + DAY
            starts = day_starts(today, 4, zone)
            assert len(starts) == 5
            assert all(22 <= (b - a) / HOUR <= 26 for a, b in pairwise(starts))
            for start in starts:
                assert start.astimezone(zone).date() > (start - HALF_HOUR).astimezone(zone).date()
            for instant in [*around(change, 3), *starts[:-1]]:
                place = bisect_right(starts, instant) - 1
                assert today - timedelta(days=3 - place) == instant.astimezone(zone).date()


@pytest.mark.parametrize(
    ("zone", "day", "start"),
    [
        ("Europe/Berlin", "2027-10-31", "2027-10-30T22:00"),
        ("America/Havana", "2026-03-08", "2026-03-08T05:00"),  # begins at 01:00
        ("America/Havana", "2026-11-01", "2026-11-01T04:00"),  # 00:00 occurs twice
        ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00"),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00"),  # the 30th was left out
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00"),
    ],
)
def test_day__starts_at_its_first_moment(zone: str, day: str, start: str) -> None:
    (found, _) = day_starts(datetime.fromisoformat(day).date(), 1, ZoneInfo(zone))
    assert found == datetime.fromisoformat(start).replace(tzinfo=UTC)

"""Whether rejected events rise."""

from datetime import UTC, datetime, timedelta

from events.rejections import KEPT_DAYS
from events.rising import FEWEST, hours, is_rising, words

NOW = datetime(2026, 11, 29, 4, 30, tzinfo=UTC)


def test_rise__needs_a_number_and_a_multiple_of_the_days_before() -> None:
    assert is_rising(FEWEST, [0] * 6)
    assert not is_rising(FEWEST - 1, [0] * 6)
    assert is_rising(300, [100, 20, 0, 0, 0, 0])
    assert not is_rising(299, [100, 20, 0, 0, 0, 0])
    assert not is_rising(300, [0, 0, 0, 0, 0, 101])  # one day had nearly as many


def test_hours__are_the_same_of_the_days_of_which_all_is_kept() -> None:
    last, *before = hours(NOW)
    assert NOW - last == timedelta(hours=1)
    assert {(last - each) % timedelta(days=1) for each in before} == {timedelta()}
    assert NOW - min(before) < timedelta(days=KEPT_DAYS)


def test_words__say_what_was_compared() -> None:
    assert words(1_200, [0, 30, 7]) == (
        "1,200 in the last hour; at most 30 at this time on the 3 days before."
    )
    assert words(50, [0]).startswith("50 in the last hour; none at this time")

"""Figures of several days: sums, shares, changes, retention."""

from datetime import date
from decimal import Decimal

import pytest

from ilara_admin.pages.figure_sums import CohortSums, Period, Sums, change, most_active, retention

DAY = date(2026, 3, 1)


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        (110, 100, "+10 %"),
        (Decimal("0.5"), Decimal(1), "\N{MINUS SIGN}50 %"),
        (1001, 1000, "no change"),
        (25_000, 100, "+24,900 %"),
        (0, 4.0, "\N{MINUS SIGN}100 %"),
        (5, 0, ""),
        (5, None, ""),
        (None, 5, ""),
    ],
)
def test_change__is_in_percent_of_the_period_before(
    now: float | None, before: float | None, expected: str
) -> None:
    assert change(now, before) == expected


def test_period__has_one_of_the_same_length_before() -> None:
    period = Period(DAY, date(2026, 3, 7))
    assert period.before == Period(date(2026, 2, 22), date(2026, 2, 28))
    assert (len(period.days), period.days[-1], str(period)) == (
        7, date(2026, 3, 7), "1 Mar to 7 Mar 2026",
    )  # fmt: skip
    assert str(Period(date(2025, 12, 31), DAY)) == "31 Dec 2025 to 1 Mar 2026"


def test_shares__are_unknown_without_active_players() -> None:
    sums = Sums(active=4, new=1, sessions=6, payers=1, revenue=Decimal(2))
    assert (sums.returning, sums.arpdau, sums.paying, sums.sessions_each) == (
        3, Decimal("0.5"), 25, 1.5,
    )  # fmt: skip
    assert (Sums().arpdau, Sums().paying, Sums().sessions_each) == (None, None, None)
    assert sums.plus(sums).minus(sums) == sums


def test_most_active__are_ordered_by_players_then_by_name() -> None:
    values = {name: {DAY: Sums(active=count)} for name, count in (("b", 1), ("a", 1), ("c", 2))}
    assert most_active(values, 2) == ["c", "a"]


def test_retention__weighs_the_cohorts_for_which_it_is_known() -> None:
    cohorts = [
        CohortSums(DAY, "", 10, [5, 1, None]),
        CohortSums(DAY, "", 30, [5, None, None]),
        CohortSums(DAY, "", 0, [0, 0, 0]),
    ]
    assert retention(cohorts) == [25, 10, None]
    assert retention([]) == []

"""Intervals of estimates from samples."""

from math import comb

import pytest

from ilara_admin.core.confidence import estimate, interval


def coverage(true: int, sampled: int, total: int) -> float:
    """The probability that the interval of a random sample holds the true number."""
    found = [
        (comb(true, hits) * comb(total - true, sampled - hits), interval(hits, sampled, total))
        for hits in range(max(0, sampled - (total - true)), min(true, sampled) + 1)
    ]
    held = sum(ways for ways, (low, high) in found if low <= true <= high)
    return held / comb(total, sampled)


@pytest.mark.parametrize("sampled", [40, 200, 399])
def test_interval__holds_the_true_number_in_95_of_100_samples(sampled: int) -> None:
    every = [coverage(true, sampled, 400) for true in range(0, 401, 8)]
    assert min(every) > 0.92
    assert sum(every) / len(every) > 0.95


def test_interval__of_a_rare_or_a_common_thing_holds() -> None:
    for true in (1, 2, 3, 5, 8, 12):
        assert coverage(true, 100, 1_000) > 0.93
        assert coverage(1_000 - true, 100, 1_000) > 0.93


def test_interval__keeps_to_what_was_drawn() -> None:
    assert interval(7, 60, 60) == (7, 7)
    assert interval(0, 0, 60) == (0, 60)
    assert interval(0, 59, 60) == (0, 1)
    assert interval(59, 59, 60) == (59, 60)


def test_estimate__is_in_round_numbers_and_no_narrower() -> None:
    assert estimate(31, 2_500, 1_000_000) == (12_400, 8_700, 17_600)
    assert estimate(0, 2_500, 1_000_000) == (0, 0, 1_600)
    assert estimate(2_500, 2_500, 1_000_000)[2] == 1_000_000
    for found in range(0, 2_501, 100):
        about, low, high = estimate(found, 2_500, 30_000)
        exact = interval(found, 2_500, 30_000)
        assert low <= exact[0] <= about <= exact[1] <= high

"""The arithmetic of the bench."""

import pytest

from ilara_admin.bench.drivers import is_complete
from ilara_admin.bench.growth import FLAGS, PLAYERS, WORKERS, Point, Step, charts, plans, sizes
from ilara_admin.bench.processes import ticks_of
from ilara_admin.bench.summary import Sample, bars, compared, medians, percentile


def sampled(rate: float, server: float = 100, postgresql: float = 20) -> Sample:
    return Sample(rate, p50=2, p99=4, server=server, postgresql=postgresql)


@pytest.mark.parametrize(
    ("share", "expected"), [(0, 1), (0.5, 2), (0.51, 3), (0.75, 3), (0.99, 4), (1, 4)]
)
def test_percentile__is_one_of_the_values(share: float, expected: float) -> None:
    assert percentile([4, 2, 1, 3], share) == expected


def test_medians__are_of_each_figure() -> None:
    samples = [Sample(1, 50, 3, 4, 9), Sample(2, 30, 2, 5, 8), Sample(3, 40, 1, 6, 7)]
    assert medians(samples) == Sample(2, 40, 2, 5, 8)


def test_compared__takes_the_ratios_of_the_same_round() -> None:
    # The second round was twice as slow for both, so the ratio of the medians would be wrong.
    samples = {
        "select": [sampled(1_000), sampled(500), sampled(1_200)],
        "get": [sampled(800, 125), sampled(400, 200), sampled(480, 400)],
        "stream": [sampled(10)],
    }
    found = compared(samples, {"get": "select"})
    assert found["get"].of_rate == pytest.approx(0.8)
    assert found["get"].of_cpu == pytest.approx(0.5)
    assert found["get"].limit == "select"
    assert found["select"].of_rate is found["stream"].of_cpu is None


def test_bars__are_in_proportion_to_the_largest() -> None:
    assert bars({"10": 500.4, "1,000": 1_000}) == [
        f"   10  {'█' * 20}{' ' * 20}  500",
        f"1,000  {'█' * 40}  1,000",
    ]
    assert bars({}) == []


def test_ticks__include_those_of_children_that_ended() -> None:
    stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 300 40 5 6 20 0 1 0 1"
    assert ticks_of(stat) == 351


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\n{", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Len", False),
    ],
)
def test_reply__is_complete_with_the_announced_bytes(reply: bytes, expected: bool) -> None:
    assert is_complete(reply) is expected


def test_sizes__are_a_hundredth_a_tenth_and_all() -> None:
    assert sizes(1_000_000) == [10_000, 100_000, 1_000_000]
    assert sizes(5) == [1, 5]


def test_plans__vary_flags_and_workers_with_the_fewest_players() -> None:
    found = dict(plans(1_000, 100, (PLAYERS, FLAGS, WORKERS)))
    assert list(found) == [10, 100, 1_000]
    assert found[1_000] == [Step(PLAYERS, 1_000, flags=1)]
    assert [step.size for step in found[10] if step.varied == FLAGS] == [1, 10, 100]
    assert [step.flags for step in found[10]] == sorted(step.flags for step in found[10])
    assert list(dict(plans(1_000, 100, (FLAGS,)))) == [10]


def test_charts__show_cpu_by_size_and_rates_by_workers() -> None:
    points = [
        Point(FLAGS, 10, "evaluate", sampled(700, 400, 100)),
        Point(FLAGS, 1_000, "evaluate", sampled(600, 500, 100)),
        Point(WORKERS, 2, "evaluate", sampled(900)),
    ]
    assert dict(charts(points)) == {
        "evaluate: µs of CPU per request by flags": {"10": 500, "1,000": 600},
        "evaluate: requests/s by workers": {"2": 900},
    }

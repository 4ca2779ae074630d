"""How the players of a measured rule should divide among variants."""

from datetime import UTC, datetime, timedelta

import pytest

from flags.engine.document import Ramp, Rule, Slice
from flags.results.weights import expected_weights, ramp_stride, ramp_weights

START = datetime(2026, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
RAMP = Rule(id="r", variant="b", ramp=Ramp(from_=0, to=100_000, start=START, end=START + 10 * HOUR))


@pytest.mark.parametrize(
    ("rule", "weights"),
    [
        (Rule(id="r", split=(Slice("a", 0, 25_000), Slice("b", 25_000, 100_000))),
         {"a": 25_000, "b": 75_000}),
        (Rule(id="r", variant="b", rollout=10_000), {"a": 90_000, "b": 10_000}),
        (Rule(id="r", variant="b", rollout=0), {}),
        (Rule(id="r", variant="b"), {}),
    ],
)  # fmt: skip
def test_expected_weights__are_those_of_the_rule(rule: Rule, weights: dict[str, float]) -> None:
    assert expected_weights(rule, "a", START) == weights
    assert ramp_stride(rule) is None


def test_ramp__has_fewer_players_outside_as_it_grows() -> None:
    """A phase that began at 20 %: of the players of 40 %, as many are inside as a third of those
    outside."""
    at = START + 2 * HOUR
    assert ramp_stride(RAMP) == HOUR / 100
    assert expected_weights(RAMP, "a", at) == {"a": 80_000, "b": 20_000}
    exposed = [(at, 100), (START + 4 * HOUR, 80)]
    found = ramp_weights(RAMP, "a", at, exposed)
    assert found == pytest.approx({"a": 80 + 60, "b": 20 + 20})

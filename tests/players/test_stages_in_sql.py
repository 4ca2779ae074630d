"""The list's filter by stage is the pure function of players/lifecycle.py."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from ilara_admin.models import Environment
from players.lifecycle import Stage, Thresholds, stage_at
from players.models import Player
from tests.factories import make_player

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


def around(days: int) -> list[timedelta]:
    """Silences at the edge of a threshold, and on both sides of it."""
    edge = timedelta(days=days)
    return [edge - MOMENT, edge, edge + MOMENT]


@pytest.mark.parametrize(
    "thresholds",
    [
        Thresholds(),
        Thresholds(new_days=3, at_risk_days=5, churned_days=14),
        Thresholds(new_days=20, at_risk_days=7, churned_days=7),
        Thresholds(new_days=1, at_risk_days=30, churned_days=10),
    ],
)
def test_in_stage__finds_whom_the_pure_function_names(
    environment: Environment, thresholds: Thresholds
) -> None:
    silences = [
        timedelta(0),
        *around(thresholds.at_risk_days),
        *around(thresholds.churned_days),
        *around(thresholds.new_days),
    ]
    players = []
    for number, (last, first, back) in enumerate(
        product(silences, [timedelta(0), *around(thresholds.new_days)], [None, *silences])
    ):
        players.append(
            make_player(
                environment,
                f"p{number}",
                last_seen_at=NOW - last,
                first_seen_at=NOW - last - first,
                returned_at=None if back is None else NOW - back,
            )
        )
    found = Player.objects.of(environment)
    for stage in Stage:
        expected = {each.pk for each in players if stage_at(each.history, thresholds, NOW) is stage}
        assert set(found.in_stage(stage, thresholds, NOW).values_list("pk", flat=True)) == expected

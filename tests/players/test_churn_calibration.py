"""The served risk is the share of players of the sample game who are not seen in the next days."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from ilara_admin.demo.game import player_draw
from players.churn_model import fit
from players.churn_model.fit import Backtest
from players.churn_model.risk import RISK_DAYS, distance_of

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SIZE, SEED = 5_000, 20_260
ENOUGH, NEAR = 100, 0.07


@pytest.fixture(scope="module")
def tests_of() -> dict[str, Backtest]:
    """The backtest of each score, of the players of the day RISK_DAYS before yesterday."""
    until = NOW.date() - timedelta(days=1 + RISK_DAYS)
    rows = []
    for number in range(SIZE):
        player = player_draw(number, SIZE, NOW, SEED)
        days = sorted({session.started_at.date() for session in player.sessions})
        known = [day for day in days if day <= until]
        if known:
            silent = not any(until < day <= until + timedelta(days=RISK_DAYS) for day in days)
            recency, age = (known[-1] - known[0]).days, (until - known[0]).days
            rows.append((len(known) - 1, recency, age, silent, number % 2))
    frequency, recency, age, silent, half = np.array(rows, float).T
    found = fit.fit(frequency, recency, age)
    model = fit.p_silent(found, frequency, recency, age)
    scores: dict[str, NDArray[np.float64]] = {
        "left": 1 - fit.p_alive(found, frequency, recency, age),
        "model": model,
        "calibrated": fit.cross_calibrated(model, silent, half),
    }
    return {name: fit.backtest(each, silent) for name, each in scores.items()}


def furthest(test: Backtest) -> float:
    """The largest distance of a score from the share not seen, of bins with ENOUGH players."""
    return max(abs(each.score - each.silent) for each in test.bins if each.players >= ENOUGH)


@pytest.mark.slow
def test_every_bin__is_near_the_share_of_players_not_seen(tests_of: dict[str, Backtest]) -> None:
    assert furthest(tests_of["left"]) > 0.2, "what was served before"
    assert furthest(tests_of["model"]) > NEAR, "without calibration"
    assert furthest(tests_of["calibrated"]) <= NEAR
    assert sum(each.players >= ENOUGH for each in tests_of["calibrated"].bins) == 10


@pytest.mark.slow
def test_error__is_smaller_with_each_step(tests_of: dict[str, Backtest]) -> None:
    left, model, calibrated = (tests_of[name] for name in ("left", "model", "calibrated"))
    assert calibrated.brier < model.brier < left.brier

    def distance(test: Backtest) -> float:
        return distance_of(
            [
                {"players": each.players, "score": each.score, "silent": each.silent}
                for each in test.bins
            ]
        )

    assert distance(calibrated) < distance(model) < distance(left)

"""The page of an environment's churn model: parameters and backtest."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render

from ilara_admin.api.environment_cache import at_version
from ilara_admin.models import Role
from ilara_admin.web.access import staff_view
from ilara_admin.web.htmx import HtmxHttpRequest
from players.cache import churn_part
from players.churn_model.risk import HIGH_FROM, MEDIUM_FROM
from players.churn_training import ENOUGH_PLAYERS, TEST_DAYS
from players.models import ChurnFit

FITS_SHOWN = 10
FEW_PLAYERS = 30  # with fewer, the observed share may be off by 20 percentage points
BAR_WIDTH, BAR_GAP, HEIGHT = 10, 2, 100


@dataclass(frozen=True, slots=True)
class DrawnBin:
    """A bin of the backtest with its bar in a 118 by 100 drawing. Scores are 0..1."""

    start: float
    end: float
    players: int
    score: float
    silent: float
    x: float
    y: float
    height: float

    @property
    def few(self) -> bool:
        return self.players < FEW_PLAYERS


@staff_view(Role.VIEWER)
def churn_model(request: HtmxHttpRequest) -> HttpResponse:
    fits = list(ChurnFit.objects.filter(environment=request.environment)[:FITS_SHOWN])
    parameters = churn_part.of(at_version(request.environment))
    context: dict[str, Any] = {
        "fits": fits,
        "days_between": parameters.alpha / parameters.r,
        "leaves": parameters.a / (parameters.a + parameters.b),
        "medium_from": MEDIUM_FROM,
        "high_from": HIGH_FROM,
        "enough": ENOUGH_PLAYERS,
        "test_days": TEST_DAYS,
        "few": FEW_PLAYERS,
    }
    if fits:
        fit = fits[0]
        guessing = fit.base_rate * (1 - fit.base_rate)
        context |= {
            "fit": fit,
            "bins": [_drawn(number, each) for number, each in enumerate(fit.bins)],
            "guessing": guessing,
            "better": 1 - fit.brier / guessing if guessing else 0.0,
        }
    return render(request, "players/churn.html", context)


def _drawn(number: int, found: dict[str, Any]) -> DrawnBin:
    # A bin with players stays visible.
    height = max(found["silent"] * HEIGHT, 1.0) if found["players"] else 0.0
    return DrawnBin(
        start=found["start"],
        end=found["start"] + 0.1,
        players=found["players"],
        score=found["score"],
        silent=found["silent"],
        x=number * (BAR_WIDTH + BAR_GAP),
        y=HEIGHT - height,
        height=height,
    )

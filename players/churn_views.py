"""The page of an environment's churn model: parameters and backtest."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render

from ilara_admin.api.environment_cache import at_version
from ilara_admin.models import Role
from ilara_admin.web.access import staff_view
from ilara_admin.web.chart_axes import label_axis
from ilara_admin.web.charts import Chart, ChartSeries, bars
from ilara_admin.web.htmx import HtmxHttpRequest
from players.cache import churn_part
from players.churn_model.risk import (
    FEW_PLAYERS,
    HIGH_FROM,
    MEDIUM_FROM,
    RISK_DAYS,
    distance_of,
)
from players.churn_training import ENOUGH_PLAYERS
from players.models import ChurnFit

FITS_SHOWN = 10


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
        "risk_days": RISK_DAYS,
    }
    if fits:
        fit = fits[0]
        guessing = fit.base_rate * (1 - fit.base_rate)
        context |= {
            "fit": fit,
            "chart": _chart(fit.bins, fit.days),
            "guessing": guessing,
            "better": 1 - fit.brier / guessing if guessing else 0.0,
        }
        if fit.before:
            context |= {
                "calibration_chart": _chart(fit.before["left"]["bins"], fit.days),
                "tests": _tests(fit, fit.before),
            }
    return render(request, "players/churn.html", context)


def _tests(fit: ChurnFit, before: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures of each score that was tested, the one in use last."""
    left, model = before["left"], before["model"]
    scores = [
        ("Has left for good", "P(left) of the model", left["brier"], left["bins"]),
        (f"Not seen in {fit.days} days", "as the model says", model["brier"], model["bins"]),
        (f"Not seen in {fit.days} days", "calibrated, in use", fit.brier, fit.bins),
    ]
    return [
        {"name": name, "note": note, "brier": brier, "distance": distance_of(bins)}
        for name, note, brier, bins in scores
    ]


def _chart(bins: list[dict[str, float]], days: int) -> Chart:
    """By risk: the share of players who were not seen, and the risk that was predicted."""
    shares = [100 * each["silent"] if each["players"] else None for each in bins]
    few = [each["players"] < FEW_PLAYERS for each in bins]
    names = [
        f"Risk {_percent(each['start'])} to {_percent(each['start'] + 0.1)},"
        f" {each['players']:,} players"
        for each in bins
    ]
    starts = [_percent(each["start"]) for each in bins]
    predicted = [100 * each["score"] if each["players"] else None for each in bins]
    series = [ChartSeries("Not seen", _where(shares, [not each for each in few]))]
    if any(few):
        series.append(ChartSeries(f"Fewer than {FEW_PLAYERS} players", _where(shares, few)))
    series.append(ChartSeries("Predicted", predicted, line=True))
    label = f"Players of each risk who were not seen in the next {days} days"
    return bars(label_axis(names, starts), series, label=label, unit="%")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _where(values: list[float | None], chosen: list[bool]) -> list[float | None]:
    return [value if each else None for value, each in zip(values, chosen, strict=True)]

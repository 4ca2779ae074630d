"""The overview: what needs attention, figures of today and of the last four weeks, recent changes,
setup steps of a new environment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from events.charts import counts_chart
from events.models import Event
from events.stats import Arrivals, arrivals
from flags.models import Flag
from flags.usage import environment_daily
from ilara_admin.api.curl import EXAMPLE_REGISTRATION, curl_post
from ilara_admin.models import ApiKey, Environment, Role
from ilara_admin.pages.attention import matters
from ilara_admin.pages.audit_search import AuditReader, Wanted
from ilara_admin.pages.audit_text import CHANGES, audit_lines
from ilara_admin.pages.figure_sums import Period
from ilara_admin.pages.game_figures import (
    DEFAULT_DAYS,
    figures_of,
    headline,
    markers_of,
    reach_chart,
)
from ilara_admin.web.access import environment_url, staff_view
from ilara_admin.web.chart_axes import time_axis
from ilara_admin.web.charts import Chart, ChartSeries, bars
from ilara_admin.web.htmx import HtmxHttpRequest
from players.days import is_late, two_days
from players.models import Dimension, Player

LAST_CHANGES = 10
SHOWN = tuple(each for each in CHANGES if not each.startswith("staff."))
EVALUATION_DAYS = 30


@staff_view(Role.VIEWER)
def overview(request: HtmxHttpRequest) -> HttpResponse:
    now = timezone.now()
    arrived = arrivals(request.environment, now)
    keys = list(request.environment.api_keys.usable_at(now).order_by("pk"))
    figures = _figures(request.environment, now)
    log = AuditReader(request.environment, Wanted(SHOWN), request.user)
    context: dict[str, Any] = {
        "arrived": arrived,
        "matters": matters(request, arrived.fresh, keys, now),
        "hours": counts_chart(arrived.hours, "Events per hour, last 24 hours"),
        "evaluations": _evaluations(request.environment, now),
        "figures": figures,
        "weeks": _weeks(request, now),
        "lines": audit_lines(request, log.read(None, LAST_CHANGES)),
        "steps": _steps(request, arrived, figures, keys),
    }
    return render(request, "ilara_admin/overview.html", context)


def _evaluations(environment: Environment, now: datetime) -> Chart | None:
    """By day; None if there were none."""
    days = environment_daily(environment, now - timedelta(days=EVALUATION_DAYS - 1))
    counts = [count for _, count in days]
    if not any(counts):
        return None
    return bars(
        time_axis([start for start, _ in days]),
        [ChartSeries("Evaluations", counts)],
        label=f"Evaluations of flags per day, last {EVALUATION_DAYS} days",
        unit="evaluation",
    )


def _weeks(request: HtmxHttpRequest, now: datetime) -> dict[str, Any] | None:
    """The figures of the last four weeks beside those before, and the chart of active players;
    None if no day has been counted."""
    yesterday = now.astimezone(UTC).date() - timedelta(days=1)
    period = Period(yesterday - timedelta(days=DEFAULT_DAYS - 1), yesterday)
    found = figures_of(request.environment, period, Dimension.TOTAL)
    if not found.days:
        return None
    return {
        "period": period,
        "figures": headline(found, request.environment.currency),
        "chart": reach_chart(found, list(markers_of(request, period))),
    }


def _figures(environment: Environment, now: datetime) -> dict[str, Any]:
    day = now.astimezone(UTC).date()
    yesterday, today = two_days(environment, day, now)
    flags = Flag.objects.filter(environment=environment, archived_at=None)
    return {
        "today": today,
        "late": is_late(today, now),
        "yesterday": yesterday,
        **flags.aggregate(
            flags=Count("pk"), flags_on=Count("pk", filter=Q(document__enabled=True))
        ),
    }


# --- Setup steps --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SetupStep:
    """One setup step. `code` is a command to paste, shown only for the current step."""

    title: str
    done: bool
    text: str = ""
    code: str = ""
    url: str = ""
    label: str = ""


def _steps(
    request: HtmxHttpRequest, arrived: Arrivals, figures: dict[str, Any], keys: Sequence[ApiKey]
) -> list[SetupStep]:
    """The setup steps; none once the environment has events."""
    environment = request.environment
    if arrived.last_day or Event.objects.of(environment).exists():
        return []
    shown = environment.key_hint(keys)
    player = Player.objects.of(environment).recent_first().first()
    event = {"player_id": str(player.pk) if player else "", "event_name": "level_complete"}
    return [
        SetupStep(
            "Create an API key and use it",
            any(key.last_used_at for key in keys),
            "No key has been used yet." if keys else "The game needs a key for its requests.",
            url=environment_url(request, "key_list"),
            label="API keys",
        ),
        SetupStep(
            "Register a player",
            player is not None,
            f"From the game, or from a terminal with a whole key in place of {shown}",
            curl_post(request, "players/players", shown, EXAMPLE_REGISTRATION),
        ),
        SetupStep(
            "Send an event",
            False,
            "It appears under Live events within seconds.",
            curl_post(request, "events/events", shown, event) if player else "",
        ),
        SetupStep(
            "Turn on a flag",
            bool(figures["flags_on"]),
            "It is in force on the next request.",
            url=environment_url(request, "flag_list"),
            label="Flags",
        ),
    ]

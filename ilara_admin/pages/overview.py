"""The overview: figures of today, recent changes, setup steps of a new environment."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from events.models import Event, EventName
from events.stats import Arrivals, Freshness, InWords, arrivals, chart_of, in_words, unusual_names
from flags.models import Flag
from flags.usage import environment_daily
from ilara_admin.api.curl import EXAMPLE_REGISTRATION, curl_post
from ilara_admin.core.open_requests import waiting_for
from ilara_admin.models import Environment, Role
from ilara_admin.pages.audit_search import AuditReader, Wanted
from ilara_admin.pages.audit_text import CHANGES, audit_lines
from ilara_admin.web.access import environment_url, may, staff_view
from ilara_admin.web.chart_axes import time_axis
from ilara_admin.web.charts import Chart, ChartSeries, bars
from ilara_admin.web.htmx import HtmxHttpRequest
from players.days import day_figures, is_late
from players.models import Player

LAST_CHANGES = 10
SHOWN = tuple(each for each in CHANGES if not each.startswith("staff."))
EVALUATION_DAYS = 30


@staff_view(Role.VIEWER)
def overview(request: HtmxHttpRequest) -> HttpResponse:
    now = timezone.now()
    arrived = arrivals(request.environment, now)
    figures = _figures(request.environment, now)
    log = AuditReader(request.environment, Wanted(SHOWN), request.user)
    context: dict[str, Any] = {
        "arrived": arrived,
        "unusual": _unusual(request.environment, arrived.fresh, now),
        "hours": chart_of(arrived.hours, "Events per hour, last 24 hours"),
        "evaluations": _evaluations(request.environment, now),
        "figures": figures,
        "waiting": waiting_for(
            request.environment, request.user, may_approve=may(request, Role.LIVE_OPS)
        ),
        "lines": audit_lines(request, log.read(None, LAST_CHANGES)),
        "steps": _steps(request, arrived, figures, now),
    }
    return render(request, "ilara_admin/overview.html", context)


def _unusual(
    environment: Environment, fresh: Freshness, now: datetime
) -> list[tuple[EventName, InWords]]:
    """The events that stopped or surged, the most frequent ones first."""
    found = in_words(unusual_names(environment, fresh, now), now)
    names = EventName.objects.filter(pk__in=found).order_by("-count") if found else []
    return [(name, found[name.pk]) for name in names]


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


def _figures(environment: Environment, now: datetime) -> dict[str, Any]:
    day = now.astimezone(UTC).date()
    today = day_figures(environment, day, now)
    flags = Flag.objects.filter(environment=environment, archived_at=None)
    return {
        "today": today,
        "late": is_late(today, now),
        "yesterday": day_figures(environment, day - timedelta(days=1), now),
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
    request: HtmxHttpRequest, arrived: Arrivals, figures: dict[str, Any], now: datetime
) -> list[SetupStep]:
    """The setup steps; none once the environment has events."""
    environment = request.environment
    if arrived.last_day or Event.objects.of(environment).exists():
        return []
    keys = list(environment.api_keys.usable_at(now))
    shown = environment.key_hint(now)
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

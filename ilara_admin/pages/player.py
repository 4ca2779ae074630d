"""The page of one player, and its summary for a ticket."""

import uuid
from typing import Any

from django.http import HttpResponse

from events.forms import TimelineFilterForm
from events.timeline import SEARCHED, timeline
from flags.engine import sentences
from ilara_admin.models import Role
from ilara_admin.pages.player_flags import Evaluated, evaluated, flags_panel, flags_that_differ
from ilara_admin.pages.player_segments import segments_panel
from ilara_admin.pages.player_summary import Facts, FlagFact, PurchaseFact, summary_text
from ilara_admin.pages.player_timeline import days_of, shows_personal
from ilara_admin.templatetags.ilara import json_pretty, money
from ilara_admin.web.access import (
    actor_of,
    environment_url,
    get_or_404,
    may,
    sees_personal,
    staff_view,
    url_in,
)
from ilara_admin.web.filters import render_list
from ilara_admin.web.htmx import HtmxHttpRequest, render_partial, wants_partial
from players.cache import churn_part
from players.churn_model.risk import RISK_DAYS
from players.labels import RISKS, STAGES
from players.models import Player, PlayerAlias
from players.notes import newest_notes, notes_of, with_right
from players.personal import mask_device, mask_email, mask_text, masked
from players.purchases import purchases_panel
from players.record import (
    level_in_backtest,
    lifecycle_of,
    reasons_of,
    risk_of,
    row_of,
    thresholds_of,
)
from players.services import personal_data_seen
from segments.cache import segments_part

SHOWN_NOTES = 3
SUMMARY_FLAGS = 20

ALIASES = "SELECT * FROM player_alias WHERE player_id = %s ORDER BY created_at, external_id"


@staff_view(Role.VIEWER)
def player_detail(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    """The page, or for htmx only the timeline or the flags. Flags and segments are as /v1 evaluates
    them now."""
    player = get_or_404(request, Player, id=player_id)
    if wants_partial(request) and request.htmx.target == "flags":
        flags = flags_panel(request, player, _explained(request, player))
        return render_list(request, "players/_panel_flags.html", flags, partial="flags")
    form = TimelineFilterForm(request)
    before = request.GET.get("before", "")
    page = timeline(player.pk, form.wanted, before=before)
    personal = sees_personal(request)
    if personal:
        in_events = shows_personal(page.entries, request.environment.personal_properties)
        personal_data_seen(player, actor=actor_of(request), shown=in_events)
    context: dict[str, Any] = {
        "player": player,
        "form": form,
        "page": page,
        "days": days_of(request, page.entries),
        "before": before,
        "event_url": _event_url(request),
        "searched": SEARCHED,
        "may_edit": personal,
    }
    if not wants_partial(request):
        context |= _details(request, player)
    return render_list(request, "players/detail.html", context, partial="timeline")


def _event_url(request: HtmxHttpRequest) -> str:
    """The URL of the timeline of one event, up to the event's name."""
    query = request.GET.copy()
    for name in ("event", "before", "kind"):
        query.pop(name, None)
    query["event"] = ""
    return f"{request.path}?{query.urlencode()}"


def _explained(request: HtmxHttpRequest, player: Player) -> Evaluated:
    found = evaluated(request.environment, player)
    return found if sees_personal(request) else found.masked(request.environment)


def _details(request: HtmxHttpRequest, player: Player) -> dict[str, Any]:
    known, _, now = found = _explained(request, player)
    row = row_of(player)
    risk = risk_of(row, player.activity, churn_part.of(known), now)
    reasons = reasons_of(row, player.activity, churn_part.of(known), now)
    life = lifecycle_of(row, thresholds_of(known), now)
    personal = sees_personal(request)
    marked = () if personal else request.environment.personal_attributes
    notes = newest_notes(player, SHOWN_NOTES + 1)
    aliases = list(PlayerAlias.objects.raw(ALIASES, [player.pk]))
    return {
        "aliases": [
            (each.pk, each.external_id if personal else mask_text(each.external_id))
            for each in aliases
        ],
        "notes": with_right(request.user, request.project, notes[:SHOWN_NOTES]),
        "more_notes": len(notes) > SHOWN_NOTES,
        "purchases": purchases_panel(player, request.GET.get("purchase", "")),
        "email": player.email if personal else mask_email(player.email),
        "device_id": player.device_id if personal else mask_device(player.device_id),
        "life": life,
        "stage": STAGES[life.stage],
        "next_stage": STAGES[life.next_stage] if life.next_stage else None,
        "risk": risk,
        "risk_days": RISK_DAYS,
        "risk_badge": RISKS[risk.level],
        "reasons": reasons,
        "next_risk": RISKS[reasons.next_level] if reasons.next_level else None,
        "backtest": level_in_backtest(request.environment.pk, risk.level),
        "attributes": [
            _attribute(*each) for each in sorted(masked(player.attributes, marked).items())
        ],
        "may_erase": may(request, Role.ADMIN),
        **segments_panel(request, player, found),
        **flags_panel(request, player, found),
    }


def _attribute(name: str, value: Any) -> tuple[str, str, bool]:
    """Name, value as JSON, and whether it has several lines."""
    nested = isinstance(value, dict | list) and bool(value)
    return name, json_pretty(value) if nested else sentences.value_text(value), nested


# --- The summary for a ticket ---------------------------------------------------------------------


@staff_view(Role.VIEWER)
def player_summary(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    """Plain text to copy, in which personal data are masked for everybody: a ticket may be read by
    others."""
    player = get_or_404(request, Player, id=player_id)
    environment = request.environment
    found = evaluated(environment, player).masked(environment)
    segments = segments_part.of(found.known).values()
    purchases = purchases_panel(player, "")
    flags, differing = flags_that_differ(player, found, SUMMARY_FLAGS)
    currency = environment.currency
    facts = Facts(
        external_id=player.external_id,
        permalink=request.build_absolute_uri(url_in(environment, "player_detail", player.pk)),
        stage=STAGES[
            lifecycle_of(row_of(player), thresholds_of(found.known), found.now).stage
        ].label,
        first_seen_at=player.first_seen_at,
        last_seen_at=player.last_seen_at,
        attributes=masked(player.attributes, environment.personal_attributes),
        sessions=player.session_count,
        active_days=player.active_days,
        purchases=player.purchase_count,
        revenue=money(player.total_revenue, currency),
        unverified=money(purchases.unverified, currency) if purchases.unverified else "",
        last_purchases=[
            PurchaseFact(
                each.purchase.received_at,
                money(each.purchase.amount, each.purchase.currency),
                each.purchase.product_id or "",
                each.purchase.transaction_id or "",
                each.purchase.verified,
                each.purchase.refunded_at,
            )
            for each in purchases.rows
        ],
        segments=[each.key for each in segments if each.matches(found.subject)],
        flags=[FlagFact(each.key, each.value, each.explanation) for each in flags],
        more_flags=differing - len(flags),
        notes=notes_of(player).count(),
        at=found.now,
    )
    context = {
        "player": player,
        "text": summary_text(facts),
        "page_url": environment_url(request, "player_detail", player.pk),
    }
    return render_partial(request, "players/summary.html", context, partial="summary")

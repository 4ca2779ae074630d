"""Giving one player a value of their own: what support does for a player who is stuck."""

import uuid
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.utils import timezone

from flags import services
from flags.dashboard.forms import RULES_DECIDE, OverrideForm
from flags.dashboard.shortcuts import get_flag_or_404
from flags.models import Flag, FlagOverride
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, get_or_404, staff_view
from ilara_admin.web.confirm import Confirm, render_confirm
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast
from players.models import Player


@staff_view(Role.SUPPORT, "GET", "POST")
def flag_override(request: HtmxHttpRequest, key: str, player_id: uuid.UUID) -> HttpResponse:
    """Set a player's variant of a flag, or leave it to the rules again.

    `?to=` and `?until=` come from Undo: what was in force before, as it was.
    """
    flag = get_flag_or_404(request, key)
    player = get_or_404(request, Player, pk=player_id)
    present = FlagOverride.objects.filter(flag=flag, player_id=player.pk).first()
    if request.method == "POST" and "to" in request.GET:
        until = _moment(request.GET.get("until", ""))
        return _save(request, flag, player, present, request.GET["to"], until, "Undone")
    initial = {"variant": present.variant if present else RULES_DECIDE, "hours": 0}
    form = OverrideForm(flag.spec, request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        hours = form.cleaned_data["hours"]
        until = timezone.now() + timedelta(hours=hours) if hours else None
        reason = request.POST.get("reason", "")[:500]
        return _save(request, flag, player, present, form.cleaned_data["variant"], until, reason)
    return render_confirm(
        request,
        Confirm(
            title=f"{key} for {player.external_id}",
            button=f"Save to {request.environment.slug}",
            cancel_url=environment_url(request, "player_detail", player.pk),
            text="It counts ahead of all rules, for this player alone, from the next request on. "
            "While the flag is off, nobody gets a value of their own.",
            form=form,
        ),
    )


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _save(
    request: HtmxHttpRequest,
    flag: Flag,
    player: Player,
    present: FlagOverride | None,
    variant: str,
    until: datetime | None,
    reason: str,
) -> HttpResponse:
    actor = actor_of(request)
    if variant in {item.key for item in flag.spec.variants}:
        try:
            services.override_set(
                flag, player, variant, expires_at=until, actor=actor, reason=reason
            )
        except ValidationError as error:  # the player was erased
            response = redirect_to(request, environment_url(request, "player_list"))
            return with_toast(request, response, error.messages[0], tone="danger")
        text = f"{player.external_id} gets {variant} of {flag.key}."
    else:
        services.override_remove(flag, player, actor=actor, reason=reason)
        text = f"The rules of {flag.key} decide for {player.external_id}."
    response = redirect_to(request, environment_url(request, "player_detail", player.pk))
    before = present.variant if present else RULES_DECIDE
    ends = present.expires_at.isoformat() if present and present.expires_at else ""
    undo = environment_url(request, "flag_override", flag.key, player.pk)
    ends = ends.replace("+", "%2B")
    return with_toast(request, response, text, undo_url=f"{undo}?to={before}&until={ends}")

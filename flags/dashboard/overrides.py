"""The dialog that sets the override of a flag for one player."""

import uuid
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.utils import timezone

from flags.dashboard.forms import RULES_DECIDE, OverrideForm
from flags.dashboard.shortcuts import readable_flag
from flags.models import Flag, FlagOverride
from flags.overrides import override_remove, override_set
from ilara_admin.core.changes import reason_of
from ilara_admin.core.text import isolated
from ilara_admin.models import AuditEntry, Role
from ilara_admin.web.access import actor_of, environment_url, get_or_404, staff_view
from ilara_admin.web.confirm import Confirm, changed, render_confirm
from ilara_admin.web.forms import add_errors
from ilara_admin.web.htmx import HtmxHttpRequest
from players.models import Player


@staff_view(Role.SUPPORT, "GET", "POST")
@readable_flag
def flag_override(request: HtmxHttpRequest, flag: Flag, player_id: uuid.UUID) -> HttpResponse:
    """Set or remove the override of a flag for a player."""
    player = get_or_404(request, Player, pk=player_id)
    who = isolated(player.external_id)
    present = FlagOverride.objects.filter(flag=flag, player_id=player.pk).first()
    initial = {"variant": present.variant if present else RULES_DECIDE, "hours": 0}
    form = OverrideForm(flag.spec, request.POST or None, initial=initial)
    url = environment_url(request, "player_detail", player.pk)
    if request.method == "POST" and form.is_valid():
        try:
            entry = _save(request, flag, player, form.cleaned_data)
        except ValidationError as error:
            add_errors(form, error)
        else:
            return changed(request, url, entry, f"Saved {flag.key} for {who}.")
    return render_confirm(
        request,
        Confirm(
            title=f"{flag.key} for {who}",
            button=f"Save to {request.environment.slug}",
            cancel_url=url,
            text="An override takes precedence over the rules, for this player only, from the next "
            "request on. It does not apply while the flag is off.",
            form=form,
        ),
    )


def _save(
    request: HtmxHttpRequest, flag: Flag, player: Player, wanted: dict[str, Any]
) -> AuditEntry | None:
    actor, reason, hours = actor_of(request), reason_of(request), wanted["hours"]
    if wanted["variant"] == RULES_DECIDE:
        return override_remove(flag, player, actor=actor, reason=reason)
    until = timezone.now() + timedelta(hours=hours) if hours else None
    return override_set(
        flag, player, wanted["variant"], expires_at=until, actor=actor, reason=reason
    )

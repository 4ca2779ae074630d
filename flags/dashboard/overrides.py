"""The overrides of a flag, and the dialog that sets one for a player."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db import connection
from django.http import HttpResponse
from django.utils import timezone

from flags.dashboard.forms import RULES_DECIDE, OverrideForm
from flags.dashboard.shortcuts import done, get_flag_or_404, readable_flag
from flags.engine.document import variant_keys
from flags.models import Flag, FlagOverride
from flags.overrides import MAX_KEPT, override_remove, override_set, overrides_clear
from ilara_admin.core.changes import reason_of
from ilara_admin.core.diff import Change
from ilara_admin.core.text import isolated
from ilara_admin.models import AuditEntry, Role
from ilara_admin.web.access import actor_of, environment_url, get_or_404, may, staff_view
from ilara_admin.web.confirm import Confirm, changed, render_confirm
from ilara_admin.web.filters import render_list
from ilara_admin.web.forms import add_errors
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.pagination import KeysetPage
from players.models import Player

SHOWN = 5
REVIEWED = 10
RULES = "the rules decide"


class ShownOverride(NamedTuple):
    """`is_unknown` if the flag has no such variant any more."""

    override: FlagOverride
    external_id: str
    is_unknown: bool


class FlagOverrides(NamedTuple):
    """The number of unexpired overrides of a flag, and the newest ones."""

    total: int
    rows: list[ShownOverride]


NEWEST = """
SELECT * FROM flag_override WHERE flag_id = %s AND (expires_at IS NULL OR expires_at > %s)
ORDER BY created_at DESC, player_id LIMIT %s"""


def overrides_of(flag: Flag, now: datetime) -> FlagOverrides:
    newest = list(FlagOverride.objects.raw(NEWEST, [flag.pk, now, SHOWN + 1]))
    total = len(newest) if len(newest) <= SHOWN else flag.overrides.unexpired(now).count()
    return FlagOverrides(total, _shown(flag, newest[:SHOWN]))


NAMES = "SELECT id, external_id FROM player WHERE id = ANY(%s)"


def _shown(flag: Flag, overrides: Sequence[FlagOverride]) -> list[ShownOverride]:
    with connection.cursor() as cursor:
        cursor.execute(NAMES, [[each.player_id for each in overrides]])
        names = dict(cursor.fetchall())
    variants = variant_keys(flag.document)
    return [
        ShownOverride(
            each,
            names.get(each.player_id, str(each.player_id)),
            each.variant not in variants,
        )
        for each in overrides
    ]


@staff_view(Role.VIEWER)
def flag_overrides(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """All unexpired overrides of a flag, newest first."""
    flag = get_flag_or_404(request, key)
    overrides = flag.overrides.unexpired(timezone.now()).order_by("-created_at", "player_id")
    page = KeysetPage.of(overrides, request)
    context = {
        "flag": flag,
        "page": page,
        "rows": _shown(flag, page.rows),
        "may_edit": may(request, Role.LIVE_OPS),
        "may_override": may(request, Role.SUPPORT),
    }
    return render_list(request, "flags/overrides.html", context)


@staff_view(Role.SUPPORT, "GET", "POST")
def flag_override_remove(request: HtmxHttpRequest, key: str, player_id: uuid.UUID) -> HttpResponse:
    """Remove the override of one player, from the page of the flag, or with `?back=player` from
    that of the player."""
    flag = get_flag_or_404(request, key)
    player = get_or_404(request, Player, id=player_id)
    who = isolated(player.external_id)
    url = environment_url(request, "flag_detail", key)
    if request.GET.get("back") == "player":
        url = environment_url(request, "player_detail", player.pk)
    if request.method == "POST":
        entry = override_remove(flag, player, actor=actor_of(request), reason=reason_of(request))
        return changed(request, url, entry, f"{who} gets what the rules of {key} say.")
    present = FlagOverride.objects.filter(flag=flag, player_id=player.pk).first()
    return render_confirm(
        request,
        Confirm(
            title=f"Remove the override of {key} for {who}",
            button=f"Remove in {request.environment.slug}",
            cancel_url=url,
            text="The rules decide for this player, from the next request on.",
            tone="danger",
            changes=[Change(who, present.variant, RULES)] if present else [],
        ),
    )


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_overrides_clear(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """Remove all overrides of a flag."""
    flag = get_flag_or_404(request, key)
    if request.method == "POST":
        entry = overrides_clear(flag, actor=actor_of(request), reason=reason_of(request))
        return done(request, flag, entry, f"Removed the overrides of {key}.")
    total = flag.overrides.count()
    newest = list(flag.overrides.order_by("-created_at", "player_id")[:REVIEWED])
    return render_confirm(
        request,
        Confirm(
            title=f"Remove all overrides of {key}",
            button=f"Remove {total:,} in {request.environment.slug}" if total else "",
            cancel_url=environment_url(request, "flag_detail", key),
            text=_clear_text(total),
            tone="danger",
            changes=[
                Change(isolated(row.external_id), row.override.variant, RULES)
                for row in _shown(flag, newest)
            ],
        ),
    )


def _clear_text(total: int) -> str:
    if not total:
        return "It has no overrides."
    players = "1 player" if total == 1 else f"{total:,} players"
    text = f"The rules decide for {players}, from the next request on. "
    if total > REVIEWED:
        text += f"The newest {REVIEWED} are below. "
    if total > MAX_KEPT:
        return text + f"This cannot be undone: more than {MAX_KEPT} overrides are not kept."
    return text + "One undo sets them again."


@staff_view(Role.SUPPORT, "GET", "POST")
@readable_flag
def flag_override(request: HtmxHttpRequest, flag: Flag, player_id: uuid.UUID) -> HttpResponse:
    """Set or remove the override of a flag for a player."""
    player = get_or_404(request, Player, id=player_id)
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

"""The pages about players."""

import uuid
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils import timezone

from ilara_admin.api.curl import EXAMPLE_REGISTRATION, curl_post
from ilara_admin.models import AuditEntry, Role
from ilara_admin.web.access import actor_of, environment_url, get_or_404, staff_view
from ilara_admin.web.filters import render_list
from ilara_admin.web.htmx import (
    HtmxHttpRequest,
    redirect_to,
    render_partial,
    wants_partial,
    with_toast,
)
from ilara_admin.web.pagination import KeysetPage
from players.aliases import aliases_starting_with, player_id_of
from players.forms import PAYING, PlayerFilterForm, PlayerForm
from players.labels import STAGES
from players.lifecycle import Stage, stage_at
from players.models import Player
from players.notes import may_undo
from players.record import thresholds_of
from players.services import UNDOABLE, player_undo, player_update


@staff_view(Role.VIEWER)
def player_list(request: HtmxHttpRequest) -> HttpResponse:
    """Players by when they were last seen, or by external id when searched for.

    A whole external id leads to its player, but only once the search is sent: whoever is still
    typing `player_12` does not mean `player_1`.
    """
    form = PlayerFilterForm(request)
    q = form.value("q")
    players = Player.objects.of(request.environment).for_list()
    if q and not wants_partial(request):
        found = players.filter(pk=player_id_of(request.environment, q)).first()
        if found is not None:
            return found_by(request, found, q)
    now, thresholds = timezone.now(), thresholds_of(request.environment)
    players = players.starting_with(q) if q else players.recent_first()
    if stage := form.value("stage"):
        players = players.in_stage(Stage(stage), thresholds, now)
    if payer := form.value("payer"):
        players = players.payers(PAYING[payer])
    page = KeysetPage.of(players, request)
    context: dict[str, Any] = {
        "form": form,
        "page": page,
        "rows": [(each, STAGES[stage_at(each.history, thresholds, now)]) for each in page.rows],
        "linked": aliases_starting_with(request.environment, q) if q and not page.previous else [],
        "shows_country": any(getattr(each, "country", None) for each in page.rows),
    }
    if not page.rows and not form.chips and page.is_only:
        key = request.environment.key_hint(now)
        context["first_line"] = curl_post(request, "players/players", key, EXAMPLE_REGISTRATION)
    return render_list(request, "players/list.html", context)


@staff_view(Role.SUPPORT, "GET", "POST")
def player_edit(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    player = get_or_404(request, Player, pk=player_id)
    form = PlayerForm(player, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            entry = player_update(
                player,
                form.cleaned_data["patch"],
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
            )
        except ValidationError as error:
            form.add_error(None, error)
        else:
            return changed(request, player, entry, "Saved. The game sees it at its next request.")
    context = {"player": player, "form": form}
    status = 422 if form.errors else 200
    return render_partial(request, "players/edit.html", context, partial="edit", status=status)


@staff_view(Role.SUPPORT, "POST")
def player_undo_change(
    request: HtmxHttpRequest, player_id: uuid.UUID, entry_id: int
) -> HttpResponse:
    player = get_or_404(request, Player, pk=player_id)
    entries = AuditEntry.objects.filter(
        environment=request.environment, action__in=UNDOABLE, object_id=str(player.pk)
    )
    entry = get_object_or_404(entries, pk=entry_id)
    if not may_undo(request.user, entry):
        raise PermissionDenied("Only its author and admins may delete a note or bring it back.")
    try:
        undone = player_undo(player, entry, actor=actor_of(request))
    except ValidationError as error:  # the game or somebody else was here since
        response = redirect_to(request, environment_url(request, "player_detail", player.pk))
        return with_toast(request, response, error.messages[0], tone="danger")
    return changed(request, player, undone, "Undone. It is as it was before.")


# --- Helpers ------------------------------------------------------------------------------------


def found_by(request: HtmxHttpRequest, player: Player, name: str) -> HttpResponse:
    """To the player whom a search for a whole name means, saying so where that is an alias."""
    response = HttpResponseRedirect(environment_url(request, "player_detail", player.pk))
    if name in (player.external_id, str(player.pk)):
        return response
    return with_toast(request, response, f"“{name}” is linked to this player.", tone="info")


def changed(
    request: HtmxHttpRequest, player: Player, entry: AuditEntry | None, words: str
) -> HttpResponse:
    """Back to the player, with a word about what was done and a way to undo it."""
    response = redirect_to(request, environment_url(request, "player_detail", player.pk))
    if entry is None:
        return with_toast(request, response, "Nothing was changed.", tone="info")
    undo = environment_url(request, "player_undo", player.pk, entry.pk)
    return with_toast(request, response, words, undo_url=undo)

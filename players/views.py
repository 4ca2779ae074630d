"""The pages about players."""

import uuid
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpResponse, HttpResponseRedirect
from django.utils import timezone

from ilara_admin.api.curl import EXAMPLE_REGISTRATION, curl_post
from ilara_admin.core.changes import Conflict
from ilara_admin.core.text import isolated
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, get_or_404, staff_view
from ilara_admin.web.confirm import changed, form_conflict, is_review
from ilara_admin.web.filters import render_list
from ilara_admin.web.forms import FormPage, render_form
from ilara_admin.web.htmx import HtmxHttpRequest, wants_partial, with_toast
from ilara_admin.web.pagination import KeysetPage
from players.aliases import aliases_starting_with, player_id_named
from players.forms import PAYING, PlayerFilterForm, PlayerForm
from players.labels import STAGES
from players.lifecycle import Stage, stage_at
from players.models import Player
from players.record import thresholds_of
from players.services import player_update


@staff_view(Role.VIEWER)
def player_list(request: HtmxHttpRequest) -> HttpResponse:
    """Players by the day they were last seen; search results by external id.

    A complete external id redirects to its player, but only once the search is submitted: while
    `player_12` is typed, `player_1` must not redirect.
    """
    form = PlayerFilterForm(request)
    q = form.value("q")
    players = Player.objects.of(request.environment).for_list()
    if q and not wants_partial(request):
        found = players.filter(pk=player_id_named(request.environment, q)).first()
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
    player = get_or_404(request, Player, id=player_id)
    form = PlayerForm(player, request.POST if request.method == "POST" else None)
    url = environment_url(request, "player_detail", player.pk)
    if request.method == "POST" and form.is_valid() and not is_review(request):
        given = form.cleaned_data
        try:
            entry = player_update(
                player,
                given["patch"],
                seen=given["seen"],
                actor=actor_of(request),
                reason=given["reason"],
            )
        except ValidationError as error:
            form.add_error(None, error)
        except Conflict as conflict:
            return form_conflict(request, form, conflict, url)
        else:
            return changed(request, url, entry, "Saved. The game sees it at its next request.")
    title = f"Edit {isolated(player.external_id)}"
    return render_form(request, FormPage(title, "Save", form, url))


# --- Helpers ------------------------------------------------------------------------------------


def found_by(request: HtmxHttpRequest, player: Player, name: str) -> HttpResponse:
    """Redirect to the player with this id; a toast explains an alias."""
    response = HttpResponseRedirect(environment_url(request, "player_detail", player.pk))
    if name == player.external_id or name.lower() in (str(player.pk), player.pk.hex):
        return response
    return with_toast(
        request, response, f"“{isolated(name)}” is linked to this player.", tone="info"
    )

"""The pages about players."""

import uuid

from django.core.exceptions import ValidationError
from django.http import HttpResponse, HttpResponseRedirect

from ilara_admin.core.changes import Conflict
from ilara_admin.core.text import isolated
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, get_or_404, staff_view
from ilara_admin.web.confirm import changed, form_conflict, is_review
from ilara_admin.web.forms import FormPage, render_form
from ilara_admin.web.htmx import HtmxHttpRequest, with_toast
from players.forms import PlayerForm
from players.models import Player
from players.services import player_update


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

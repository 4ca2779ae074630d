"""Export and erasure of a player's data by admins. Each is a dialog on the player's page, or a page
without JavaScript."""

import uuid
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import psycopg
from django.db import OperationalError
from django.http import HttpResponse
from django.template.loader import render_to_string

from ilara_admin.core.changes import reason_of
from ilara_admin.core.text import isolated, visible
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, get_or_404, staff_view
from ilara_admin.web.confirm import Confirm, render_confirm
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, render_partial, with_toast
from players.erasure import player_delete, player_export
from players.models import Player
from players.player_data import count_rows


@staff_view(Role.ADMIN, "GET", "POST")
def player_data_export(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    """Download what `manage.py player_export` writes."""
    player, error = get_or_404(request, Player, id=player_id), ""
    if request.method == "POST":
        try:
            document = player_export(player, actor=actor_of(request), reason=reason_of(request))
        except OperationalError as refused:
            error = _too_much(refused, player, "player_export", "exported")
        else:
            text = msgspec.json.format(msgspec.json.encode(document), indent=2)
            response = HttpResponse(text + b"\n", content_type="application/json")
            response["Content-Disposition"] = f'attachment; filename="player-{player.pk}.json"'
            response["Cache-Control"] = "no-store"
            return response
    context = {
        "player": player,
        "title": f"Export {isolated(player.external_id)}",
        "rows": count_rows(player),
        "error": error,
        "cancel_url": environment_url(request, "player_detail", player.pk),
    }
    return render_partial(
        request, "players/export.html", context, partial="export", status=422 if error else 200
    )


@staff_view(Role.ADMIN, "GET", "POST")
def player_erase(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    """Erase the player as `manage.py player_delete` does, once the external id was typed."""
    player = get_or_404(request, Player, id=player_id)
    who, error = isolated(player.external_id), ""
    confirm = Confirm(
        title=f"Erase {who}",
        button="Erase",
        cancel_url=environment_url(request, "player_detail", player.pk),
        text="This deletes the player and the rows below, and removes what identifies the player "
        "from rules, lists, reasons and the audit log. It cannot be undone. Totals of events stay. "
        "If the game registers the player again, it starts as a new one.",
        figures=_listed(count_rows(player)),
        tone="danger",
        type_to_confirm=_typeable(player),
    )
    if request.method == "POST":
        if not confirm.is_typed(request):
            error = "The external id does not match. Nothing was erased."
        else:
            try:
                deleted = player_delete(player, actor=actor_of(request), reason=reason_of(request))
            except OperationalError as refused:
                error = _too_much(refused, player, "player_delete", "erased")
            else:
                rows = [f"{count:,} in {table}" for table, count in deleted.items()]
                response = redirect_to(request, environment_url(request, "player_list"))
                return with_toast(request, response, f"The player was erased: {', '.join(rows)}.")
    return render_confirm(request, replace(confirm, error=error))


def _typeable(player: Player) -> str:
    """The external id as it can be typed: control characters are visible, and there is one space
    where there is white space. The player's id if nothing is left."""
    return " ".join(visible(player.external_id).split()) or str(player.pk)


def _listed(rows: Sequence[tuple[str, int]]) -> str:
    return render_to_string("players/_stored_rows.html", {"rows": rows})


def _too_much(error: OperationalError, player: Player, command: str, done: str) -> str:
    """What to do about a statement that took longer than a page may; other errors are raised."""
    if not isinstance(error.__cause__, psycopg.errors.QueryCanceled):
        raise error
    return (
        f"This takes longer than a page may, so nothing was {done}. Run it on the server: "
        f"manage.py {command} {player.environment} {player.pk}"
    )

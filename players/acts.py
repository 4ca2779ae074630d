"""What support does for one player: notes, linked ids, refunds. Each act is a dialog over the
player's page, or a page without a script."""

import uuid

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404

from ilara_admin.confirm import Confirm, render_confirm
from ilara_admin.forms import FormPage, add_errors, render_form
from ilara_admin.htmx import HtmxHttpRequest, render_partial
from ilara_admin.models import Role
from ilara_admin.pagination import KeysetPage
from ilara_admin.scope import actor_of, link, staff_view
from ilara_admin.templatetags.ilara import money
from players.aliases import player_alias_link, player_alias_unlink
from players.forms import AliasForm, NoteForm
from players.models import Player, PlayerAlias, PlayerNote
from players.notes import may_delete, note_add, note_delete, notes_of, with_right
from players.services import purchase_of, purchase_refund, purchase_refund_undo
from players.views import changed, the_player

REASON_LENGTH = 500

# --- Notes ----------------------------------------------------------------------------------------


@staff_view(Role.VIEWER)
def player_notes(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    """All notes about a player, the newest first."""
    player = the_player(request, player_id)
    page = KeysetPage.of(notes_of(player), request)
    context = {
        "player": player,
        "page": page,
        "notes": with_right(request.user, page.rows),
        "may_edit": request.user.may(Role.SUPPORT),
    }
    return render_partial(request, "players/notes.html", context, partial="results")


@staff_view(Role.SUPPORT, "GET", "POST")
def player_note_add(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    player = the_player(request, player_id)
    form = NoteForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            entry = note_add(player, form.cleaned_data["text"], actor=actor_of(request))
        except ValidationError as error:
            add_errors(form, error)
        else:
            return changed(request, player, entry, "The note is kept.")
    page = FormPage(
        f"Note about {player.external_id}",
        "Add note",
        form,
        link(request, "player_detail", player.pk),
        text="For all staff to read. The game and the player never see it.",
    )
    return render_form(request, page)


@staff_view(Role.SUPPORT, "GET", "POST")
def player_note_delete(
    request: HtmxHttpRequest, player_id: uuid.UUID, note_id: uuid.UUID
) -> HttpResponse:
    player = the_player(request, player_id)
    note = get_object_or_404(PlayerNote, player=player, id=note_id)
    if not may_delete(request.user, note):
        raise PermissionDenied("Only its author and admins may delete a note.")
    if request.method == "POST":
        entry = note_delete(player, note.id, actor=actor_of(request), reason=_reason(request))
        return changed(request, player, entry, "The note is deleted.")
    confirm = Confirm(
        title="Delete the note",
        button="Delete the note",
        cancel_url=link(request, "player_detail", player.pk),
        text=f"The note of {note.author_name} about {player.external_id}. The audit log keeps its "
        "text, so that this can be undone.",
        tone="danger",
    )
    return render_confirm(request, confirm)


# --- Linked ids -----------------------------------------------------------------------------------


@staff_view(Role.SUPPORT, "GET", "POST")
def player_alias_add(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    player = the_player(request, player_id)
    form = AliasForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        external_id = form.cleaned_data["external_id"]
        try:
            entry = player_alias_link(
                player, external_id, actor=actor_of(request), reason=form.cleaned_data["reason"]
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            return changed(
                request, player, entry, f"“{external_id}” means this player from now on."
            )
    page = FormPage(
        f"Link an id to {player.external_id}",
        "Link",
        form,
        link(request, "player_detail", player.pk),
        text="Whoever registers, looks up or lists by that id means this player from then on. "
        "What lists and flags hold for it already moves here and stays.",
    )
    return render_form(request, page)


@staff_view(Role.SUPPORT, "GET", "POST")
def player_alias_remove(
    request: HtmxHttpRequest, player_id: uuid.UUID, alias_id: uuid.UUID
) -> HttpResponse:
    player = the_player(request, player_id)
    alias = get_object_or_404(PlayerAlias, player=player, pk=alias_id)
    if request.method == "POST":
        entry = player_alias_unlink(
            player, alias.external_id, actor=actor_of(request), reason=_reason(request)
        )
        return changed(request, player, entry, f"“{alias.external_id}” is free again.")
    confirm = Confirm(
        title=f"Unlink {alias.external_id}",
        button="Unlink",
        cancel_url=link(request, "player_detail", player.pk),
        text="The next registration by this id makes a player of its own. What moved to "
        f"{player.external_id} when it was linked stays there.",
        tone="danger",
    )
    return render_confirm(request, confirm)


# --- Refunds --------------------------------------------------------------------------------------


@staff_view(Role.SUPPORT, "GET", "POST")
def player_refund(request: HtmxHttpRequest, player_id: uuid.UUID, purchase: str) -> HttpResponse:
    player = the_player(request, player_id)
    amount, error = _amount(player, purchase), ""
    if request.method == "POST":
        try:
            entry = purchase_refund(
                player, purchase, actor=actor_of(request), reason=_reason(request)
            )
        except ValidationError as refused:  # somebody else was faster
            error = refused.messages[0]
        else:
            return changed(request, player, entry, f"The purchase of {amount} is refunded.")
    confirm = Confirm(
        title=f"Refund {amount}",
        button=f"Refund {amount}",
        cancel_url=link(request, "player_detail", player.pk),
        text="The purchase stays in the ledger, marked, and leaves the player's revenue. The money "
        "itself is given back by the store, not from here.",
        tone="danger",
        error=error,
    )
    return render_confirm(request, confirm)


@staff_view(Role.SUPPORT, "GET", "POST")
def player_refund_reverse(
    request: HtmxHttpRequest, player_id: uuid.UUID, purchase: str
) -> HttpResponse:
    player = the_player(request, player_id)
    amount, error = _amount(player, purchase), ""
    if request.method == "POST":
        try:
            entry = purchase_refund_undo(
                player, purchase, actor=actor_of(request), reason=_reason(request)
            )
        except ValidationError as refused:
            error = refused.messages[0]
        else:
            return changed(request, player, entry, f"The purchase of {amount} counts again.")
    confirm = Confirm(
        title=f"Reverse the refund of {amount}",
        button="Reverse the refund",
        cancel_url=link(request, "player_detail", player.pk),
        text="The purchase counts as revenue of the player again.",
        error=error,
    )
    return render_confirm(request, confirm)


def _amount(player: Player, purchase: str) -> str:
    try:
        found = purchase_of(player, purchase)
    except ValidationError as error:
        raise Http404(error.messages[0]) from None
    return money(found.amount, found.currency)


def _reason(request: HtmxHttpRequest) -> str:
    return request.POST.get("reason", "")[:REASON_LENGTH]

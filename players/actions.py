"""What support does for one player: notes, linked ids, refunds. Each act is a dialog over the
player's page, or a page without a script."""

import uuid

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.formats import date_format
from django.utils.timezone import localtime

from ilara_admin.models import Role
from ilara_admin.templatetags.ilara import money
from ilara_admin.web.access import actor_of, environment_url, get_or_404, staff_view
from ilara_admin.web.confirm import Confirm, render_confirm
from ilara_admin.web.forms import FormPage, add_errors, render_form
from ilara_admin.web.htmx import HtmxHttpRequest, render_partial
from ilara_admin.web.pagination import KeysetPage
from players.aliases import player_alias_link, player_alias_unlink
from players.forms import AliasForm, NoteForm
from players.models import Player, PlayerAlias, PlayerNote
from players.notes import may_delete, note_add, note_delete, notes_of, with_right
from players.services import purchase_of, purchase_refund, purchase_refund_undo
from players.views import changed

REASON_LENGTH = 500

# --- Notes ----------------------------------------------------------------------------------------


@staff_view(Role.VIEWER)
def player_notes(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    """All notes about a player, the newest first."""
    player = get_or_404(request, Player, pk=player_id)
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
    player = get_or_404(request, Player, pk=player_id)
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
        environment_url(request, "player_detail", player.pk),
        text="All staff can read it, the game cannot. A player who asks for their data gets it.",
    )
    return render_form(request, page)


@staff_view(Role.SUPPORT, "GET", "POST")
def player_note_delete(
    request: HtmxHttpRequest, player_id: uuid.UUID, note_id: uuid.UUID
) -> HttpResponse:
    player = get_or_404(request, Player, pk=player_id)
    note = get_object_or_404(PlayerNote, player=player, id=note_id)
    if not may_delete(request.user, note.author_id):
        raise PermissionDenied("Only its author and admins may delete a note.")
    if request.method == "POST":
        entry = note_delete(player, note.id, actor=actor_of(request), reason=_reason(request))
        return changed(request, player, entry, "The note is deleted.")
    confirm = Confirm(
        title="Delete the note",
        button="Delete the note",
        cancel_url=environment_url(request, "player_detail", player.pk),
        text=f"The note of {note.author_name} about {player.external_id}. The audit log keeps its "
        "text, so that this can be undone.",
        tone="danger",
    )
    return render_confirm(request, confirm)


# --- Linked ids -----------------------------------------------------------------------------------


@staff_view(Role.SUPPORT, "GET", "POST")
def player_alias_add(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    player = get_or_404(request, Player, pk=player_id)
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
        environment_url(request, "player_detail", player.pk),
        text="From then on the id means this player, for the game and for staff. Its places on "
        "lists of segments and its flag overrides move to this player, and stay if it is unlinked.",
    )
    return render_form(request, page)


@staff_view(Role.SUPPORT, "GET", "POST")
def player_alias_remove(
    request: HtmxHttpRequest, player_id: uuid.UUID, alias_id: uuid.UUID
) -> HttpResponse:
    player = get_or_404(request, Player, pk=player_id)
    alias = get_object_or_404(PlayerAlias, player=player, pk=alias_id)
    if request.method == "POST":
        entry = player_alias_unlink(
            player, alias.external_id, actor=actor_of(request), reason=_reason(request)
        )
        return changed(request, player, entry, f"“{alias.external_id}” is free again.")
    confirm = Confirm(
        title=f"Unlink {alias.external_id}",
        button="Unlink",
        cancel_url=environment_url(request, "player_detail", player.pk),
        text="When the game registers this id again, that makes a player of its own. Places on "
        f"lists and flag overrides that moved to {player.external_id} stay there.",
        tone="danger",
    )
    return render_confirm(request, confirm)


# --- Refunds --------------------------------------------------------------------------------------


@staff_view(Role.SUPPORT, "GET", "POST")
def player_refund(request: HtmxHttpRequest, player_id: uuid.UUID, purchase: str) -> HttpResponse:
    player = get_or_404(request, Player, pk=player_id)
    amount, bought, error = *_bought(player, purchase), ""
    if request.method == "POST":
        try:
            entry = purchase_refund(
                player, purchase, actor=actor_of(request), reason=_reason(request)
            )
        except ValidationError as refused:  # somebody else was faster
            error = refused.messages[0]
        else:
            words = f"The purchase of {amount} is marked as refunded."
            return changed(request, player, entry, words)
    confirm = Confirm(
        title=f"Mark {amount} as refunded",
        button="Mark as refunded",
        cancel_url=environment_url(request, "player_detail", player.pk),
        text=f"{bought} The purchase stays in the timeline and no longer counts as revenue. No "
        "money moves: only the store can give it back.",
        tone="danger",
        error=error,
    )
    return render_confirm(request, confirm)


@staff_view(Role.SUPPORT, "GET", "POST")
def player_refund_reverse(
    request: HtmxHttpRequest, player_id: uuid.UUID, purchase: str
) -> HttpResponse:
    player = get_or_404(request, Player, pk=player_id)
    amount, bought, error = *_bought(player, purchase), ""
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
        cancel_url=environment_url(request, "player_detail", player.pk),
        text=f"{bought} The purchase counts as revenue again. No money moves.",
        error=error,
    )
    return render_confirm(request, confirm)


def _bought(player: Player, purchase: str) -> tuple[str, str]:
    """The amount, and a sentence that tells this purchase from others of the same amount."""
    try:
        found = purchase_of(player, purchase)
    except ValidationError as error:
        raise Http404(error.messages[0]) from None
    when = date_format(localtime(found.received_at), "j M Y, H:i T")
    what = f" {found.product_id}" if found.product_id else ""
    return money(found.amount, found.currency), f"{player.external_id} bought{what} on {when}."


def _reason(request: HtmxHttpRequest) -> str:
    return request.POST.get("reason", "")[:REASON_LENGTH]

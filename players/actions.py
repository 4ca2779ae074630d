"""Support actions on one player: notes, linked ids, refunds. Each is a dialog on the player's page,
or a page without JavaScript."""

import uuid

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.formats import date_format
from django.utils.timezone import localtime

from ilara_admin.core.changes import reason_of
from ilara_admin.core.text import isolated
from ilara_admin.models import AuditEntry, Role
from ilara_admin.templatetags.ilara import money
from ilara_admin.web.access import actor_of, environment_url, get_or_404, may, staff_view
from ilara_admin.web.confirm import Confirm, changed, render_confirm
from ilara_admin.web.forms import FormPage, add_errors, render_form
from ilara_admin.web.htmx import HtmxHttpRequest, render_partial
from ilara_admin.web.pagination import KeysetPage
from players.aliases import player_alias_link, player_alias_unlink
from players.forms import AliasForm, NoteForm
from players.models import Player, PlayerAlias, PlayerNote, Purchase
from players.notes import may_delete, note_add, note_delete, notes_of, with_right
from players.purchases import purchase_page
from players.services import purchase_of, purchase_refund, purchase_refund_undo

# --- Notes ----------------------------------------------------------------------------------------


@staff_view(Role.VIEWER)
def player_notes(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    """All notes about a player, newest first."""
    player = get_or_404(request, Player, id=player_id)
    page = KeysetPage.of(notes_of(player), request)
    context = {
        "player": player,
        "page": page,
        "notes": with_right(request.user, request.project, page.rows),
        "may_edit": may(request, Role.SUPPORT),
    }
    return render_partial(request, "players/notes.html", context, partial="results")


@staff_view(Role.SUPPORT, "GET", "POST")
def player_note_add(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    player = get_or_404(request, Player, id=player_id)
    form = NoteForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            entry = note_add(player, form.cleaned_data["text"], actor=actor_of(request))
        except ValidationError as error:
            add_errors(form, error)
        else:
            return _changed(request, player, entry, "Note saved.")
    page = FormPage(
        f"Note about {isolated(player.external_id)}",
        "Add note",
        form,
        environment_url(request, "player_detail", player.pk),
        text="Visible to all staff, not to the game. Exports of the player's data include it.",
    )
    return render_form(request, page)


@staff_view(Role.SUPPORT, "GET", "POST")
def player_note_delete(
    request: HtmxHttpRequest, player_id: uuid.UUID, note_id: uuid.UUID
) -> HttpResponse:
    player = get_or_404(request, Player, id=player_id)
    note = get_object_or_404(PlayerNote, player=player, id=note_id)
    if not may_delete(request.user, request.project, note.author_id):
        raise PermissionDenied("Only the author and admins can delete a note.")
    if request.method == "POST":
        entry = note_delete(player, note.id, actor=actor_of(request), reason=reason_of(request))
        return _changed(request, player, entry, "Note deleted.")
    confirm = Confirm(
        title="Delete note",
        button="Delete note",
        cancel_url=environment_url(request, "player_detail", player.pk),
        text=f"By {note.author_name} about {isolated(player.external_id)}. The audit log stores "
        "the text, so that this can be undone.",
        tone="danger",
    )
    return render_confirm(request, confirm)


# --- Linked ids -----------------------------------------------------------------------------------


@staff_view(Role.SUPPORT, "GET", "POST")
def player_alias_add(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    player = get_or_404(request, Player, id=player_id)
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
            return _changed(
                request, player, entry, f"Linked “{isolated(external_id)}” to this player."
            )
    page = FormPage(
        f"Link an id to {isolated(player.external_id)}",
        "Link",
        form,
        environment_url(request, "player_detail", player.pk),
        text="The game and staff can then use the id for this player. Its entries on segment lists "
        "and its flag overrides move to this player, and stay if it is unlinked.",
    )
    return render_form(request, page)


@staff_view(Role.SUPPORT, "GET", "POST")
def player_alias_remove(
    request: HtmxHttpRequest, player_id: uuid.UUID, alias_id: uuid.UUID
) -> HttpResponse:
    player = get_or_404(request, Player, id=player_id)
    alias = get_object_or_404(PlayerAlias, player=player, pk=alias_id)
    if request.method == "POST":
        entry = player_alias_unlink(
            player, alias.external_id, actor=actor_of(request), reason=reason_of(request)
        )
        return _changed(request, player, entry, f"Unlinked “{isolated(alias.external_id)}”.")
    confirm = Confirm(
        title=f"Unlink {isolated(alias.external_id)}",
        button="Unlink",
        cancel_url=environment_url(request, "player_detail", player.pk),
        text="If the game registers this id again, it creates a new player. Segment list entries "
        f"and flag overrides that moved to {isolated(player.external_id)} stay there.",
        tone="danger",
    )
    return render_confirm(request, confirm)


# --- Refunds --------------------------------------------------------------------------------------


@staff_view(Role.SUPPORT, "GET", "POST")
def player_refund(request: HtmxHttpRequest, player_id: uuid.UUID, purchase: str) -> HttpResponse:
    player = get_or_404(request, Player, id=player_id)
    found = _purchase(player, purchase)
    page = purchase_page(request.environment, player.pk, found.digest)
    amount, description, error = *_purchase_text(player, found), ""
    if request.method == "POST":
        try:
            entry = purchase_refund(
                player, purchase, actor=actor_of(request), reason=reason_of(request)
            )
        except ValidationError as refused:  # it was refunded in the meantime
            error = refused.messages[0]
        else:
            return changed(request, page, entry, f"Marked the purchase of {amount} as refunded.")
    confirm = Confirm(
        title=f"Mark {amount} as refunded",
        button="Mark as refunded",
        cancel_url=page,
        text=f"{description} The purchase stays in the timeline and no longer counts as revenue. "
        "This does not move money: refund the player in the store.",
        tone="danger",
        error=error,
    )
    return render_confirm(request, confirm)


@staff_view(Role.SUPPORT, "GET", "POST")
def player_refund_reverse(
    request: HtmxHttpRequest, player_id: uuid.UUID, purchase: str
) -> HttpResponse:
    player = get_or_404(request, Player, id=player_id)
    found = _purchase(player, purchase)
    page = purchase_page(request.environment, player.pk, found.digest)
    amount, description, error = *_purchase_text(player, found), ""
    if request.method == "POST":
        try:
            entry = purchase_refund_undo(
                player, purchase, actor=actor_of(request), reason=reason_of(request)
            )
        except ValidationError as refused:
            error = refused.messages[0]
        else:
            return changed(request, page, entry, f"Reversed the refund of {amount}.")
    confirm = Confirm(
        title=f"Reverse the refund of {amount}",
        button="Reverse the refund",
        cancel_url=page,
        text=f"{description} The purchase counts as revenue again. This does not move money.",
        error=error,
    )
    return render_confirm(request, confirm)


def _purchase(player: Player, purchase: str) -> Purchase:
    try:
        return purchase_of(player, purchase)
    except ValidationError as error:
        raise Http404(error.messages[0]) from None


def _purchase_text(player: Player, found: Purchase) -> tuple[str, str]:
    """The amount, and a sentence with the product and time of the purchase."""
    when = date_format(localtime(found.received_at), "j M Y, H:i T")
    what = f" {isolated(found.product_id)}" if found.product_id else ""
    who = isolated(player.external_id)
    return money(found.amount, found.currency), f"{who} bought{what} on {when}."


def _changed(
    request: HtmxHttpRequest, player: Player, entry: AuditEntry | None, text: str
) -> HttpResponse:
    return changed(request, environment_url(request, "player_detail", player.pk), entry, text)

"""Changes for the players that are selected in the list: one review, one change, one undo."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import render

from ilara_admin.core.audit import Actor
from ilara_admin.models import AuditEntry, Role
from ilara_admin.pages.player_exports import MAX_SELECTED, list_url, selected_players
from ilara_admin.web.access import actor_of, staff_view
from ilara_admin.web.confirm import changed, changed_together
from ilara_admin.web.forms import add_errors
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast
from ilara_admin.web.suggestions import SuggestedChoiceField, Suggestions
from players.forms import NoteForm
from players.models import Player
from players.notes import note_add
from segments.lists.services import entry_of, ids_add
from segments.models import Segment

REVIEWED = "reviewed"  # posted by the review, not by the list


class ListForm(forms.Form):
    segment = SuggestedChoiceField()
    which = forms.ChoiceField(
        label="List",
        choices=[("include", "Include list"), ("exclude", "Exclude list")],
        help_text="Players on the exclude list are never in the segment.",
    )
    reason = forms.CharField(
        required=False,
        max_length=500,
        help_text="Stored in the audit log.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, keys: Sequence[str], data: Any = None) -> None:
        super().__init__(data)
        field = self.fields["segment"]
        assert isinstance(field, SuggestedChoiceField)
        self.suggestions = Suggestions("segments", {key: key for key in keys})
        field.suggest(self.suggestions, empty=("", "Choose a segment"))


@staff_view(Role.LIVE_OPS, "POST")
def player_bulk_list(request: HtmxHttpRequest) -> HttpResponse:
    """The list posts the selected players and gets the review, which posts them again."""
    players = _selected(request)
    if isinstance(players, HttpResponse):
        return players
    segments = Segment.objects.filter(environment=request.environment)
    keys = list(segments.values_list("key", flat=True))
    form = ListForm(keys, request.POST if REVIEWED in request.POST else None)
    if form.is_valid():
        segment = segments.get(key=form.cleaned_data["segment"])
        excluded = form.cleaned_data["which"] == "exclude"
        try:
            change = ids_add(
                segment,
                [player.external_id for player in players],
                excluded=excluded,
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
            )
        except ValidationError as error:
            form.add_error(None, error)
        else:
            which = f"the {form.cleaned_data['which']} list of {segment.key}"
            entry = entry_of(change) if change.pk else None
            text = f"Added {_players(change.added)} to {which}."
            return changed(request, list_url(request), entry, text)
    title = f"Add {_players(len(players))} to a segment's list"
    return _review(request, form, title, players)


@staff_view(Role.SUPPORT, "POST")
def player_bulk_note(request: HtmxHttpRequest) -> HttpResponse:
    """As player_bulk_list."""
    players = _selected(request)
    if isinstance(players, HttpResponse):
        return players
    form = NoteForm(request.POST if REVIEWED in request.POST else None)
    if form.is_valid():
        try:
            entries = notes_add(players, form.cleaned_data["text"], actor=actor_of(request))
        except ValidationError as error:
            add_errors(form, error)
        else:
            text = f"Added the note to {_players(len(entries))}."
            return changed_together(request, list_url(request), entries, text)
    return _review(request, form, f"Add a note to {_players(len(players))}", players)


@transaction.atomic
def notes_add(players: Sequence[Player], text: str, *, actor: Actor) -> list[AuditEntry]:
    """Add the same note about each player, or about none. Raises ValidationError."""
    # In one order, so that two of these cannot wait for each other.
    in_order = sorted(players, key=lambda player: player.pk)
    return [note_add(player, text, actor=actor) for player in in_order]


def _selected(request: HtmxHttpRequest) -> list[Player] | HttpResponse:
    """The selected players, or the answer if they cannot be changed."""
    ids = selected_players(request)
    if not ids or len(ids) > MAX_SELECTED:
        problem = f"Select {MAX_SELECTED} players at most." if ids else "Select players first."
        return with_toast(request, redirect_to(request, list_url(request)), problem, tone="warn")
    found = _players_of(request, ids)
    if not found:
        text = "These players were erased meanwhile."
        return with_toast(request, redirect_to(request, list_url(request)), text, tone="warn")
    return found


def _players_of(request: HtmxHttpRequest, ids: Sequence[UUID]) -> list[Player]:
    players = Player.objects.of(request.environment).defer("attributes").in_bulk(ids)
    for player in players.values():
        player.environment = request.environment
    return [players[each] for each in ids if each in players]


def _players(number: int) -> str:
    return "1 player" if number == 1 else f"{number} players"


def _review(
    request: HtmxHttpRequest, form: forms.Form, title: str, players: Sequence[Player]
) -> HttpResponse:
    if not form.errors:
        next(iter(form.fields.values())).widget.attrs["autofocus"] = True
    context = {
        "title": title,
        "form": form,
        "players": players,
        "reviewed": REVIEWED,
        "back": request.POST.get("back", ""),
        "back_url": list_url(request),
    }
    return render(request, "players/bulk.html", context, status=422 if form.errors else 200)

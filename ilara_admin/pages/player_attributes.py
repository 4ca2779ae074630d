"""Edits the attributes of a player: one in a dialog, or all in one form. Names and types that other
players have are suggested."""

import uuid
from typing import Any

from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse

from ilara_admin.core.changes import Conflict
from ilara_admin.core.text import isolated
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, get_or_404, staff_view
from ilara_admin.web.confirm import changed, form_conflict, is_review
from ilara_admin.web.forms import SeenForm, add_errors
from ilara_admin.web.htmx import HtmxHttpRequest, render_partial, wants_partial
from players.attribute_forms import (
    REMOVE,
    AttributeForm,
    AttributesForm,
    refresh_on_change,
)
from players.attribute_types import AttributeType
from players.models import Player
from players.services import personal_data_seen, player_update
from segments.editor.seen import SeenName, about
from segments.editor.suggestions import catalogue_of
from segments.language.parser import attribute_path

SAVED = "Saved. The game sees it at its next request."
# By the types of segments/editor/seen.py.
TYPES = {
    "text": AttributeType.TEXT,
    "version": AttributeType.TEXT,
    "time": AttributeType.TIME,
    "number": AttributeType.NUMBER,
    "true or false": AttributeType.YES_NO,
    "list": AttributeType.LIST,
    "object": AttributeType.OBJECT,
}


@staff_view(Role.SUPPORT, "GET", "POST")
def player_attribute(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    """Edit the attribute that the query names, or add one. The posted button `row` shows the form
    again, with the control for the chosen type."""
    player = get_or_404(request, Player, id=player_id)
    was, posted = request.GET.get("attribute") or None, request.method == "POST"
    if was is not None and was not in player.attributes and not posted:
        raise Http404(f"This player has no attribute “{isolated(was)}”.")
    _record_seen(request, player)
    if posted and "row" in request.POST:
        form = AttributeForm(player, was, initial=request.POST.dict() | _suggested(request))
        return _render_one(request, player, form)
    form = AttributeForm(player, was, request.POST if posted else None)
    if posted and form.is_valid() and not is_review(request):
        removed = REMOVE in request.POST
        text = f"Removed {isolated(was or '')}." if removed else SAVED
        return _save(request, player, form, text) or _render_one(request, player, form)
    return _render_one(request, player, form)


@staff_view(Role.SUPPORT, "GET", "POST")
def player_attributes(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    """Edit all attributes. The posted button `row` adds one, or shows the form again."""
    player = get_or_404(request, Player, id=player_id)
    _record_seen(request, player)
    if request.method == "POST" and "row" in request.POST:
        form = AttributesForm(player)
        form.retyped(request.POST)
        return _render_all(request, player, form)
    form = AttributesForm(player, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid() and not is_review(request):
        return _save(request, player, form, SAVED) or _render_all(request, player, form)
    return _render_all(request, player, form)


# --- Helpers --------------------------------------------------------------------------------------


def _record_seen(request: HtmxHttpRequest, player: Player) -> None:
    if request.method == "GET":
        personal_data_seen(player, actor=actor_of(request))


def _save(
    request: HtmxHttpRequest, player: Player, form: SeenForm, text: str
) -> HttpResponse | None:
    """The response after saving, or to a conflict; None if the form has an error now."""
    given, url = form.cleaned_data, environment_url(request, "player_detail", player.pk)
    try:
        entry = player_update(
            player,
            given["patch"],
            seen=given["seen"],
            actor=actor_of(request),
            reason=given["reason"],
        )
    except ValidationError as error:
        add_errors(form, error)
        return None
    except Conflict as conflict:
        return form_conflict(request, form, conflict, url)
    return changed(request, url, entry, text)


def _render_one(request: HtmxHttpRequest, player: Player, form: AttributeForm) -> HttpResponse:
    fields = ["name", "type"] if form.was is None else ["type"]
    refresh_on_change(form, fields, request.get_full_path())
    if request.method == "GET":
        form.fields["name" if form.was is None else "value"].widget.attrs["autofocus"] = True
    who = isolated(player.external_id)
    title = f"Add an attribute to {who}" if form.was is None else f"{isolated(form.was)} of {who}"
    return _render(request, player, form, title, "players/attribute.html")


def _render_all(request: HtmxHttpRequest, player: Player, form: AttributesForm) -> HttpResponse:
    for row in form.rows:
        refresh_on_change(row, ["type"], request.path)
    title = f"Attributes of {isolated(player.external_id)}"
    return _render(request, player, form, title, "players/attributes.html")


def _render(
    request: HtmxHttpRequest, player: Player, form: SeenForm, title: str, template: str
) -> HttpResponse:
    context: dict[str, Any] = {
        "player": player,
        "form": form,
        "title": title,
        "cancel_url": environment_url(request, "player_detail", player.pk),
        # Not on the page of the form itself, where htmx only replaces the form.
        "in_dialog": wants_partial(request)
        and request.htmx.current_url_abs_path != request.get_full_path(),
        "names": [(name, about(seen)) for name, seen in _seen(request).items()],
    }
    status = 422 if form.errors or getattr(form, "faults", None) else 200
    return render_partial(request, template, context, partial="editor", status=status)


def _seen(request: HtmxHttpRequest) -> dict[str, SeenName]:
    """The attributes that other players have, by name; not what is inside of objects."""
    found = catalogue_of(request.environment).attributes.values()
    paths = ((attribute_path(each.name), each) for each in found)
    return {path[0]: each for path, each in paths if len(path) == 1}


def _suggested(request: HtmxHttpRequest) -> dict[str, str]:
    """The usual type of a new attribute whose name was typed, while there is no value."""
    seen = _seen(request).get(request.POST.get("name", "").strip())
    if seen is None or request.POST.get("value") or request.POST.get("row") != "name":
        return {}
    return {"type": TYPES.get(seen.types[0], AttributeType.TEXT)}

"""The pages of a segment's lists."""

from collections.abc import Sequence
from itertools import chain
from typing import Any
from urllib.parse import quote

from django.core.exceptions import ValidationError
from django.db import transaction
from django.forms import Form
from django.http import HttpResponse, StreamingHttpResponse
from django.template.loader import render_to_string
from django_htmx.http import trigger_client_event

from ilara_admin.core.changes import reason_of
from ilara_admin.core.spreadsheet import line
from ilara_admin.models import Role
from ilara_admin.web.access import (
    actor_of,
    environment_url,
    get_or_404,
    may,
    sees_personal,
    staff_view,
)
from ilara_admin.web.confirm import Confirm, render_confirm, undo_url_of
from ilara_admin.web.filters import render_list
from ilara_admin.web.forms import FormPage, render_form
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, render_partial, with_toast
from ilara_admin.web.pagination import KeysetPage
from players.aliases import linked_among, player_id_named
from players.models import Player
from players.personal import mask_text
from segments.lists import change_text, services
from segments.lists.forms import IdsForm, ImportForm, MemberFilterForm
from segments.models import ListState, Segment, SegmentListChange, SegmentMember
from segments.tasks import list_start
from segments.usage import named, users_of

SHOWN_CHANGES = 10


@staff_view(Role.VIEWER)
def segment_lists(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """One of the two lists; `?list=exclude` selects the exclude list."""
    segment = get_or_404(request, Segment, key=key)
    context = _context(request, segment)
    if request.htmx and request.htmx.target == "changes":
        return _changes(request, context)
    if request.htmx and request.htmx.trigger == "results":  # it reloads itself after a removal
        context["focus"] = True
        return render_partial(request, "segments/lists.html", context, partial="results")
    return render_list(request, "segments/lists.html", context)


def _changes(request: HtmxHttpRequest, context: dict[str, Any]) -> HttpResponse:
    """The changes partial. A page that watched a running change also gets the list at its end."""
    response = render_partial(request, "segments/lists.html", context, partial="changes")
    if request.htmx.trigger == "watch" and not context["running"]:
        both = context | {"beside": True}
        response.write(render_to_string("segments/lists.html#results", both, request))
    return response


def _context(request: HtmxHttpRequest, segment: Segment) -> dict[str, Any]:
    excluded = _excluded(request)
    form = MemberFilterForm(request)
    if q := form.value("q"):
        members = SegmentMember.objects.starting_with(segment, q, excluded=excluded)
        if not members.exists():
            named = player_id_named(request.environment, q)
            members = SegmentMember.objects.on(segment, excluded=excluded).filter(player_id=named)
    else:
        members = SegmentMember.objects.on(segment, excluded=excluded)
    page = KeysetPage.of(members.select_related("change"), request)
    ids = [member.player_id for member in page.rows]
    players = Player.objects.of(request.environment).filter(pk__in=ids)
    changes = services.with_entry_id(segment.list_changes.select_related("undoes"), segment)
    latest: list[Any] = list(changes.order_by("-id")[:SHOWN_CHANGES])
    listed = segment.excluded if excluded else segment.included
    return {
        "segment": segment,
        "excluded": excluded,
        "which": _which(request),
        "list_query": "?list=exclude" if excluded else "",
        "form": form,
        "page": page,
        "registered": set(players.values_list("pk", flat=True)),
        "rows": _rows(request, page.rows),
        "changes": [change_text.change_text(change, change.entry_id) for change in latest],
        "running": any(change.state == ListState.RUNNING for change in latest),
        "may_edit": may(request, Role.LIVE_OPS),
        "may_download": listed > 0 and may(request, Role.SUPPORT),
    }


def _rows(
    request: HtmxHttpRequest, members: Sequence[SegmentMember]
) -> list[tuple[SegmentMember, str]]:
    """The rows, each with the id as this role may see it: an id that is linked to a player with
    another external id is personal."""
    linked: set[str] = set()
    if not sees_personal(request):
        linked = linked_among(request.environment, [member.external_id for member in members])
    return [
        (each, mask_text(each.external_id) if each.external_id in linked else each.external_id)
        for each in members
    ]


@staff_view(Role.LIVE_OPS, "GET", "POST")
def segment_ids_add(request: HtmxHttpRequest, key: str) -> HttpResponse:
    segment = get_or_404(request, Segment, key=key)
    form = IdsForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            change = services.ids_add(
                segment,
                form.cleaned_data["ids"],
                excluded=_excluded(request),
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
                column=form.cleaned_data["column"],
            )
        except ValidationError as error:
            form.add_error("ids", error)
        else:
            return _done(request, segment, change)
    return _form(request, segment, form, f"Add to the {_which(request)} list", "Add ids")


@staff_view(Role.LIVE_OPS, "POST")
def segment_ids_remove(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """Remove one id. The list then reloads itself at its current page."""
    segment = get_or_404(request, Segment, key=key)
    try:
        change = services.ids_remove(
            segment,
            [request.POST.get("id", "")],
            excluded=_excluded(request),
            actor=actor_of(request),
        )
    except ValidationError as error:
        response = redirect_to(request, _address(request, segment))
        return with_toast(request, response, error.messages[0], tone="danger")
    if not request.htmx:
        return _done(request, segment, change)
    return _toasted(request, trigger_client_event(HttpResponse(), "list-changed"), segment, change)


@staff_view(Role.LIVE_OPS, "GET", "POST")
def segment_lists_import(request: HtmxHttpRequest, key: str) -> HttpResponse:
    segment = get_or_404(request, Segment, key=key)
    form = ImportForm(*(request.POST, request.FILES) if request.method == "POST" else ())
    if form.is_valid():
        file = form.cleaned_data["file"]
        with transaction.atomic():
            change = services.list_import(
                segment,
                excluded=_excluded(request),
                replace=form.cleaned_data["replace"],
                file_name=file.name,
                size=file.size,
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
            )
            services.upload_keep(change, file.chunks(services.PIECE_BYTES))
        try:
            list_start(change)
        except ValidationError as error:
            form.add_error("file", error)
        else:
            return _done(request, segment, change)
    return _form(request, segment, form, f"Import to the {_which(request)} list", "Import")


@staff_view(Role.SUPPORT, "POST")
def segment_lists_download(request: HtmxHttpRequest, key: str) -> StreamingHttpResponse:
    """The list as CSV. A spreadsheet needs the byte order mark to read UTF-8."""
    segment = get_or_404(request, Segment, key=key)
    rows = services.list_export(segment, excluded=_excluded(request), actor=actor_of(request))
    response = StreamingHttpResponse(
        chain(["\ufeff"], map(line, rows)), content_type="text/csv; charset=utf-8"
    )
    name = quote(f"{key}-{_which(request)}.csv")
    response["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}"
    return response


@staff_view(Role.LIVE_OPS, "GET", "POST")
def segment_lists_clear(request: HtmxHttpRequest, key: str) -> HttpResponse:
    segment = get_or_404(request, Segment, key=key)
    excluded = _excluded(request)
    size = segment.excluded if excluded else segment.included
    which = _which(request)
    used_by = named(users_of(request.environment, key))
    confirm = Confirm(
        title=f"Clear the {which} list of {key}",
        button=f"Clear the {which} list",
        cancel_url=_address(request, segment),
        text=f"Removes {size:,} ids from the list, from the next request on. "
        f"This can be undone for {services.KEPT_DAYS} days."
        + (f" The segment is used by {used_by}." if used_by else ""),
        tone="danger",
        type_to_confirm=key,
        error="" if request.method == "GET" else f"Type {key} to confirm.",
    )
    if request.method == "GET" or not confirm.is_typed(request):
        return render_confirm(request, confirm)
    change = services.list_clear(
        segment,
        excluded=excluded,
        actor=actor_of(request),
        reason=reason_of(request),
    )
    list_start(change)
    return _done(request, segment, change)


# --- Helpers ------------------------------------------------------------------------------------


def _excluded(request: HtmxHttpRequest) -> bool:
    return request.GET.get("list") == "exclude"


def _which(request: HtmxHttpRequest) -> str:
    return "exclude" if _excluded(request) else "include"


def _address(request: HtmxHttpRequest, segment: Segment, *, excluded: bool | None = None) -> str:
    excluded = _excluded(request) if excluded is None else excluded
    url = environment_url(request, "segment_lists", segment.key)
    return f"{url}?list=exclude" if excluded else url


def _form(
    request: HtmxHttpRequest, segment: Segment, form: Form, title: str, button: str
) -> HttpResponse:
    page = FormPage(
        title=f"{title} of {segment.key}",
        button=button,
        form=form,
        cancel_url=_address(request, segment),
    )
    return render_form(request, page)


def _done(request: HtmxHttpRequest, segment: Segment, change: SegmentListChange) -> HttpResponse:
    response = redirect_to(request, _address(request, segment, excluded=change.excluded))
    return _toasted(request, response, segment, change)


def _toasted[R: HttpResponse](
    request: HtmxHttpRequest, response: R, segment: Segment, change: SegmentListChange
) -> R:
    """Add a toast with the result of a change, or that it is running."""
    if change.pk is None:
        return with_toast(request, response, "Nothing was changed.", tone="info")
    change.refresh_from_db()
    entry = services.entry_of(change)
    words = change_text.change_text(change, entry.pk if entry else None)
    if words.running:
        text = "Started. “Last changes” shows how far it is."
        return with_toast(request, response, text, tone="info")
    act = words.act[0].upper() + words.act[1:]
    text = f"{act}: {words.result}." if words.result else f"{act}."
    undo_url = undo_url_of(request, entry) if words.can_be_undone else ""
    return with_toast(request, response, text, undo_url=undo_url)

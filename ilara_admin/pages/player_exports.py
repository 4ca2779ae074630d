"""The exports of the list of players: starting one, how far it is, and the download."""

from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.http import HttpResponse, QueryDict, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404

from ilara_admin.models import Role
from ilara_admin.pages.player_columns import BUILT_IN, COUNTRY, DEFAULT, read_columns
from ilara_admin.pages.player_export_job import export_start, keep_going
from ilara_admin.pages.player_filters import document_of
from ilara_admin.pages.player_list import list_form
from ilara_admin.web.access import environment_url, sees_personal, staff_view
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, render_partial, with_toast
from ilara_admin.web.saved_views import plain_query
from players.exports import KEPT, export_text, exports_of
from players.models import PlayerExport
from segments.models import Segment

MAX_SELECTED = 200


def selected_players(request: HtmxHttpRequest) -> list[UUID]:
    """The posted ids of players, each once, in their order on the page."""
    found: dict[UUID, None] = {}
    for text in request.POST.getlist("player"):
        try:
            found[UUID(text)] = None
        except ValueError:
            continue
    return list(found)


def list_url(request: HtmxHttpRequest) -> str:
    """The list with the filters, the order and the columns that it had."""
    url, query = environment_url(request, "player_list"), plain_query(request.POST.get("back", ""))
    return f"{url}?{query}" if query else url


@staff_view(Role.VIEWER, "POST")
def player_export_start(request: HtmxHttpRequest) -> HttpResponse:
    """Export the selected players, or with `all` those of the list with the query string `back`."""
    back = list_url(request)
    request.GET = QueryDict(plain_query(request.POST.get("back", "")))
    ids = [] if "all" in request.POST else selected_players(request)
    if not ids and "all" not in request.POST:
        return _refuse(request, back, "Select players in the list first.")
    if len(ids) > MAX_SELECTED:
        return _refuse(request, back, f"Select {MAX_SELECTED} players at most.")
    form = list_form(request, list(Segment.objects.filter(environment=request.environment)))
    if form.problems:
        return _refuse(request, back, f"Correct the filters first. {form.problems[0]}")
    personal = request.environment.personal_attributes
    columns = read_columns(form.value("columns"))
    export = PlayerExport(
        environment=request.environment,
        user=request.user,
        rule=None if ids else document_of(form.filters),
        ids=[str(each) for each in ids] or None,
        columns=[column.key for column in columns] or [*DEFAULT, COUNTRY.key],
        filters=f"{len(ids)} selected" if ids else form.words(personal),
        masked=not sees_personal(request),
        personal=personal,
    )
    if problem := export_start(export):
        return _refuse(request, back, problem)
    return redirect_to(request, environment_url(request, "player_exports"))


def _refuse(request: HtmxHttpRequest, url: str, text: str) -> HttpResponse:
    return with_toast(request, redirect_to(request, url), text, tone="warn")


@staff_view(Role.VIEWER)
def player_exports(request: HtmxHttpRequest) -> HttpResponse:
    """One's own exports of this environment. The page asks again while one is running."""
    exports = list(exports_of(request.user, request.environment).defer("ids"))
    for export in exports:
        keep_going(export)
    context: dict[str, Any] = {
        "rows": [
            {
                "export": export,
                "columns": ", ".join(_labels(export)),
                "until": export.created_at + KEPT,
                "refusal": refusal(request, export),
            }
            for export in exports
        ],
        "running": any(not export.done for export in exports),
    }
    return render_partial(request, "players/exports.html", context, partial="exports")


def _labels(export: PlayerExport) -> list[str]:
    keys = [key for key in export.columns if key in BUILT_IN or key.startswith(".")]
    return [BUILT_IN[key].label if key in BUILT_IN else key[1:] for key in keys]


def refusal(request: HtmxHttpRequest, export: PlayerExport) -> str:
    """Why the account may not download it now, as a sentence, or "". The role and what counts as
    personal may have changed since it was written."""
    if sees_personal(request):
        return ""
    if not export.masked:
        return "It contains personal data, which your role no longer shows. Export again."
    if set(request.environment.personal_attributes) - set(export.personal):
        return "More attributes count as personal data now. Export again."
    return ""


@staff_view(Role.VIEWER)
def player_export_download(request: HtmxHttpRequest, export_id: int) -> HttpResponseBase:
    """The CSV of one's own export."""
    exports = exports_of(request.user, request.environment).filter(done=True)
    export = get_object_or_404(exports, pk=export_id)
    if problem := refusal(request, export):
        url = environment_url(request, "player_exports")
        return with_toast(request, redirect_to(request, url), problem, tone="warn")
    response = StreamingHttpResponse(export_text(export), content_type="text/csv; charset=utf-8")
    day = export.created_at.date().isoformat()
    name = f"players-{request.project.slug}-{request.environment.slug}-{day}.csv"
    response["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}"
    return response

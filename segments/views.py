"""The segment pages: the list, one segment, its size and members."""

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from ilara_admin.api.environment_cache import at_version
from ilara_admin.core.changes import reason_of
from ilara_admin.core.open_requests import open_about
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, get_or_404, may, staff_view
from ilara_admin.web.confirm import Affected, Confirm, changed, render_confirm
from ilara_admin.web.filters import render_list, searched
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, render_partial, wants_partial
from ilara_admin.web.pagination import KeysetPage
from ilara_admin.web.sorting import headers, ordering
from players.aliases import player_id_named
from players.labels import STAGES
from players.record import stage_of, thresholds_of
from segments import services
from segments.cache import segments_part
from segments.environments import segment_environments, segment_missing
from segments.forms import COLUMNS, SegmentFilterForm
from segments.language.sentences import lacking
from segments.models import Segment
from segments.recounts import OLD_IN_THE_LIST, OLD_ON_ITS_PAGE, size_want, sizes_look
from segments.size_history import PARAMETER, sizes_of
from segments.sizes import LOWEST_ID, estimate, members, rule_query
from segments.subject import stored_subject
from segments.usage import SegmentUser, users_of, users_of_segments

LATE = timedelta(minutes=1)  # a running worker has usually finished by then


@staff_view(Role.VIEWER)
def segment_list(request: HtmxHttpRequest) -> HttpResponse:
    segments = Segment.objects.filter(environment=request.environment)
    exists = segments.exists()
    form = SegmentFilterForm(request)
    if text := form.value("q"):
        segments = segments.matching(text)
    sort = form.value("sort") or "key"
    page = KeysetPage.of(segments.sortable().order_by(*ordering(COLUMNS, sort)), request)
    sizes_look(page.rows, OLD_IN_THE_LIST)
    used = users_of_segments(request.environment, [segment.key for segment in page.rows])
    rows = [
        {
            "segment": segment,
            "words": segment.words,
            "used_by": used[segment.key],
        }
        for segment in page.rows
    ]
    context = {
        "page": page,
        "headers": headers(request, COLUMNS, sort),
        "rows": rows,
        "form": form,
        "exists": exists,
        "may_edit": may(request, Role.LIVE_OPS),
    }
    return render_list(request, "segments/list.html", context)


@staff_view(Role.VIEWER)
def segment_detail(request: HtmxHttpRequest, key: str) -> HttpResponse:
    try:
        segment = get_or_404(request, Segment, key=key)
    except Http404:
        return segment_missing(request, key)
    now = timezone.now()
    if wants_partial(request) and PARAMETER in request.GET:
        context = {"segment": segment, "sizes": sizes_of(request, segment, now)}
        return render_partial(request, "segments/detail.html", context, partial="sizes")
    trying = "player" in request.GET and request.htmx
    if sizes_look([segment], OLD_ON_ITS_PAGE):
        segment.refresh_from_db(fields=["size_wanted_at"])
    query = rule_query(request.environment, segment.spec, now, segment)
    context = {
        "segment": segment,
        "used_by": users_of(request.environment, key),
        "environments": segment_environments(request, key),
        "preview": None if trying else estimate(query, counted=segment.sized_among or 0),
        "lacking": lacking(segment.spec) if segment.spec else [],
        "sizes": None if trying else sizes_of(request, segment, now),
        "tried": _try(request, segment),
        "late": _is_late(segment),
        "requests": [] if trying else open_about(request.environment, "segment", key),
        "may_edit": may(request, Role.LIVE_OPS),
    }
    return render_partial(request, "segments/detail.html", context, partial="try")


def _try(request: HtmxHttpRequest, segment: Segment) -> dict[str, Any] | None:
    external_id = searched(request, "player")
    if not external_id:
        return None
    environment = request.environment
    snapshot = at_version(environment)
    compiled = segments_part.of(snapshot)[segment.key]
    player_id = player_id_named(environment, external_id)
    found = stored_subject(snapshot, player_id, compiled.event_counts)
    if found is None:
        return {"external_id": external_id}
    player, subject, _ = found
    return {"external_id": external_id, "player": player, "is_member": compiled.matches(subject)}


# --- Size and members ---------------------------------------------------------------------------


def _is_late(segment: Segment) -> bool:
    """Whether a requested count is overdue."""
    return segment.size_wanted_at is not None and timezone.now() - segment.size_wanted_at > LATE


@staff_view(Role.VIEWER)
def segment_size(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """The size partial, for a page that polls it; 204 while nothing has changed."""
    segment = get_or_404(request, Segment, key=key)
    if not wants_partial(request):
        return redirect_to(request, environment_url(request, "segment_detail", key))
    late = _is_late(segment)
    if segment.size_wanted_at and late == ("late" in request.GET):
        return HttpResponse(status=204)
    context = {"segment": segment, "late": late, "may_edit": may(request, Role.LIVE_OPS)}
    return render(request, "segments/_size.html", context)


@staff_view(Role.LIVE_OPS, "POST")
def segment_count(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """Request a count now."""
    segment = get_or_404(request, Segment, key=key)
    size_want(segment)
    if not wants_partial(request):
        return redirect_to(request, environment_url(request, "segment_detail", key))
    segment.refresh_from_db()
    context = {"segment": segment, "late": False, "may_edit": True}
    return render(request, "segments/_size.html", context)


@staff_view(Role.VIEWER)
def segment_members(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """The members, ordered by id."""
    segment = get_or_404(request, Segment, key=key)
    environment, now = request.environment, timezone.now()
    try:
        after = uuid.UUID(request.GET.get("after", ""))
    except ValueError:
        after = LOWEST_ID
    found = members(rule_query(environment, segment.spec, now, segment), after)
    thresholds = thresholds_of(environment)
    context = {
        "segment": segment,
        "rows": [(each, STAGES[stage_of(each, thresholds, now)]) for each in found.players],
        "after": found.after,
        "is_first": after == LOWEST_ID,
    }
    return render_partial(request, "segments/members.html", context, partial="results")


# --- Delete -------------------------------------------------------------------------------------


@staff_view(Role.LIVE_OPS, "GET", "POST")
def segment_delete(request: HtmxHttpRequest, key: str) -> HttpResponse:
    segment = get_or_404(request, Segment, key=key)
    used_by = users_of(request.environment, key)
    listed = segment.included + segment.excluded
    url = environment_url(request, "segment_detail", key)
    confirm = Confirm(
        title=f"Delete {key}",
        button="" if used_by else f"Delete {key}",
        cancel_url=url,
        text=(
            "It cannot be deleted while it is in use. Change these first."
            if used_by
            else "Nothing in this environment uses it. API requests for it will return 404."
        ),
        affected=_dependents(request, used_by),
        affected_title="Used by",
        dependents=[("ids on its lists", listed)] if listed else (),
        tone="danger",
        type_to_confirm=key,
    )
    if request.method == "POST":
        if not confirm.is_typed(request):
            return render_confirm(request, _refused(confirm, f"Type {key} to confirm."))
        try:
            entry = services.segment_delete(
                segment, actor=actor_of(request), reason=reason_of(request)
            )
        except ValidationError as error:
            return render_confirm(request, _refused(confirm, error.messages[0]))
        return changed(
            request, environment_url(request, "segment_list"), entry, f"Deleted the segment {key}."
        )
    return render_confirm(request, confirm)


def _dependents(request: HtmxHttpRequest, used_by: list[SegmentUser]) -> list[Affected]:
    texts = {
        "flag": "is a flag that targets it",
        "segment": "is a segment that refers to it",
        "experiment": "is an experiment with it in its population",
    }
    return [
        Affected(key, environment_url(request, f"{kind}_detail", key), texts[kind])
        for kind, key in used_by
    ]


def _refused(confirm: Confirm, error: str) -> Confirm:
    return replace(confirm, error=error)

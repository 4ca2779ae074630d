"""The segments of one player, with the reason why the player is in each, or not."""

import uuid
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.http import HttpResponse

from ilara_admin.models import Role
from ilara_admin.pages.player_flags import Evaluated, evaluated
from ilara_admin.web.access import actor_of, environment_url, get_or_404, sees_personal, staff_view
from ilara_admin.web.htmx import HtmxHttpRequest, render_partial
from players.models import Player
from players.services import personal_data_seen
from segments.cache import CompiledSegment, matchers_of, segments_part
from segments.forms import PlayerSegmentsForm
from segments.language.trace import why

SHOWN_SEGMENTS = 25


@staff_view(Role.VIEWER)
def player_segments(request: HtmxHttpRequest, player_id: uuid.UUID) -> HttpResponse:
    """The page, or for htmx only the list, which replaces that of the player's page."""
    player = get_or_404(request, Player, id=player_id)
    found = evaluated(request.environment, player)
    if sees_personal(request):
        personal_data_seen(player, actor=actor_of(request))
    else:
        found = found.masked(request.environment)
    context = {"player": player, **segments_panel(request, player, found)}
    return render_partial(request, "players/segments.html", context, partial="segments")


class ShownSegment(NamedTuple):
    """`reason` is a sentence, see segments/language/trace.py."""

    key: str
    name: str
    inside: bool
    reason: str


class SegmentsPage(NamedTuple):
    """One page of the `matching` segments. `show` is "in" or "out", or "" for a search among all.
    `next` and `previous` are URLs, or "" at the ends."""

    rows: list[ShownSegment]
    show: str
    inside: int
    outside: int
    start: int
    matching: int
    previous: str
    next: str

    @property
    def first(self) -> int:
        return self.start + 1

    @property
    def last(self) -> int:
        return self.start + len(self.rows)

    @property
    def are_many(self) -> bool:
        return self.inside + self.outside > SHOWN_SEGMENTS


def segments_panel(request: HtmxHttpRequest, player: Player, found: Evaluated) -> dict[str, Any]:
    """One page of the segments. Only what is shown is explained: that takes most of the time."""
    form, subject = PlayerSegmentsForm(request), found.subject
    segments = segments_part.of(found.known)
    inside = {key: each.matches(subject) for key, each in segments.items()}
    wanted, show = form.value("segment").casefold(), form.value("show") or "in"
    if wanted:
        show, matching = "", [key for key in inside if wanted in key.casefold()]
        matching.sort(key=lambda key: not inside[key])
    else:
        matching = [key for key in inside if inside[key] is (show == "in")]
    start = form.cleaned_data.get("start") or 0
    shown = matching[start : start + SHOWN_SEGMENTS]
    url, matchers = environment_url(request, "player_segments", player.pk), matchers_of(segments)

    def at(place: int) -> str:
        query = {"segment": form.value("segment"), "show": show, "start": place}
        return f"{url}?{urlencode(query)}"

    def explained(segment: CompiledSegment) -> ShownSegment:
        reason = why(segment, subject, matchers)
        return ShownSegment(segment.key, segment.name, inside[segment.key], reason)

    page = SegmentsPage(
        rows=[explained(segments[key]) for key in shown],
        show=show,
        inside=sum(inside.values()),
        outside=len(inside) - sum(inside.values()),
        start=start,
        matching=len(matching),
        previous=at(max(start - SHOWN_SEGMENTS, 0)) if start else "",
        next=at(start + SHOWN_SEGMENTS) if start + SHOWN_SEGMENTS < len(matching) else "",
    )
    return {"segments": page, "segments_form": form, "segments_url": url}

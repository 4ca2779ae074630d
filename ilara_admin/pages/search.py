"""Find by anything: players, flags, segments and events, for the find page and the palette."""

import uuid
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlencode

from django.db.models import BooleanField, ExpressionWrapper, Model, Q, QuerySet
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from events.models import EventName
from flags.models import Flag
from ilara_admin.models import Role
from ilara_admin.web.access import environment_url, sees_personal, staff_view
from ilara_admin.web.filters import searched
from ilara_admin.web.htmx import HtmxHttpRequest
from players.aliases import aliases_starting_with, player_id_of
from players.models import Player
from players.personal import mask_text
from players.views import found_by
from segments.models import Segment

MAX_QUERY = 255  # the longest external id
MAX_FOUND = 10


class Hit(NamedTuple):
    """`detail` is plain text: what matched, or a name. `exact` if the whole text matched. `seen_at`
    is when a player was last seen."""

    label: str
    url: str
    detail: str = ""
    exact: bool = False
    seen_at: datetime | None = None


class HitGroup(NamedTuple):
    """Hits of one kind. `more_url` is the list of all, "" if these are all."""

    title: str
    hits: list[Hit]
    more_url: str = ""


@staff_view(Role.VIEWER)
def find(request: HtmxHttpRequest) -> HttpResponse:
    """Redirect to a single exact match, else list the results."""
    q = searched(request, "q")
    groups = search_groups(request, q, MAX_FOUND)
    exact = {hit.url for group in groups for hit in group.hits if hit.exact}
    if len(exact) == 1:
        players = Player.objects.of(request.environment)
        if known := players.filter(pk=player_id_of(request.environment, q)).first():
            return found_by(request, known, q)
        return HttpResponseRedirect(exact.pop())
    return render(request, "ilara_admin/find.html", {"q": q, "groups": groups})


def search_groups(request: HtmxHttpRequest, q: str, most: int) -> list[HitGroup]:
    """What matches the text, at most this many hits of each kind, exact ones first; no empty
    groups. Texts that nothing can have match nothing. Personal data is masked."""
    if not q or len(q) > MAX_QUERY or "\0" in q:
        return []
    groups = [*_players(request, q, most), *_named(request, q, most)]
    return [group for group in groups if group.hits]


def _players(request: HtmxHttpRequest, q: str, most: int) -> list[HitGroup]:
    environment = request.environment
    players = Player.objects.of(environment)
    ids = [player_id_of(environment, q), *_uuid(q)]
    known = list(players.filter(pk__in=ids).for_list())
    starting = list(players.starting_with(q).for_list()[:most])
    found = [_player(request, each, exact=True) for each in known]
    found += [_player(request, each) for each in starting if each not in known]
    more = environment_url(request, "player_list") + "?" + urlencode({"q": q})
    linked = [
        Hit(
            alias.player.external_id,
            environment_url(request, "player_detail", alias.player_id),
            alias.external_id if sees_personal(request) else mask_text(alias.external_id),
            seen_at=alias.player.last_seen_at,
        )
        for alias in aliases_starting_with(environment, q)[:most]
    ]
    return [
        HitGroup("Players", found, more if len(starting) == most else ""),
        HitGroup("Linked ids", linked),
    ]


def _player(request: HtmxHttpRequest, player: Player, exact: bool = False) -> Hit:
    url = environment_url(request, "player_detail", player.pk)
    return Hit(player.external_id, url, exact=exact, seen_at=player.last_seen_at)


def _named(request: HtmxHttpRequest, q: str, most: int) -> list[HitGroup]:
    """Flags and segments by key or name, and events by name."""

    def first[M: Model](found: QuerySet[M], key: str, *more: str) -> QuerySet[M]:
        wanted = Q(**{f"{key}__icontains": q})
        for name in more:
            wanted |= Q(**{f"{name}__icontains": q})
        found = found.filter(wanted, environment=request.environment)
        return found.order_by(ExpressionWrapper(~Q(**{key: q}), BooleanField()), key)[:most]

    flags = [
        Hit(
            flag.key,
            environment_url(request, "flag_detail", flag.key),
            _detail(
                flag.name if flag.name != flag.key else "", "archived" * bool(flag.archived_at)
            ),
            flag.key == q,
        )
        for flag in first(Flag.objects.all(), "key", "name")
    ]
    segments = [
        Hit(
            segment.key,
            environment_url(request, "segment_detail", segment.key),
            segment.name if segment.name != segment.key else "",
            segment.key == q,
        )
        for segment in first(Segment.objects.all(), "key", "name")
    ]
    events = [
        Hit(
            event.name,
            environment_url(request, "event_name", event.pk),
            event.description,
            event.name == q,
        )
        for event in first(EventName.objects.all(), "name")
    ]
    return [
        HitGroup("Flags", flags),
        HitGroup("Segments", segments),
        HitGroup("Events", events),
    ]


def _detail(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _uuid(text: str) -> list[uuid.UUID]:
    try:
        return [uuid.UUID(text)]
    except ValueError:
        return []

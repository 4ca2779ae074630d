"""Find by anything: players and what is configured; for the find page and the palette."""

from collections.abc import Callable
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from django.db.models import BooleanField, ExpressionWrapper, Model, Q, QuerySet
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from events.models import EventName
from flags.models import Experiment, ExperimentKind, Flag, Metric
from flags.results.measured_by import state_of
from ilara_admin.core.text import isolated
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, may, sees_personal, staff_view, url_in
from ilara_admin.web.filters import searched
from ilara_admin.web.htmx import HtmxHttpRequest, with_toast
from players.lookup import (
    EXTERNAL_ID,
    LABELS,
    LINKED_ID,
    MAX_TEXT,
    PLAYER_ID,
    SESSION,
    TRANSACTION,
    FoundPlayer,
    is_personal,
    label_of,
    mask_matched,
    players_found,
    ways_for,
)
from players.purchases import purchase_url
from players.services import personal_data_listed
from players.values import fill_shares, searchable_fields
from segments.models import Segment

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
    """Redirect to a single exact match, else list the results. Says what was tried."""
    q = searched(request, "q")
    found, named = _found(request, q, MAX_FOUND), _named(request, q, MAX_FOUND)
    groups = _grouped(request, q, MAX_FOUND, found)
    # A player that is found in several ways counts once; the longest URL leads to a purchase.
    hits = [hit for group in (*groups, *named) for hit in group.hits if hit.exact]
    exact = {urlsplit(hit.url).path: hit for hit in sorted(hits, key=lambda hit: len(hit.url))}
    if len(exact) == 1:
        ways = [each.way for each in found if each.exact]
        return _opened(request, exact.popitem()[1].url, q, ways[-1] if ways else "")
    if sees_personal(request):
        groups = _revealed(request, q, found)
    ways = ways_for(q, searchable_fields(request.environment))
    context = {
        "q": q,
        "groups": [group for group in (*groups, *named) if group.hits],
        "tried": [label_of(way) for way in ways],
        "attributes": request.environment.searchable_attributes,
        "incomplete": [
            (label_of(field), f"{share:.0%}")
            for field, share in fill_shares(request.environment).items()
        ],
        "sees_personal": sees_personal(request),
        "is_admin": may(request, Role.ADMIN),
    }
    return render(request, "ilara_admin/find.html", context)


def search_groups(request: HtmxHttpRequest, q: str, most: int) -> list[HitGroup]:
    """What matches the text, at most this many hits of each kind, exact ones first; no empty
    groups. Texts that nothing can have match nothing. Personal data is masked for every role, so
    that nothing is revealed while typing."""
    groups = _grouped(request, q, most, _found(request, q, most)) + _named(request, q, most)
    return [group for group in groups if group.hits]


# --- Players --------------------------------------------------------------------------------------


def _found(request: HtmxHttpRequest, q: str, most: int) -> list[FoundPlayer]:
    """Staff who may not see a personal value find it as a whole only: by how it begins, they could
    guess it character by character."""
    environment = request.environment
    personal = [
        way
        for way in ways_for(q, searchable_fields(environment))
        if is_personal(way, environment.personal_attributes)
    ]
    whole = () if sees_personal(request) else personal
    return players_found(environment, q, most, whole=whole)


def _grouped(
    request: HtmxHttpRequest, q: str, most: int, found: list[FoundPlayer], *, masked: bool = True
) -> list[HitGroup]:
    """The players by the way that they were found."""
    groups = []
    for way, players in groupby(found, key=attrgetter("way")):
        hits = [_hit(request, each, masked=masked) for each in players]
        more = ""
        if way == EXTERNAL_ID and len(hits) == most:
            more = environment_url(request, "player_list") + "?" + urlencode({"q": q})
        groups.append(HitGroup(label_of(way), hits, more))
    return groups


def _revealed(request: HtmxHttpRequest, q: str, found: list[FoundPlayer]) -> list[HitGroup]:
    """The groups with personal data in full. Each player in them gets an entry in the audit log."""
    environment = request.environment
    shown = {
        each.player_id: each.external_id
        for each in found
        if is_personal(each.way, environment.personal_attributes)
    }
    personal_data_listed(environment, shown, actor=actor_of(request))
    return _grouped(request, q, MAX_FOUND, found, masked=False)


def _hit(request: HtmxHttpRequest, found: FoundPlayer, *, masked: bool) -> Hit:
    environment = request.environment
    url = url_in(environment, "player_detail", found.player_id)
    if found.digest is not None:
        url = purchase_url(environment, found.player_id, found.digest)
    detail = "" if found.way == EXTERNAL_ID else found.matched
    if masked and is_personal(found.way, environment.personal_attributes):
        detail = mask_matched(found.way, found.matched)
    return Hit(found.external_id, url, detail, found.exact, found.last_seen_at)


def _opened(request: HtmxHttpRequest, url: str, q: str, way: str) -> HttpResponse:
    """A redirect, with a toast if the page does not name the text that was found."""
    response = HttpResponseRedirect(url)
    if way in ("", EXTERNAL_ID, PLAYER_ID):
        return response
    what = {
        LINKED_ID: "is linked to this player",
        TRANSACTION: "is a purchase of this player",
        SESSION: "is a session of this player",
    }.get(way, f"is the {_inside(label_of(way))} of this player")
    return with_toast(request, response, f"“{isolated(q)}” {what}.", tone="info")


def _inside(label: str) -> str:
    """A label within a sentence. Attributes keep their names."""
    return label[0].lower() + label[1:] if label in LABELS.values() else isolated(label)


# --- Flags, segments, experiments, metrics and events ---------------------------------------------


def _named(request: HtmxHttpRequest, q: str, most: int) -> list[HitGroup]:
    """Flags, segments, experiments and metrics by key or name, and events by name. A key of a flag
    is often that of its experiment, too, and means the flag."""
    if not q or len(q) > MAX_TEXT or "\0" in q:
        return []

    def first[M: Model](found: QuerySet[M], key: str, *more: str) -> QuerySet[M]:
        wanted = Q(**{f"{key}__icontains": q})
        for name in more:
            wanted |= Q(**{f"{name}__icontains": q})
        found = found.filter(wanted, environment=request.environment)
        return found.order_by(ExpressionWrapper(~Q(**{key: q}), BooleanField()), key)[:most]

    def keyed(
        found: QuerySet[Any], page: str, note: Callable[[Any], str] = lambda each: ""
    ) -> list[Hit]:
        return [
            Hit(
                each.key,
                environment_url(request, page, each.key),
                _detail(each.name if each.name != each.key else "", note(each)),
                each.key == q,
            )
            for each in first(found, "key", "name")
        ]

    def archived(each: Flag | Metric) -> str:
        return "archived" if each.archived_at else ""

    flags = keyed(Flag.objects.all(), "flag_detail", archived)
    experiments = keyed(
        Experiment.objects.filter(kind=ExperimentKind.EXPERIMENT).defer("evidence"),
        "experiment_detail",
        lambda each: state_of(each)["state"].lower(),
    )
    if any(flag.exact for flag in flags):
        experiments = [hit._replace(exact=False) for hit in experiments]
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
        HitGroup("Segments", keyed(Segment.objects.all(), "segment_detail")),
        HitGroup("Experiments", experiments),
        HitGroup("Metrics", keyed(Metric.objects.all(), "metric_detail", archived)),
        HitGroup("Events", events),
    ]


def _detail(*parts: str) -> str:
    return ", ".join(part for part in parts if part)

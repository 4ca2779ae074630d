"""The command palette: objects, pages and actions that match what the user types in the search box.

Without a script the box is a form that leads to the page of results, see search.py.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import unquote, urlencode, urlsplit

from django.http import HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import Resolver404, resolve

from events.models import EventName
from flags.models import Experiment, Flag, Metric
from flags.results.measured_by import state_of
from ilara_admin.models import Environment, Role
from ilara_admin.pages import commands
from ilara_admin.pages.commands import PaletteOption
from ilara_admin.pages.search import search_groups
from ilara_admin.web.access import environment_url, may, staff_view
from ilara_admin.web.context_processors import Shell
from ilara_admin.web.filters import searched
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.matching import rank
from ilara_admin.web.recent import PAGE_OF, ObjectId, recent_objects
from players.lookup import EXTERNAL_ID, LABELS, MAX_TEXT
from players.models import Player
from segments.models import Segment

SHOWN = 5  # of each group
ACTIONS_SHOWN = 8  # as many as begin with "New"
SWITCHED = 30  # flags among which "turn off" chooses
ICONS = {
    "player": "user", "flag": "flag", "segment": "funnel", "experiment": "beaker",
    "metric": "chart-bar", "event": "bolt",
}  # fmt: skip
# Other groups hold players.
KINDS = {
    "Flags": "flag", "Segments": "segment", "Experiments": "experiment", "Metrics": "metric",
    "Events": "event",
}  # fmt: skip
TITLES = {LABELS[EXTERNAL_ID]: "Players"}
# The parameter with the id of an object in the URLs of a section, and the object's kind.
SECTIONS = {
    "players": ("player", "player_id"),
    "flags": ("flag", "key"),
    "segments": ("segment", "key"),
    "experiments": ("experiment", "key"),
    "metrics": ("metric", "key"),
}


class PaletteObject(NamedTuple):
    """An object of the environment. `state` is that of a flag: on, off or archived; or that of an
    experiment."""

    kind: str
    id: str
    name: str
    note: str = ""
    state: str = ""


class PaletteGroup(NamedTuple):
    title: str
    options: Sequence[PaletteOption]


@staff_view(Role.VIEWER)
def palette(request: HtmxHttpRequest) -> HttpResponse:
    """The options for what is typed in the box; without a text, what the user may want next."""
    q = searched(request, "q")
    behind = _page_behind(request)
    shell = Shell(behind)
    current = _object_of(behind)
    recent = recent_objects(request)
    known = _read(request.environment, [*recent, *([current] if current else [])])
    opened = [known[each] for each in recent if each in known]
    here = known.get(current) if current else None
    groups = _results(request, shell, q, opened, here) if q else _next(request, shell, opened, here)
    shown = [group for group in groups if group.options]
    return render(request, "ilara_admin/_palette.html", {"groups": shown, "q": q})


def _next(
    request: HtmxHttpRequest,
    shell: Shell,
    opened: Sequence[PaletteObject],
    here: PaletteObject | None,
) -> Iterator[PaletteGroup]:
    """Actions on the object of the page behind, what was opened last, the pages of the rail, and
    what is done most often."""
    if here:
        yield PaletteGroup("This page", _actions_on(request, [here]))
    before = [each for each in opened if each != here]
    yield PaletteGroup("Recent", _options(request, before[:SHOWN]))
    yield PaletteGroup("Pages", commands.navigation(shell))
    frequent = ("New flag", "New segment", "Issue a key", "Switch to", "Sign out")
    actions = [each for each in commands.actions(request, shell) if each.label.startswith(frequent)]
    yield PaletteGroup("Actions", [each for each in actions if not each.note])


def _results(
    request: HtmxHttpRequest,
    shell: Shell,
    q: str,
    opened: Sequence[PaletteObject],
    here: PaletteObject | None,
) -> Iterator[PaletteGroup]:
    """Exact names first, then recent objects, pages, actions and other objects. Actions that only
    share the object's name with the query come last: Enter should open an object, not change it."""
    exact, found = _found_options(request, q)
    yield PaletteGroup("Exact match", exact)
    shown = {each.url for each in exact}
    matching = [each for each in opened if rank(q, each.name, each.note) is not None]
    recent = [each for each in _options(request, matching) if each.url not in shown]
    yield PaletteGroup("Recent", recent)
    shown |= {each.url for each in recent}
    pages = [*commands.navigation(shell), *commands.pages(request)]
    yield PaletteGroup("Pages", commands.matching(q, pages)[:SHOWN])

    objects = dict.fromkeys([*([here] if here else []), *opened, *_acted_on(request, q)])
    on_objects = commands.matching(q, _actions_on(request, objects))
    named = [each for each in on_objects if commands.names_the_action(q, each)]
    general = commands.matching(q, commands.actions(request, shell))
    main = [*general[:ACTIONS_SHOWN], *named[:SHOWN]]
    yield PaletteGroup("Actions", main)

    for title, options in found.items():
        yield PaletteGroup(title, [each for each in options if each.url not in shown][:SHOWN])
    more = [each for each in on_objects if each not in named][:SHOWN]
    yield PaletteGroup("More actions" if main else "Actions", more)
    url = _find_url(request, q)
    yield PaletteGroup("Search", [PaletteOption("magnifying-glass", "All results", url=url)])


def _found_options(
    request: HtmxHttpRequest, q: str
) -> tuple[list[PaletteOption], dict[str, list[PaletteOption]]]:
    """What matches as a whole, and what else the search finds, by the title of its group."""
    exact: dict[str, PaletteOption] = {}
    others: dict[str, list[PaletteOption]] = {}
    for title, hits, _ in search_groups(request, q, SHOWN):
        icon = ICONS[KINDS.get(title, "player")]
        # A player that is found in several ways counts once; the longest URL leads to a purchase.
        for hit in sorted(hits, key=lambda hit: len(hit.url)):
            option = PaletteOption(icon, name=hit.label, note=hit.detail, url=hit.url)
            if not hit.exact:
                others.setdefault(TITLES.get(title, title), []).append(option)
            elif hit.label == q:
                exact[urlsplit(hit.url).path] = option
            else:
                note = f"{title} {hit.detail}"
                exact[urlsplit(hit.url).path] = replace(option, note=note.strip())
    found = list(exact.values())
    if len(found) == 1 and found[0].name != q:
        # The page of results opens it and says how it was found.
        found = [replace(found[0], url=_find_url(request, q))]
    return found, others


def _find_url(request: HtmxHttpRequest, q: str) -> str:
    return environment_url(request, "find") + "?" + urlencode({"q": q})


def _acted_on(request: HtmxHttpRequest, q: str) -> list[PaletteObject]:
    """Objects that an action in words may be about, by the last word: "turn off shop", "note
    player_12"."""
    words = q.split()
    if not may(request, Role.SUPPORT) or not words or len(q) > MAX_TEXT or "\0" in q:
        return []
    environment = request.environment
    flags = Flag.objects.filter(environment=environment, archived_at=None)
    if any(rank(q, verb) is not None for verb in ("Turn off", "Turn on")):
        return [_flag(each) for each in flags[:SWITCHED]]
    found = [*map(_flag, flags.filter(key__icontains=words[-1])[:SHOWN])]
    if len(words) > 1:
        segments = Segment.objects.filter(environment=environment, key__icontains=words[-1])
        players = Player.objects.of(environment).starting_with(words[-1]).for_list()
        found += [*map(_segment, segments[:SHOWN]), *map(_player, players[:SHOWN])]
    return found


# --- Objects ------------------------------------------------------------------------------------


def _player(player: Any) -> PaletteObject:
    return PaletteObject("player", str(player.pk), player.external_id)


def _flag(flag: Flag) -> PaletteObject:
    state = "archived" if flag.archived_at else "on" if flag.enabled else "off"
    return PaletteObject("flag", flag.key, flag.key, _other(flag.name, flag.key), state)


def _segment(segment: Segment) -> PaletteObject:
    return PaletteObject("segment", segment.key, segment.key, _other(segment.name, segment.key))


def _metric(metric: Metric) -> PaletteObject:
    return PaletteObject("metric", metric.key, metric.key, _other(metric.name, metric.key))


def _experiment(experiment: Experiment) -> PaletteObject:
    key, state = experiment.key, state_of(experiment)["state"].lower()
    return PaletteObject("experiment", key, key, _other(experiment.name, key), state)


def _event(event: EventName) -> PaletteObject:
    return PaletteObject("event", str(event.pk), event.name)


def _other(name: str, key: str) -> str:
    return "" if name == key else name


def _read(environment: Environment, ids: Iterable[ObjectId]) -> dict[ObjectId, PaletteObject]:
    """The objects that exist, with a query for each kind among the ids."""
    wanted: dict[str, set[str]] = {}
    for each in ids:
        wanted.setdefault(each.kind, set()).add(each.id)
    found: list[PaletteObject] = []
    if players := wanted.get("player"):
        found += map(_player, Player.objects.of(environment).filter(pk__in=players).for_list())
    if flags := wanted.get("flag"):
        found += map(_flag, Flag.objects.filter(environment=environment, key__in=flags))
    if segments := wanted.get("segment"):
        found += map(_segment, Segment.objects.filter(environment=environment, key__in=segments))
    if experiments := wanted.get("experiment"):
        rows = Experiment.objects.filter(environment=environment, key__in=experiments)
        found += map(_experiment, rows.defer("evidence"))
    if metrics := wanted.get("metric"):
        found += map(_metric, Metric.objects.filter(environment=environment, key__in=metrics))
    if events := wanted.get("event"):
        found += map(_event, EventName.objects.filter(environment=environment, pk__in=events))
    return {ObjectId(each.kind, each.id): each for each in found}


def _options(request: HtmxHttpRequest, objects: Iterable[PaletteObject]) -> list[PaletteOption]:
    return [
        PaletteOption(
            icon=ICONS[each.kind],
            name=each.name,
            note=" · ".join(filter(None, (each.note, each.state))),
            url=environment_url(request, PAGE_OF[each.kind], each.id),
        )
        for each in objects
    ]


def _actions_on(request: HtmxHttpRequest, objects: Iterable[PaletteObject]) -> list[PaletteOption]:
    found: list[PaletteOption] = []
    for each in objects:
        found += commands.object_actions(request, each.kind, each.id, each.name, each.state)
    return found


# --- The page behind the palette ----------------------------------------------------------------


def _page_behind(request: HtmxHttpRequest) -> HtmxHttpRequest:
    """The request as that of the page on which the palette is open."""
    behind = copy(request)
    url = urlsplit(request.htmx.current_url_abs_path or environment_url(request, "overview"))
    behind.path, behind.GET = unquote(url.path), QueryDict(url.query)
    return behind


def _object_of(behind: HtmxHttpRequest) -> ObjectId | None:
    """The object that a page is about."""
    try:
        match = resolve(behind.path)
    except Resolver404:
        return None
    scope = behind.environment.project.slug, behind.environment.slug
    if (match.kwargs.get("project"), match.kwargs.get("environment")) != scope:
        return None
    kind, parameter = SECTIONS.get(behind.path.split("/")[3], ("", ""))
    return ObjectId(kind, str(match.kwargs[parameter])) if parameter in match.kwargs else None

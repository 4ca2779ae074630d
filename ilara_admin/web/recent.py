"""The objects that the user opened last, by environment.

The session keeps them: it is on the server, belongs to one person and ends when they sign out. Web
storage would leave the ids of players on a shared machine. Only kinds and ids are kept, so that
names are current and those of erased players are gone.
"""

from typing import NamedTuple

from ilara_admin.web.htmx import HtmxHttpRequest

SESSION_KEY = "recent"
KEPT = 8  # objects of one environment
# The kind of the object that a page is about, and the URL parameter with its id.
OBJECT_PAGES = {
    "player_detail": ("player", "player_id"),
    "flag_detail": ("flag", "key"),
    "segment_detail": ("segment", "key"),
    "experiment_detail": ("experiment", "key"),
    "metric_detail": ("metric", "key"),
    "event_name": ("event", "name_id"),
}
PAGE_OF = {kind: page for page, (kind, _) in OBJECT_PAGES.items()}


class ObjectId(NamedTuple):
    """`id` is that of the object's page: a player id, a key, or the number of an event name."""

    kind: str
    id: str


def remember(request: HtmxHttpRequest) -> None:
    """Note that the user opened this page of an object."""
    match = request.resolver_match
    assert match
    kind, parameter = OBJECT_PAGES[match.url_name or ""]
    opened = ObjectId(kind, str(match.kwargs[parameter]))
    recent = recent_objects(request)
    if recent[:1] != [opened]:
        kept = [opened, *(each for each in recent if each != opened)][:KEPT]
        stored = request.session.get(SESSION_KEY, {})
        request.session[SESSION_KEY] = {**stored, str(request.environment.pk): kept}


def recent_objects(request: HtmxHttpRequest) -> list[ObjectId]:
    """Those of the request's environment, last opened first. They may no longer exist."""
    stored = request.session.get(SESSION_KEY, {})
    return [ObjectId(*each) for each in stored.get(str(request.environment.pk), [])]

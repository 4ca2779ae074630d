"""What counts an event. Apps whose rules count events register a source here."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from ilara_admin.models import Environment


class EventUser(NamedTuple):
    """`kind` is a noun such as `segment`, `page` the name of the page of the object `key`."""

    kind: str
    page: str
    key: str


type EventUserSource = Callable[[Environment, Collection[str]], Mapping[str, list[str]]]

_sources: dict[str, tuple[str, EventUserSource]] = {}


def register(kind: str, page: str, source: EventUserSource) -> None:
    """`source` returns, for some events by name, the keys of the objects that count each."""
    _sources[kind] = page, source


def users_of_events(environment: Environment, names: Collection[str]) -> dict[str, list[EventUser]]:
    """The objects that count each of these events, by event name."""
    found: dict[str, list[EventUser]] = {name: [] for name in names}
    if names:
        for kind, (page, source) in _sources.items():
            for name, keys in source(environment, names).items():
                found[name].extend(EventUser(kind, page, key) for key in keys)
    return found

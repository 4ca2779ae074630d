"""Who uses a segment. Apps that build on segments register how to find out."""

from collections.abc import Callable, Mapping

from ilara_admin.models import Environment

type Source = Callable[[Environment], Mapping[str, list[str]]]

_sources: list[Source] = []


def register(source: Source) -> None:
    """`source` gives, by segment key, the names of what uses it."""
    _sources.append(source)


def users_of_segments(environment: Environment) -> dict[str, list[str]]:
    """By segment key, the names of everything that uses it."""
    found: dict[str, list[str]] = {}
    for source in _sources:
        for key, names in source(environment).items():
            found.setdefault(key, []).extend(names)
    return found

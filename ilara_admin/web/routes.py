"""The pages of the dashboard as its URL patterns declare them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.urls import URLPattern, URLResolver, get_resolver

SCOPE = "<slug:project>/<slug:environment>/"


class Page(NamedTuple):
    """A URL pattern of the dashboard. `name` is its path if it has no name."""

    name: str
    route: str
    pattern: URLPattern
    parameters: dict[str, str]  # name and converter: int, str, uuid, ...

    @property
    def view(self) -> Any:
        return self.pattern.callback

    @property
    def section(self) -> str:
        """The first part of the path below the environment."""
        return self.route.removeprefix(SCOPE).partition("/")[0]


def all_pages() -> list[Page]:
    """Every page, in the order of the URL patterns."""
    return list(_walk(get_resolver().url_patterns, "", {}))


def _walk(
    patterns: list[URLPattern | URLResolver], route: str, parameters: dict[str, str]
) -> Iterator[Page]:
    for pattern in patterns:
        below = route + str(pattern.pattern)
        found = dict(parameters)
        for name in pattern.pattern.regex.groupindex:
            converter = pattern.pattern.converters.get(name)
            kind = type(converter).__name__ if converter else "RegexConverter"
            found[name] = kind.removesuffix("Converter").lower()
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, below, found)
        else:
            yield Page(pattern.name or f"/{below}", below, pattern, found)

"""The table of routes, compared with Django's resolution."""

import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from django.urls import Resolver404, get_resolver
from django.urls.converters import StringConverter

from ilara_admin.api import route_table
from ilara_admin.api.dispatch import resolve

VALUES = ("0b9c1d3e-8f3b-5d3c-9c57-1f1f2f3f4f5f", "evaluate", "batch", "a b", "é", "%2F", "\n", "")


def paths() -> Iterator[str]:
    """Of each route: values for its parameters, and changes of its beginning, end and segments."""
    for match, _ in route_table.table().routes.values():
        route = "/" + match.route.removeprefix("^").partition("(")[0]
        for value in VALUES:
            path = re.sub("<[^>]+>", value, route)
            yield path
            yield from (path + end for end in ("/", "//", "\n", "\r\n", " ", "x", "/x", "?x"))
            yield from (path[1:], "/" + path, path[:-1], path.upper(), path.replace("/", "//", 2))
            yield from (path.replace("/", "/./"), path.rpartition("/")[0], path.replace("v1", "v2"))
    parts = ("v1", "ofrep", "flags", "evaluate", "players", "", "x")
    for count in range(1, 5):
        yield from ("/" + "/".join(each) for each in product(parts, repeat=count))


def test_paths__resolve_as_by_django() -> None:
    django = get_resolver(route_table.URLS)
    found = 0
    for path in dict.fromkeys(paths()):
        ours = resolve(path)
        try:
            expected = django.resolve(path)
        except Resolver404:
            assert ours is None, repr(path)
            continue
        assert ours is not None, repr(path)
        match, parameters = ours
        assert (match.func, match.route) == (expected.func, expected.route), repr(path)
        assert ((), parameters) == (expected.args, expected.kwargs), repr(path)
        found += 1
    assert found > 500


def test_routes__take_texts_only() -> None:
    """The table passes parameters as they are in the path."""

    def converters(patterns: Any) -> Iterator[Any]:
        for each in patterns:
            yield from each.pattern.converters.values()
            yield from converters(getattr(each, "url_patterns", []))

    kinds = list(converters(get_resolver(route_table.URLS).url_patterns))
    assert kinds
    for kind in kinds:
        assert type(kind).to_python is StringConverter.to_python


@pytest.mark.parametrize("path", ["", "v1/openapi.json", "/", "/v1", "/v1/"])
def test_other_paths__have_no_route(path: str) -> None:
    assert resolve(path) is None

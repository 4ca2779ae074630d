"""The routes under `/v1` and `/ofrep` in one regular expression. It finds what Django's resolver
would find on its walk through the URL patterns."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from django.urls import ResolverMatch, URLResolver, get_resolver

URLS = "ilara_admin.api_urls"
NAMED_GROUP = re.compile(r"\(\?P<\w+>")


class ApiRoute(NamedTuple):
    """`match` is Django's, without the parameters of a path; `groups` are the numbers of their
    groups in the expression of the table."""

    match: ResolverMatch
    groups: Mapping[str, int]


class Table(NamedTuple):
    """The expression tries the routes in the order of their declaration, as Django does. Each has
    an empty group at its end, by whose number it is found."""

    expression: re.Pattern[str]
    routes: Mapping[int, ApiRoute]


@cache
def table() -> Table:
    expressions, routes, last = [], {}, 0
    for expression, match in _walk(get_resolver(URLS).url_patterns):
        pattern = re.compile(expression)
        groups = {name: last + number for name, number in pattern.groupindex.items()}
        last += pattern.groups + 1
        routes[last] = ApiRoute(match, groups)
        expressions.append(NAMED_GROUP.sub("(", expression) + "()")
    return Table(re.compile(f"/(?:{'|'.join(expressions)})"), routes)


def _walk(
    patterns: Sequence[Any], expression: str = "", route: str = ""
) -> Iterator[tuple[str, ResolverMatch]]:
    """The expression and the match of each pattern, below a place in the tree."""
    for each in patterns:
        expressed = expression + each.pattern.regex.pattern.removeprefix("^")
        place = route + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from _walk(each.url_patterns, expressed, place)
        else:
            yield expressed, ResolverMatch(each.callback, (), {}, each.name, route=place)

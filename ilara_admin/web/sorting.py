"""Lists sorted by a column: the order of a queryset, and the links in the headers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from django import forms
from django.http import HttpRequest

from ilara_admin.web.filters import address
from ilara_admin.web.pagination import OF_ONE_PAGE


class Column(NamedTuple):
    """`order` are the names that a queryset is ordered by, the last one of them unique. The first
    click on its header sorts in descending order if it is `newest_first`."""

    label: str
    order: Sequence[str]
    newest_first: bool = False


class Header(NamedTuple):
    """`direction` is "ascending", "descending", or "" if the list is sorted by another column."""

    label: str
    url: str
    direction: str


def sort_field(columns: Iterable[str]) -> forms.ChoiceField:
    """The field of a FilterForm: `key`, or `-key` in descending order."""
    choices = [(name, name) for each in columns for name in (each, f"-{each}")]
    return forms.ChoiceField(label="", required=False, choices=choices, widget=forms.HiddenInput)


def ordering(columns: Mapping[str, Column], sort: str) -> list[str]:
    """The names to order by, for the value of the field."""
    order = columns[sort.removeprefix("-")].order
    return [f"-{name}" for name in order] if sort.startswith("-") else list(order)


def headers(request: HttpRequest, columns: Mapping[str, Column], sort: str) -> dict[str, Header]:
    """The headers by column. A second click reverses the order."""
    found = {}
    for name, column in columns.items():
        first, second = (f"-{name}", name) if column.newest_first else (name, f"-{name}")
        following = second if sort == first else first
        url = address(request, sort=following, **dict.fromkeys(OF_ONE_PAGE, ""))
        is_sorted = sort.removeprefix("-") == name
        direction = "descending" if sort.startswith("-") else "ascending"
        found[name] = Header(column.label, url, direction if is_sorted else "")
    return found

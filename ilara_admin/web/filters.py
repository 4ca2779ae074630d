"""Filters of a list: a form read from the address, and a chip for each filter that is on."""

from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest, HttpResponse, QueryDict
from django_htmx.http import push_url

from ilara_admin.web.htmx import render_partial, wants_partial


@dataclass(frozen=True, slots=True)
class Chip:
    """An active filter. `url` is the list without it."""

    label: str
    value: str
    url: str


class FilterForm(forms.Form):
    """Every field is optional, and a value that makes no sense filters nothing. A field with an
    empty label has no chip. `cursors` are parameters that no other list understands.
    """

    cursors: ClassVar[tuple[str, ...]] = ("after", "before")

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.GET)
        self.request = request
        self.is_valid()

    def value(self, name: str) -> str:
        """What was asked for, or "" when nothing (or nonsense) was."""
        found: str = self.cleaned_data.get(name) or ""
        return found

    @property
    def chips(self) -> list[Chip]:
        return [
            Chip(
                str(self[name].label),
                self._words(name),
                _address(self.request, without=(name, *self.cursors)),
            )
            for name, field in self.fields.items()
            if field.label != "" and self.value(name)
        ]

    def _words(self, name: str) -> str:
        field = self.fields[name]
        if isinstance(field, forms.ChoiceField):
            return str(dict(field.choices)[self.value(name)])  # type: ignore[arg-type]
        return self.value(name)


def _address(request: HttpRequest, *, without: tuple[str, ...] = ()) -> str:
    """The address of this list with the parameters that have a value."""
    query = QueryDict(mutable=True)
    for name, value in request.GET.items():
        if value and name not in without:
            query[name] = str(value)
    return f"{request.path}?{query.urlencode()}" if query else request.path


def render_list(
    request: HttpRequest, template: str, context: dict[str, Any], *, partial: str = "results"
) -> HttpResponse:
    """A page with a list, or only the list together with the address that shows the same."""
    response = render_partial(request, template, context, partial=partial)
    if wants_partial(request):
        push_url(response, _address(request))
    return response

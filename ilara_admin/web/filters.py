"""List filters: a form read from the query string, and a chip for each active filter."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest, HttpResponse, QueryDict
from django_htmx.http import push_url

from ilara_admin.core.text import trim
from ilara_admin.web.htmx import render_partial, wants_partial
from ilara_admin.web.moment_field import EXACT, MomentField
from ilara_admin.web.pagination import OF_ONE_PAGE
from ilara_admin.web.suggestions import SuggestedChoiceField, Suggestions


@dataclass(frozen=True, slots=True)
class Chip:
    """An active filter. `url` is the list without it."""

    label: str
    value: str
    url: str


class FilterForm(forms.Form):
    """Every field is optional; an invalid value is ignored. A field with an empty label has no
    chip. `suggested` are the choices of the SuggestedChoiceFields; another value finds nothing."""

    cursors: ClassVar[tuple[str, ...]] = OF_ONE_PAGE

    def __init__(
        self, request: HttpRequest, suggested: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        moments = [
            name + EXACT for name, each in self.base_fields.items() if isinstance(each, MomentField)
        ]
        super().__init__({name: searched(request, name) for name in [*self.base_fields, *moments]})
        self.request = request
        self.suggestions = [self._suggest(*each) for each in (suggested or {}).items()]
        self.is_valid()

    def _suggest(self, name: str, values: Iterable[str]) -> Suggestions:
        field = self.fields[name]
        assert isinstance(field, SuggestedChoiceField)
        given = [self.data[name]] if self.data[name] else []
        found = Suggestions(f"{name}-suggestions", {each: each for each in [*values, *given]})
        field.suggest(found, empty=("", "Any"))
        return found

    def value(self, name: str) -> str:
        """The value of a filter, or "" if it is missing or not valid."""
        found: str = self.cleaned_data.get(name) or ""
        return found

    @property
    def chips(self) -> list[Chip]:
        return [
            Chip(
                str(self[name].label),
                self._text(name),
                address(self.request, **dict.fromkeys((name, *self.cursors), "")),
            )
            for name, field in self.fields.items()
            if field.label != "" and self.value(name)
        ]

    def _text(self, name: str) -> str:
        field = self.fields[name]
        if isinstance(field, forms.ChoiceField):
            return str(dict(field.choices)[self.value(name)])  # type: ignore[arg-type]
        return self.value(name)


def searched(request: HttpRequest, name: str) -> str:
    """The text of a search or filter field without outer white space, including the invisible kinds
    that come with copied text; "" if it is missing."""
    return trim(request.GET.get(name, ""))


def address(request: HttpRequest, **replaced: str) -> str:
    """The URL of this list with its non-empty parameters, some of them replaced; "" drops one."""
    query = QueryDict(mutable=True)
    for name, value in {**request.GET.dict(), **replaced}.items():
        if value:
            query[name] = str(value)
    return f"{request.path}?{query.urlencode()}" if query else request.path


def render_list(
    request: HttpRequest, template: str, context: dict[str, Any], *, partial: str = "results"
) -> HttpResponse:
    """The page with a list, or for htmx only the list, with its URL pushed to the history."""
    response = render_partial(request, template, context, partial=partial)
    if wants_partial(request):
        push_url(response, address(request))
    return response

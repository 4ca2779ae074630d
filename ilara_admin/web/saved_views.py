"""Views of a list that a member of staff saved: its filters and its order under a name.

Any list can have them: add its URL name to LISTS of pages/saved_views.py, put `view_tabs` into the
context of its page, and include components/_views.html.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.http import HttpRequest, QueryDict

from ilara_admin.models import SavedView
from ilara_admin.web.access import environment_url
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.pagination import OF_ONE_PAGE

MAX_VIEWS = 30


@dataclass(frozen=True, slots=True)
class Tab:
    """`view_id` is None for a view that every list of this kind has."""

    name: str
    url: str
    current: bool
    view_id: int | None = None


@dataclass(frozen=True, slots=True)
class ViewTabs:
    """`query` are the filters and the order of this request. The one `saved` tab that is current
    can be renamed and deleted."""

    page: str
    query: str
    tabs: list[Tab]

    @property
    def current(self) -> Tab | None:
        return next((tab for tab in self.tabs if tab.current), None)


def plain_query(text: str) -> str:
    """A query string as views store it: without empty parameters and cursors, sorted by name."""
    given = QueryDict(text)
    query = QueryDict(mutable=True)
    for name in sorted(given):
        if given[name] and name not in OF_ONE_PAGE:
            query[name] = given[name]
    return query.urlencode()


def view_tabs(request: HtmxHttpRequest, page: str, fixed: Mapping[str, str]) -> ViewTabs:
    """The tabs of the list with the URL name `page`: `fixed`, the query string by name, and those
    that this member of staff saved."""
    url, here = environment_url(request, page), plain_query(request.GET.urlencode())
    views = SavedView.objects.filter(user=request.user, project=request.project, page=page)
    found: list[tuple[str, str, int | None]]
    found = [(name, query, None) for name, query in fixed.items()]
    found += [(view.name, view.query, view.pk) for view in views]
    tabs = [
        Tab(name, f"{url}?{query}" if query else url, query == here, view_id)
        for name, query, view_id in found
    ]
    return ViewTabs(page, here, tabs)


def address_of(request: HttpRequest, view: SavedView) -> str:
    """The URL of a saved view in the current environment."""
    url = environment_url(request, view.page)
    return f"{url}?{view.query}" if view.query else url

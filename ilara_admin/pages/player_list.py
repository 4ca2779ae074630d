"""The list of players: filters, columns, order and pages. segments/player_search.py bounds the work
of a page; player_bulk.py changes the selected players, player_exports.py writes the CSV."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.core import signing
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils import timezone

from ilara_admin.api.curl import EXAMPLE_REGISTRATION, curl_post
from ilara_admin.models import Environment, Role
from ilara_admin.pages.player_columns import (
    BUILT_IN,
    COUNTRY,
    DEFAULT,
    EXTERNAL_ID,
    MAX_COLUMNS,
    PlayerColumn,
    View,
    attribute_problem,
    columns_text,
    read_columns,
    rows_of,
)
from ilara_admin.pages.player_filters import document_of, scope_of
from ilara_admin.pages.player_list_form import PlayerListForm
from ilara_admin.pages.player_rows import NARROW_CELLS, player_rows
from ilara_admin.web import sorting
from ilara_admin.web.access import environment_url, may, sees_personal, staff_view
from ilara_admin.web.filters import address, render_list
from ilara_admin.web.forms import FormPage, render_form
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, wants_partial
from ilara_admin.web.pagination import OF_ONE_PAGE
from ilara_admin.web.saved_views import plain_query, view_tabs
from players.aliases import aliases_starting_with, player_id_named
from players.models import Player
from players.views import found_by
from segments.editor.suggestions import catalogue_of
from segments.language.parser import parse
from segments.models import Segment
from segments.player_search import PlayerPosition, Search, backwards, keys_of, search
from segments.sizes import rule_query

VIEWS = {
    "All": "",
    "New": "stage=new",
    "At risk": "stage=at_risk",
    "Payers": "payer=yes",
}
SORTED = {
    "id": sorting.Column(EXTERNAL_ID.label, ()),
    "seen": sorting.Column(BUILT_IN["seen"].label, (), newest_first=True),
    "first": sorting.Column(BUILT_IN["first"].label, (), newest_first=True),
}
# By the order: which players a search looks at first.
FIRST = {
    "id": "in the order of their external ids",
    "-id": "in the reverse order of their external ids",
    "seen": "those seen longest ago first",
    "-seen": "those seen last first",
    "first": "those first seen longest ago first",
    "-first": "the newest first",
}
SUGGESTED_COLUMNS = 30


@dataclass(frozen=True, slots=True)
class ListPage:
    """The ids of the players of one page; see KeysetPage for `next` and `previous`. `looked` is the
    number of players looked at if that ended the page, else None."""

    rows: list[UUID]
    next: str
    previous: str
    looked: int | None = None

    @property
    def is_only(self) -> bool:
        return not self.next and not self.previous


@staff_view(Role.VIEWER)
def player_list(request: HtmxHttpRequest) -> HttpResponse:
    """The players that match the filters. `?selected=page` selects all rows, for browsers without
    JavaScript.

    A complete external id redirects to its player, but only once the search is submitted: while
    `player_12` is typed, `player_1` must not redirect.
    """
    segments = list(Segment.objects.filter(environment=request.environment))
    form = list_form(request, segments)
    q, now = form.value("q"), timezone.now()
    if q and not wants_partial(request):
        named = player_id_named(request.environment, q)
        found = Player.objects.of(request.environment).for_list().filter(pk=named).first()
        if found is not None:
            return found_by(request, found, q)
    view = View.of(request.environment, now, masked=not sees_personal(request))
    sort = form.value("sort") or ("id" if q else "-seen")
    filters = form.filters
    page = page_of(
        request,
        Search(
            request.environment.pk,
            query_of(request.environment, document_of(filters), now),
            keys_of(sort),
            scope_of(filters, view.thresholds, now),
        ),
        sort,
    )
    columns = read_columns(form.value("columns"))
    shown = columns or [*(BUILT_IN[key] for key in DEFAULT), COUNTRY]
    players = rows_of(page.rows, shown)
    if not columns and not any(player.attributes.get(COUNTRY.key) for player in players):
        shown.pop()
    headers = sorting.headers(request, SORTED, sort)
    catalogue = catalogue_of(request.environment)
    hides_country = view.masked and "country" in view.personal
    country = None if hides_country else catalogue.attributes.get("country")
    # A role that sees linked ids masked could guess them character by character.
    looks_for_links = q and not page.previous and not view.masked
    context: dict[str, Any] = {
        "form": form,
        "page": page,
        "players": players,
        "rows": player_rows(request, players, shown, view),
        "columns": [
            (column, headers.get(column.sort), number >= NARROW_CELLS)
            for number, column in enumerate(shown)
        ],
        "headers": headers,
        "columns_query": plain_query(request.GET.urlencode()),
        "looks_first": FIRST[sort],
        "views": view_tabs(request, "player_list", VIEWS),
        "linked": aliases_starting_with(request.environment, q) if looks_for_links else [],
        "known": None if page.is_only else known_count(form, segments),
        "attributes": list(catalogue.attributes),
        "countries": country.values if country else (),
        "select_url": address(request, selected="page"),
        "may_note": may(request, Role.SUPPORT),
        "may_edit": may(request, Role.LIVE_OPS),
    }
    if not page.rows and not form.chips and page.is_only:
        keys = request.environment.api_keys.usable_at(now).order_by("pk")
        key = request.environment.key_hint(keys)
        context["first_line"] = curl_post(request, "players/players", key, EXAMPLE_REGISTRATION)
    return render_list(request, "players/list.html", context)


def list_form(request: HtmxHttpRequest, segments: list[Segment]) -> PlayerListForm:
    keys = [segment.key for segment in segments]
    return PlayerListForm(request, keys, masked=not sees_personal(request))


def query_of(environment: Environment, document: Mapping[str, Any] | None, now: Any) -> Any:
    """The prepared rule of a document; None for everyone."""
    return rule_query(environment, parse(document), now) if document else None


def known_count(form: PlayerListForm, segments: list[Segment]) -> tuple[int, Any] | None:
    """The number of players of the list when it was counted last, and when; None where only a
    count of all players would tell."""
    names = {chip.label for chip in form.chips}
    if not names:
        counts = [
            (each.sized_at, each.sized_among)
            for each in segments
            if each.sized_at and each.sized_among
        ]
        counted_at, among = max(counts, default=(None, 0))
        return (among, counted_at) if counted_at else None
    chosen = next((each for each in segments if each.key == form.value("segment")), None)
    if names == {"Segment"} and chosen and chosen.size is not None:
        return chosen.size, chosen.sized_at
    return None


# --- Pages ----------------------------------------------------------------------------------------


def page_of(request: HttpRequest, wanted: Search, sort: str) -> ListPage:
    """The page at `?after=` or `?before=`, else the first one."""
    signer = signing.Signer(salt=f"player_list:{sort}")
    after, before = (_position(signer, request, wanted, name) for name in ("after", "before"))
    if before and not after:
        back = search(Search(wanted.environment_id, wanted.query, backwards(wanted.keys),
                             wanted.scope), before)  # fmt: skip
        if back.end is not None:
            places = back.places[::-1]
            last = places[-1].at(wanted.keys) if places else back.end
            previous = _link(request, signer, before=back.end)
            following = _link(request, signer, after=last)
            return ListPage([each.id for each in places], following, previous, back.looked)
    found = search(wanted, after)
    if after and not found.places and found.end is None:
        return ListPage([], "", _link(request, signer))
    first = found.places[0].at(wanted.keys) if found.places else after
    return ListPage(
        [each.id for each in found.places],
        _link(request, signer, after=found.end) if found.end else "",
        _link(request, signer, before=first) if after and first else "",
        found.looked,
    )


def _position(
    signer: signing.Signer, request: HttpRequest, wanted: Search, name: str
) -> PlayerPosition | None:
    """A signed position, or None if there is none or it is not valid."""
    try:
        found = signer.unsign_object(request.GET.get(name, ""))
    except (signing.BadSignature, ValueError):
        return None
    return tuple(found) if 1 <= len(found) <= len(wanted.keys) else None


def _link(request: HttpRequest, signer: signing.Signer, **position: PlayerPosition) -> str:
    query: QueryDict = request.GET.copy()
    for name in OF_ONE_PAGE:
        query.pop(name, None)
    for name, values in position.items():
        query[name] = signer.sign_object(list(values))
    return f"?{query.urlencode()}"


# --- Columns --------------------------------------------------------------------------------------


class ColumnsForm(forms.Form):
    shown = forms.MultipleChoiceField(
        label="Columns", required=False, widget=forms.CheckboxSelectMultiple
    )
    more = forms.CharField(
        label="Other attributes",
        required=False,
        max_length=1_000,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="Separated by commas. A dot leads into an object: stats.wins.",
    )

    def __init__(self, choices: list[PlayerColumn], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        shown = self.fields["shown"]
        assert isinstance(shown, forms.ChoiceField)
        shown.choices = [(each.key, each.label) for each in choices]

    def clean_more(self) -> list[str]:
        names = [each.strip() for each in self.cleaned_data["more"].split(",") if each.strip()]
        for name in names:
            if problem := attribute_problem(name):
                raise forms.ValidationError(problem)
        return names

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        keys = [*given.get("shown", []), *(f".{name}" for name in given.get("more", []))]
        given["keys"] = list(dict.fromkeys(keys))
        if not self.errors and len(given["keys"]) > MAX_COLUMNS:
            self.add_error(None, f"Choose {MAX_COLUMNS} columns at most.")
        if not self.errors and not given["keys"]:
            self.add_error(None, "Choose a column.")
        return given


@staff_view(Role.VIEWER, "GET", "POST")
def player_columns(request: HtmxHttpRequest) -> HttpResponse:
    """Choose the columns of the list with `?query=`."""
    query = QueryDict(plain_query(request.GET.get("query", "")), mutable=True)
    chosen = read_columns(query.get("columns", "")) or [BUILT_IN[key] for key in DEFAULT]
    names = list(catalogue_of(request.environment).attributes)[:SUGGESTED_COLUMNS]
    offered = {each.key: each for each in [*chosen, *BUILT_IN.values()]}
    offered |= {f".{name}": column for name in names for column in read_columns(f".{name}")}
    form = ColumnsForm(
        list(offered.values()),
        request.POST if request.method == "POST" else None,
        initial={"shown": [column.key for column in chosen]},
    )
    url = environment_url(request, "player_list")
    if form.is_valid():
        query["columns"] = columns_text(form.cleaned_data["keys"])
        if not query["columns"]:
            del query["columns"]
        return redirect_to(request, f"{url}?{query.urlencode()}" if query else url)
    back = f"{url}?{query.urlencode()}" if query else url
    return render_form(request, FormPage("Columns of the list", "Show", form, back))

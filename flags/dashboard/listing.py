"""The list of flags: its filters, order, saved views and CSV. bulk.py changes the selected ones."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django import forms
from django.db import connection
from django.http import HttpResponse
from django.utils import timezone

from flags.cache import flags_of
from flags.dashboard.list_rows import USE_DAYS, list_rows
from flags.engine import sentences
from flags.engine.document import DocumentError, FlagDocument
from flags.engine.schedule import changes_later, is_rolling_out
from flags.models import Flag, FlagQuerySet
from flags.usage import daily
from ilara_admin.api import environment_cache
from ilara_admin.models import Environment, Role
from ilara_admin.web.access import environment_url, may, staff_view
from ilara_admin.web.csv_download import csv_download
from ilara_admin.web.filters import FilterForm, address, render_list
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.pagination import KeysetPage
from ilara_admin.web.saved_views import Tab, ViewTabs, view_tabs
from ilara_admin.web.sorting import Column, headers, ordering, sort_field
from ilara_admin.web.suggestions import SuggestedChoiceField

VIEWS = {
    "In use": "",
    "Rolling out": "rollout=rolling",
    "Archived": "state=archived",
}

COLUMNS = {
    "key": Column("Key", ["key"]),
    "state": Column("State", ["is_off", "key"]),
    "owner": Column("Owner", ["owner", "key"]),
    "evaluated": Column("Evaluated", ["evaluated_at", "key"], newest_first=True),
    "changed": Column("Changed", ["updated_at", "key"], newest_first=True),
}


class FlagFilterForm(FilterForm):
    q = forms.CharField(
        label="Search", required=False, widget=forms.TextInput(attrs={"type": "search"})
    )
    state = forms.ChoiceField(
        required=False,
        choices=[("", "In use"), ("on", "On"), ("off", "Off"), ("archived", "Archived")],
    )
    rollout = forms.ChoiceField(
        required=False,
        choices=[("", "Any"), ("rolling", "Rolling out"), ("scheduled", "Scheduled")],
    )
    use = forms.ChoiceField(
        required=False,
        choices=[("", "Any"), ("stale", "Stale"), ("never", "Never evaluated")],
    )
    tag = SuggestedChoiceField(required=False)
    owner = SuggestedChoiceField(required=False)
    segment = forms.CharField(label="Segment", required=False, widget=forms.HiddenInput)
    sort = sort_field(COLUMNS)


@staff_view(Role.VIEWER)
def flag_list(request: HtmxHttpRequest) -> HttpResponse:
    """The flags that match the filters. `?selected=page` selects all rows, for browsers without
    JavaScript."""
    all_flags, now = _facets(request.environment), timezone.now()
    form = FlagFilterForm(request, {"tag": all_flags.tags, "owner": all_flags.owners})
    matching = _matching(request, form, now)
    sort = form.value("sort") or "key"
    page = KeysetPage.of(_shown(matching, sort, now), request)
    archived = form.value("state") == "archived"
    total = all_flags.archived if archived else all_flags.in_use
    found = total
    if form.chips:
        found = len(page.rows) if page.is_only else matching.count()
    context = {
        "form": form,
        "page": page,
        "rows": list_rows(request, page.rows, now),
        "headers": headers(request, COLUMNS, sort),
        "views": flag_tabs(request),
        "archived": archived,
        "exists": all_flags.in_use + all_flags.archived > 0,
        "total": total,
        "found": found,
        "tags": all_flags.tags,
        "may_edit": may(request, Role.LIVE_OPS),
        "select_url": address(request, selected="page"),
        "copy_url": environment_url(request, "flag_copy"),
        "copy_targets": [
            each.slug
            for each in request.environments
            if each.project == request.project and each != request.environment
        ],
        "days": USE_DAYS,
    }
    return render_list(request, "flags/list.html", context)


def flag_tabs(request: HtmxHttpRequest, *, is_stale_page: bool = False) -> ViewTabs:
    """The views of the list, and the page of stale flags before the archived ones."""
    views = view_tabs(request, "flag_list", VIEWS)
    if is_stale_page:
        views.tabs[:] = [replace(tab, current=False) for tab in views.tabs]
    stale = Tab("Stale", environment_url(request, "flag_stale_list"), is_stale_page)
    views.tabs.insert(len(VIEWS) - 1, stale)
    return views


class Facets(NamedTuple):
    """The number of flags of an environment, and what its filters offer."""

    in_use: int
    archived: int
    owners: list[str]
    tags: list[str]


FACETS = """
SELECT count(*) FILTER (WHERE archived_at IS NULL), count(archived_at),
    coalesce(array_agg(DISTINCT owner ORDER BY owner) FILTER (WHERE owner <> ''), '{}'),
    ARRAY(SELECT DISTINCT tag FROM flag, jsonb_array_elements_text(tags) tag
          WHERE environment_id = %(environment)s ORDER BY tag)
FROM flag WHERE environment_id = %(environment)s"""


def _facets(environment: Environment) -> Facets:
    with connection.cursor() as cursor:
        cursor.execute(FACETS, {"environment": environment.pk})
        return Facets(*cursor.fetchone())


def _matching(request: HtmxHttpRequest, form: FlagFilterForm, now: datetime) -> FlagQuerySet:
    flags = Flag.objects.of(request.environment).in_state(form.value("state"))
    if text := form.value("q"):
        flags = flags.matching(text)
    if rollout := form.value("rollout"):
        test = is_rolling_out if rollout == "rolling" else changes_later
        flags = flags.with_ids(_at_present(request, test, now))
    if use := form.value("use"):
        flags = flags.stale(now) if use == "stale" else flags.never_evaluated()
    if tag := form.value("tag"):
        flags = flags.tagged(tag)
    if owner := form.value("owner"):
        flags = flags.filter(owner=owner)
    if segment := form.value("segment"):
        flags = flags.naming(segment)
    return flags


def _shown(flags: FlagQuerySet, sort: str, now: datetime) -> FlagQuerySet:
    """In this order, with what the list shows of a flag."""
    found = flags.with_author().with_evidence(now)
    if sort.removeprefix("-") in ("state", "evaluated"):
        found = found.sortable()
    return found.order_by(*ordering(COLUMNS, sort))


def _at_present(
    request: HtmxHttpRequest, test: Callable[[FlagDocument, datetime], bool], now: datetime
) -> list[int]:
    """The ids of flags whose document passes a test. The documents are in memory for the API."""
    known = flags_of(environment_cache.at_version(request.environment))
    return [flag.id for flag in known.values() if test(flag.document, now)]


# --- CSV ------------------------------------------------------------------------------------------

CSV = (
    "key", "name", "state", "tags", "owner", "expected_end", "value_type", "rules", "otherwise",
    f"evaluations_{USE_DAYS}_days", "last_evaluated", "changed", "changed_by", "description",
)  # fmt: skip


@staff_view(Role.VIEWER)
def flag_list_csv(request: HtmxHttpRequest) -> HttpResponse:
    """All flags that match the filters, in the order of the list."""
    now = timezone.now()
    given = {name: [request.GET.get(name, "")] for name in ("tag", "owner")}
    form = FlagFilterForm(request, given)
    flags = list(_shown(_matching(request, form, now), form.value("sort") or "key", now))
    evaluations = daily([flag.pk for flag in flags], now - timedelta(days=USE_DAYS - 1))
    rows = (_csv_row(flag, sum(evaluations[flag.pk]), now) for flag in flags)
    return csv_download(request, "flags", CSV, rows)


def _csv_row(flag: Flag, evaluations: int, now: datetime) -> list[str]:
    given: Any = flag  # annotated
    here = timezone.localtime(now)
    try:
        document = flag.spec
        rules = [sentences.sentence(rule, here) for rule in document.rules]
    except DocumentError:
        document, rules = None, ["cannot be read"]
    return [
        flag.key,
        flag.name,
        "archived" if flag.archived_at else "on" if flag.enabled else "off",
        ", ".join(flag.tags),
        flag.owner,
        flag.expected_end.isoformat() if flag.expected_end else "",
        document.value_type if document else "",
        "; ".join(rules),
        document.default if document else "",
        str(evaluations),
        _csv_time(given.last_evaluated_at),
        _csv_time(flag.updated_at),
        given.changed_by or "",
        flag.description,
    ]


def _csv_time(moment: datetime | None) -> str:
    """As in the API; "" if there is none."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z") if moment else ""

"""What differs between two environments of a project."""

from django.http import Http404, HttpResponse
from django.shortcuts import render

from ilara_admin.config.comparison import ConfigKey, Difference, compare
from ilara_admin.config.store import read_config
from ilara_admin.models import Environment, Role
from ilara_admin.pages.copying import COPIES, PAGES, sibling
from ilara_admin.web.access import environment_url, staff_view, url_in
from ilara_admin.web.htmx import HtmxHttpRequest


@staff_view(Role.VIEWER)
def environment_compare(request: HtmxHttpRequest, other: str) -> HttpResponse:
    """All flags and segments that differ between this environment and another."""
    return _compare(request, other)


@staff_view(Role.VIEWER)
def flag_environment_compare(request: HtmxHttpRequest, key: str, other: str) -> HttpResponse:
    return _compare(request, other, ConfigKey("flags", key))


@staff_view(Role.VIEWER)
def segment_environment_compare(request: HtmxHttpRequest, key: str, other: str) -> HttpResponse:
    return _compare(request, other, ConfigKey("segments", key))


def _compare(request: HtmxHttpRequest, other: str, only: ConfigKey | None = None) -> HttpResponse:
    """The page of all differences, or of those of one flag or segment. 404 if neither has it."""
    there = sibling(request, other)
    if there is None:
        raise Http404("No such environment in this project.")
    configs = read_config(request.environment), read_config(there)
    if only and not any(only.key in config.entries(only.kind) for config in configs):
        raise Http404(f"No such {only.noun}.")
    found = compare(*configs)
    sections = []
    for kind in PAGES:
        rows = [_row(request, there, each) for each in found
                if each.name.kind == kind and only in (None, each.name)]  # fmt: skip
        if only is None or only.kind == kind:
            same = len({key for config in configs for key in config.entries(kind)}) - len(rows)
            sections.append({"kind": kind, "rows": rows, "same": same,
                             "copy_url": environment_url(request, COPIES[kind])})  # fmt: skip
    context = {
        "there": there,
        "only": only,
        "sections": sections,
        "parent": PAGES[only.kind] if only else "",
        "swap_url": url_in(there, "environment_compare", request.environment.slug),
        "may_edit": request.user.may(Role.LIVE_OPS),
    }
    return render(request, "ilara_admin/compare.html", context)


def _row(request: HtmxHttpRequest, there: Environment, found: Difference) -> dict[str, object]:
    page, key = PAGES[found.name.kind], found.name.key
    return {
        "key": key,
        "here_url": environment_url(request, page, key) if found.is_here else "",
        "there_url": url_in(there, page, key) if found.is_there else "",
        "changes": found.changes,
    }

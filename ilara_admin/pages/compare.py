"""What differs between two environments of a project."""

from django.http import Http404, HttpResponse
from django.shortcuts import render

from ilara_admin.config.comparison import (
    ConfigKey,
    Difference,
    difference,
    differing,
    names_in,
)
from ilara_admin.config.store import read_config
from ilara_admin.models import Environment, Role
from ilara_admin.pages.copying import COPIES, PAGES, sibling
from ilara_admin.web.access import environment_url, may, staff_view, url_in
from ilara_admin.web.htmx import HtmxHttpRequest

SHOWN = 25  # differences on a page


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
    key = only.key if only else None
    configs = read_config(request.environment, key), read_config(there, key)
    known = [name for name in names_in(*configs) if only in (None, name)]
    if only and not known:
        raise Http404(f"No such {only.noun}.")
    differ = [name for name in differing(*configs) if only in (None, name)]
    page = _Page(differ, _start(request))
    sections = []
    for kind in PAGES:
        if only is None or only.kind == kind:
            differing_here = sum(name.kind == kind for name in differ)
            sections.append({
                "kind": kind,
                "rows": [_row(request, there, difference(*configs, name))
                         for name in page.rows if name.kind == kind],
                "differ": differing_here,
                "same": sum(name.kind == kind for name in known) - differing_here,
                "copy_url": environment_url(request, COPIES[kind]),
            })  # fmt: skip
    context = {
        "there": there,
        "only": only,
        "page": page,
        "sections": sections,
        "parent": PAGES[only.kind] if only else "",
        "swap_url": url_in(there, "environment_compare", request.environment.slug),
        "may_edit": may(request, Role.LIVE_OPS),
    }
    return render(request, "ilara_admin/compare.html", context)


class _Page:
    """Some of the names. `next` and `previous` are query strings, or "" at the ends."""

    def __init__(self, names: list[ConfigKey], start: int) -> None:
        end = start + SHOWN
        self.rows = names[start:end]
        self.next = f"?start={end}" if end < len(names) else ""
        self.previous = f"?start={max(start - SHOWN, 0)}" if start else ""
        self.is_only = not self.next and not self.previous


def _start(request: HtmxHttpRequest) -> int:
    text = request.GET.get("start", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0


def _row(request: HtmxHttpRequest, there: Environment, found: Difference) -> dict[str, object]:
    page, key = PAGES[found.name.kind], found.name.key
    return {
        "key": key,
        "here_url": environment_url(request, page, key) if found.is_here else "",
        "there_url": url_in(there, page, key) if found.is_there else "",
        "changes": found.changes,
    }

"""Changes of the flags that are selected in the list: one review, one change, one undo."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import msgspec
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import render

from flags.bulk import BulkChange, archiving, flags_change, tagging, turning_off, untagging
from flags.dashboard.affected import affected_flags
from flags.dashboard.impact_figures import Impact
from flags.dashboard.views import impact_of
from flags.details import read_tags
from flags.models import Flag
from ilara_admin.core.changes import Conflict, reason_of
from ilara_admin.core.diff import Change
from ilara_admin.core.path_error import PathError
from ilara_admin.core.text import isolated, trim
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.confirm import (
    Affected,
    changed_together,
    is_review,
    posted_again,
    render_conflict,
)
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast
from ilara_admin.web.saved_views import plain_query

MAX_SELECTED = 200
IMPACT_SECONDS = 1.0  # no further flag is evaluated after this time


@dataclass(frozen=True, slots=True)
class BulkAction:
    """`verb` and `done` begin a sentence: "Archive 3 flags", "Archived 3 flags". `impact` is that
    on the players of one flag; None if none of them notices the change."""

    verb: str
    done: str
    change: Callable[[str], BulkChange]  # takes the tag
    impact: Callable[[HtmxHttpRequest, Flag], Impact | None] | None = None
    takes_tag: bool = False


def _impact_of_turning_off(request: HtmxHttpRequest, flag: Flag) -> Impact | None:
    return impact_of(request, flag, msgspec.structs.replace(flag.spec, enabled=False))


def _impact_of_archiving(request: HtmxHttpRequest, flag: Flag) -> Impact | None:
    return impact_of(request, flag, flag.spec, archived=True)


ACTIONS = {
    "tag": BulkAction("Add the tag {} to", "Added the tag {} to", tagging, takes_tag=True),
    "untag": BulkAction(
        "Remove the tag {} from", "Removed the tag {} from", untagging, takes_tag=True
    ),
    "turn-off": BulkAction(
        "Turn off", "Turned off", lambda _: turning_off(), _impact_of_turning_off
    ),
    "archive": BulkAction("Archive", "Archived", lambda _: archiving(), _impact_of_archiving),
}


@dataclass(frozen=True, slots=True)
class ReviewedFlag:
    """A selected flag: what changes, None if nothing does, and who switches, "" if not known."""

    flag: Flag
    change: Change | None
    impact: str = ""


@staff_view(Role.LIVE_OPS, "POST")
def flag_bulk(request: HtmxHttpRequest, action: str) -> HttpResponse:
    """The list posts the selected `key`s and gets the review, which posts them as `seen`, each with
    its revision, and gets the change."""
    chosen, seen = ACTIONS[action], _seen(request)
    keys = list(seen) or request.POST.getlist("key")
    tag = trim(request.POST.get("tag", "")) if chosen.takes_tag else ""
    if problem := _problem(keys, tag, chosen):
        return with_toast(request, redirect_to(request, _back(request)), problem, tone="warn")
    change, error = chosen.change(tag), ""
    if seen and not is_review(request):
        try:
            entries = flags_change(
                request.environment,
                seen,
                change,
                actor=actor_of(request),
                reason=reason_of(request),
            )
        except ValidationError as found:
            error = " ".join(found.messages)
        except Conflict as conflict:
            return _conflict(request, seen, conflict)
        else:
            text = f"{chosen.done.format(isolated(tag))} {_flags(len(entries))}."
            return changed_together(request, _back(request), entries, text)
    return _review(request, chosen, change, keys, tag, error)


def _seen(request: HtmxHttpRequest) -> dict[str, int]:
    """The revisions by key that the review showed."""
    pairs = (text.rpartition(" ") for text in request.POST.getlist("seen"))
    return {key: int(number) for key, _, number in pairs if number.isdecimal() and len(number) < 10}


def _problem(keys: list[str], tag: str, action: BulkAction) -> str:
    if not keys:
        return "Select flags in the list first."
    if len(keys) > MAX_SELECTED:
        return f"Select {MAX_SELECTED} flags at most."
    if action.takes_tag:
        try:
            read_tags([tag])
        except PathError as error:
            return error.message
    return ""


def _back(request: HtmxHttpRequest) -> str:
    """The list with the filters and the order that it had."""
    url, query = environment_url(request, "flag_list"), plain_query(request.POST.get("back", ""))
    return f"{url}?{query}" if query else url


def _flags(number: int) -> str:
    return "1 flag" if number == 1 else f"{number} flags"


def _conflict(request: HtmxHttpRequest, seen: dict[str, int], conflict: Conflict) -> HttpResponse:
    now = {**seen, conflict.object_id: conflict.current}
    fields = {**posted_again(request), "seen": [f"{key} {number}" for key, number in now.items()]}
    return render_conflict(request, conflict, cancel_url=_back(request), fields=fields)


def _review(
    request: HtmxHttpRequest, action: BulkAction, change: BulkChange, keys: list[str], tag: str,
    error: str,
) -> HttpResponse:  # fmt: skip
    flags = list(Flag.objects.of(request.environment).filter(key__in=keys).order_by("key"))
    for flag in flags:
        flag.environment = request.environment
    until = monotonic() + IMPACT_SECONDS
    rows: list[ReviewedFlag] = []
    affected: dict[str, Affected] = {}
    for flag in flags:
        planned, found = change.planned(flag), None
        if planned and action.impact and flag.enabled and not flag.problem:
            found = action.impact(request, flag) if monotonic() < until else None
            for each in affected_flags(request, flag, found, only_changed=True):
                affected.setdefault(each.name, each)
        rows.append(ReviewedFlag(flag, planned, found.headline if found else ""))
    number = sum(row.change is not None for row in rows)
    context = {
        "title": f"{action.verb.format(isolated(tag))} {_flags(number or len(rows))}",
        "rows": rows,
        "number": number,
        "shows_impact": action.impact is not None,
        "affected": [each for key, each in affected.items() if key not in keys],
        "tag": tag,
        "back": request.POST.get("back", ""),
        "back_url": _back(request),
        "error": error,
        "tone": "danger" if action.impact else "primary",
    }
    return render(request, "flags/bulk.html", context, status=422 if error else 200)

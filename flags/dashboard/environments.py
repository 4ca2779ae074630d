"""A flag in all environments of its project: the matrix of its page, and the page where it is
missing."""

import json
from dataclasses import dataclass

from django.http import Http404, HttpResponse
from django.utils import timezone

from flags.dashboard.shortcuts import CHANGED_BY
from flags.engine import sentences
from flags.models import Flag
from ilara_admin.models import Environment
from ilara_admin.web.access import project_environments, url_in
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.missing import render_missing

# Read for each page of a flag: Django needs longer to write the statement than to run it.
FLAGS = f"""SELECT flag.*, {CHANGED_BY} AS changed_by FROM flag
WHERE key = %s AND environment_id = ANY(%s)"""


@dataclass(frozen=True, slots=True)
class FlagThere:
    """A flag in one environment; `flag` is None where it is missing. `is_here` in the environment
    of the request. `is_equal` if it is the same as here."""

    environment: Environment
    flag: Flag | None
    url: str
    summary: str
    changed_by: str
    is_here: bool
    is_equal: bool

    @property
    def is_archived(self) -> bool:
        return self.flag is not None and self.flag.archived_at is not None


def flag_environments(request: HtmxHttpRequest, key: str) -> list[FlagThere]:
    """The flag in each environment of the project, in the order of the switcher."""
    siblings = project_environments(request)
    flags = Flag.objects.raw(FLAGS, [key, [each.pk for each in siblings]])
    found = {flag.environment_id: flag for flag in flags}
    here = found.get(request.environment.pk)
    return [
        FlagThere(
            environment=each,
            flag=(flag := found.get(each.pk)),
            url=url_in(each, "flag_detail", key),
            summary=_summary(flag) if flag else "",
            changed_by=getattr(flag, "changed_by", ""),
            is_here=each.pk == request.environment.pk,
            is_equal=flag is not None and here is not None and _state(flag) == _state(here),
        )
        for each in siblings
    ]


def _state(flag: Flag) -> str:
    """What a copy would make equal, as text: 1 and true differ."""
    return json.dumps([flag.document, flag.details, flag.archived_at is None], sort_keys=True)


def _summary(flag: Flag) -> str:
    if flag.problem:
        return "cannot be read"
    archived = flag.archived_at is not None
    return sentences.summary(flag.spec, timezone.localtime(), archived=archived)


def flag_missing(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """The page of a flag that exists in other environments only. Raises Http404 if in none."""
    elsewhere = [each for each in flag_environments(request, key) if each.flag]
    if not elsewhere:
        raise Http404("No such flag.")
    return render_missing(
        request, "flag", key, [(each.environment, each.url) for each in elsewhere]
    )

"""A segment in all environments of its project: for its page, and for the page where it is
missing."""

from dataclasses import dataclass

from django.http import Http404, HttpResponse

from ilara_admin.core.json_equality import json_equal
from ilara_admin.models import Environment
from ilara_admin.web.access import project_environments, url_in
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.missing import render_missing
from segments.models import Segment
from segments.services import fields_of


@dataclass(frozen=True, slots=True)
class SegmentThere:
    """A segment in one environment; `segment` is None where it is missing. `is_here` in the
    environment of the request. `is_equal` if it is the same as here."""

    environment: Environment
    segment: Segment | None
    url: str
    is_here: bool
    is_equal: bool


def segment_environments(request: HtmxHttpRequest, key: str) -> list[SegmentThere]:
    """The segment in each environment of the project, in the order of the switcher."""
    siblings = project_environments(request)
    segments = Segment.objects.filter(environment__in=siblings, key=key)
    found = {segment.environment_id: segment for segment in segments}
    here = found.get(request.environment.pk)
    return [
        SegmentThere(
            environment=each,
            segment=(there := found.get(each.pk)),
            url=url_in(each, "segment_detail", key),
            is_here=each == request.environment,
            is_equal=bool(there and here and json_equal(fields_of(there), fields_of(here))),
        )
        for each in siblings
    ]


def segment_missing(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """The page of a segment that exists in other environments only. Raises Http404 if in none."""
    elsewhere = [each for each in segment_environments(request, key) if each.segment]
    if not elsewhere:
        raise Http404("No such segment.")
    places = [(each.environment, each.url) for each in elsewhere]
    return render_missing(request, "segment", key, places)

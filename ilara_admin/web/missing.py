"""The page of an object that exists in other environments of the project only."""

from collections.abc import Sequence

from django.http import HttpResponse
from django.shortcuts import render

from ilara_admin.models import Environment, Role
from ilara_admin.web.access import may
from ilara_admin.web.htmx import HtmxHttpRequest


def render_missing(
    request: HtmxHttpRequest, kind: str, key: str, elsewhere: Sequence[tuple[Environment, str]]
) -> HttpResponse:
    """A 404 with links to the copies, each with its URL."""
    context = {
        "kind": kind,
        "key": key,
        "elsewhere": elsewhere,
        "may_edit": may(request, Role.LIVE_OPS),
    }
    return render(request, "components/missing_here.html", context, status=404)

"""Our middlewares. The first names each request and answers `/v1`, `/ofrep` and load balancers'
probes before any other runs; the dashboard's are the sign-in wall and the reader's time zone.

The request's name is in the error page, log lines, audit entries and a response header.
"""

import re
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any

from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest
from django.http.response import HttpResponseBase, HttpResponseRedirectBase
from django.shortcuts import resolve_url
from django.utils import timezone
from django_htmx.http import HttpResponseClientRedirect

from ilara_admin.api import dispatch
from ilara_admin.core import audit
from ilara_admin.runtime import health

type GetResponse = Callable[[HttpRequest], HttpResponseBase]

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
API_PREFIXES = ("/v1/", "/ofrep/")
# A load balancer asks by address and over plain http: neither may be held against it.
PROBES = {"/healthz": health.healthz, "/readyz": health.readyz}


def request_id(header: str | None) -> str:
    """The id that the caller gave, if it is harmless in logs and headers, else a new one."""
    return header if header and REQUEST_ID.fullmatch(header) else uuid.uuid4().hex


class ApiMiddleware:
    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.id = request_id(request.META.get("HTTP_X_REQUEST_ID"))  # type: ignore[attr-defined]
        audit.request_id.set(request.id)  # type: ignore[attr-defined]
        path = request.path_info
        if path.startswith(API_PREFIXES) or path in ("/v1", "/ofrep"):
            response = dispatch.answer(request)
        elif path in PROBES:
            response = PROBES[path](request)
        else:
            response = self.get_response(request)
        response.headers["X-Request-Id"] = request.id  # type: ignore[attr-defined]
        return response


class LoginMiddleware(LoginRequiredMiddleware):
    """Lets only signed-in staff pass, except to views marked with `login_not_required`."""

    def handle_no_permission(  # type: ignore[override]  # the parent's 302 is narrower
        self, request: HttpRequest, view_func: Callable[..., Any]
    ) -> HttpResponseRedirectBase:
        """Send to the sign-in page and back to the page that is in sight.

        htmx would follow a redirect by itself and put the sign-in form inside a table, and would
        come back to a fragment's address: so it is told to navigate, and to return to its page.
        """
        htmx = getattr(request, "htmx", None)
        if not htmx:
            return super().handle_no_permission(request, view_func)
        response = redirect_to_login(
            htmx.current_url_abs_path or "/",
            resolve_url(self.get_login_url(view_func)),
            self.get_redirect_field_name(view_func),
        )
        return HttpResponseClientRedirect(response.url)


class TimeZoneMiddleware:
    """Shows times in the zone of whoever reads them."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        name = getattr(request.user, "time_zone", "UTC")
        try:
            zone = zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            zone = zoneinfo.ZoneInfo("UTC")  # a zone that this machine's tz database lacks
        with timezone.override(zone):
            return self.get_response(request)

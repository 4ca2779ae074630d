"""Middlewares of the dashboard: the sign-in wall and the reader's time zone."""

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

type GetResponse = Callable[[HttpRequest], HttpResponseBase]


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

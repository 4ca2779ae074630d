"""Ilara's middleware. `ApiMiddleware` runs first: it sets the request id, measures the request, and
handles `/v1`, `/ofrep`, `/metrics` and health probes before any other middleware runs. The others
serve the dashboard. Web processes call `api_application` for most calls of the API, before Django's
handler.

The request id appears on error pages, in logs, in audit entries and in the X-Request-Id header.
"""

import logging
import re
import zoneinfo
from collections.abc import Callable, Iterable
from secrets import token_hex
from time import perf_counter
from typing import Any, cast

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.core.handlers.wsgi import WSGIRequest
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django.utils import timezone
from django_htmx.http import HttpResponseClientRedirect

from ilara_admin.accounts.known_browsers import mark_browser
from ilara_admin.accounts.sessions import NOTED_EVERY, note_use
from ilara_admin.api import dispatch
from ilara_admin.core import audit, limits, logs
from ilara_admin.core.metrics import METHODS, OTHER_METHOD, request_seconds
from ilara_admin.core.route_template import API_PREFIXES, UNMATCHED, route_template
from ilara_admin.runtime import health, metrics
from ilara_admin.web.sessions import SessionStore

logger = logging.getLogger("ilara.request")

type GetResponse = Callable[[HttpRequest], HttpResponseBase]

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
API_NOUNS = ("/players", "/events", "/flags", "/segments", "/api/", "/V1/")
# Load balancers probe by IP address and over HTTP, which later middleware would refuse.
PROBES = {"/healthz": health.healthz, "/readyz": health.readyz}
METRICS = "/metrics"
# The id of the bell, which asks for the number of unread notifications each minute.
POLLING = "bell"


def request_id(header: str | None) -> str:
    """The caller's id if it is safe in logs and headers, else a new one."""
    return header if header and REQUEST_ID.fullmatch(header) else token_hex(16)


class ApiMiddleware:
    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        path = request.path_info
        if path.startswith(API_PREFIXES) or path in ("/v1", "/ofrep") or _lacks_prefix(request):
            return answer_api(request)
        return _observed(request, self._answer)

    def _answer(self, request: HttpRequest) -> HttpResponseBase:
        path = request.path_info
        if path in PROBES:
            return PROBES[path](request)
        if path == METRICS and metrics.is_allowed(request):
            return metrics.metrics(request)
        limits.of_thread.limits = limits.PAGE
        try:
            return self.get_response(request)
        finally:
            limits.of_thread.limits = None


def answer_api(request: HttpRequest) -> HttpResponseBase:
    """The response to a call of the API."""
    return _observed(request, dispatch.answer)


def api_application(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]
) -> Iterable[bytes]:
    """A WSGI application for calls of the API. They need nothing that Django's handler does around
    a view, except its care for the thread's connection to the database."""
    connections["default"].close_if_unusable_or_obsolete()
    response = answer_api(WSGIRequest(environ))
    status = f"{response.status_code} {response.reason_phrase}"
    start_response(status, list(response.headers.items()))
    # The server closes a stream. Other responses hold nothing; closing them would send a signal.
    return [response.content] if isinstance(response, HttpResponse) else response


def _observed(request: HttpRequest, answer: GetResponse) -> HttpResponseBase:
    """The response, with the id of the request. The request is measured and logged."""
    started = perf_counter()
    number = request_id(request.META.get("HTTP_X_REQUEST_ID"))
    request.id = number  # type: ignore[attr-defined]  # Ilara's attribute
    audit.request_id.set(number)
    token = logs.current_request.set(request)
    try:
        response = answer(request)
        _measure(request, response.status_code, perf_counter() - started)
    finally:
        logs.current_request.reset(token)
    response.headers["X-Request-Id"] = number
    return response


def _measure(request: HttpRequest, status: int, seconds: float) -> None:
    method = request.method if request.method in METHODS else OTHER_METHOD
    route = request.resolver_match.route if request.resolver_match else _other_route(request)
    request_seconds(method, route, status).observe(seconds)
    if logger.isEnabledFor(logging.INFO):
        duration = round(seconds * 1000, 2)
        extra = {"route": route_template(route), "status": status, "duration_ms": duration}
        logger.info("answered", extra=extra)


def _other_route(request: HttpRequest) -> str:
    path = request.path_info
    if path in PROBES or path == METRICS:
        return path
    return settings.STATIC_URL if path.startswith(settings.STATIC_URL) else UNMATCHED


def _lacks_prefix(request: HttpRequest) -> bool:
    """Whether this is a call of the API without `/v1`: it gets the API's error, which suggests the
    path. Only a call of the API carries a key of ours or JSON; a project may have the same name."""
    if not request.path_info.startswith(API_NOUNS):
        return False
    is_json = "json" in request.META.get("CONTENT_TYPE", "").lower()
    has_key = dispatch.token_of(request).startswith(("pk_", "sk_"))
    return is_json or request.method == "OPTIONS" or has_key


class LoginMiddleware(LoginRequiredMiddleware):
    """Requires sign-in, except for views marked with `login_not_required`."""

    def handle_no_permission(  # type: ignore[override]  # the parent's is a redirect
        self, request: HttpRequest, view_func: Callable[..., Any]
    ) -> HttpResponse:
        """Redirect to the sign-in page, and from there back to the current page.

        htmx would follow a redirect and swap the sign-in form into its target, and return to the
        URL of a fragment. So it gets HX-Redirect, with the URL of its page as the next one. What
        asks by itself gets nothing: the user may be filling a form.
        """
        htmx = getattr(request, "htmx", None)
        if not htmx:
            return super().handle_no_permission(request, view_func)
        if htmx.trigger == POLLING:
            return HttpResponse(status=204)
        response = redirect_to_login(
            htmx.current_url_abs_path or "/",
            resolve_url(self.get_login_url(view_func)),
            self.get_redirect_field_name(view_func),
        )
        return HttpResponseClientRedirect(response.url)


class TimeZoneMiddleware:
    """Activates the user's time zone."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        name = getattr(request.user, "time_zone", "UTC")
        try:
            zone = zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            zone = zoneinfo.ZoneInfo("UTC")  # not in this machine's tz database
        with timezone.override(zone):
            return self.get_response(request)


class KnownBrowserMiddleware:
    """Marks the browser when a session begins, and when it goes on after a new password."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        before = request.session.get(HASH_SESSION_KEY)
        response = self.get_response(request)
        password_hash = request.session.get(HASH_SESSION_KEY)
        if password_hash not in (None, before):
            mark_browser(request, response, request.session[SESSION_KEY], password_hash)
        return response


class SessionUseMiddleware:
    """Notes at most every five minutes from where and with what a session is used. allauth's own
    middleware would write at each request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.user.is_authenticated:  # this loads the session
            seen_at = cast(SessionStore, request.session).seen_at
            if seen_at is None or timezone.now() - seen_at >= NOTED_EVERY:
                note_use(request)
        return self.get_response(request)

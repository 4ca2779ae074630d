"""The theme switch, the error pages and the component gallery."""

import sys
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import Resolver404, get_script_prefix
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from ilara_admin.core import db
from ilara_admin.pages import gallery
from ilara_admin.web.access import refusal
from ilara_admin.web.context_processors import THEME_COOKIE, THEMES

THEME_COOKIE_SECONDS = 365 * 24 * 3600


@login_not_required
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Store the theme in a cookie, so that the server renders it without a flash."""
    # The referrer includes filters that htmx pushed to the URL after the form was rendered.
    candidates = [request.headers.get("Referer"), request.POST.get("next"), get_script_prefix()]
    safe = (each for each in candidates if each and _is_ours(request, each))
    response = HttpResponseRedirect(next(safe))
    choice = request.POST.get("theme")
    if choice == "system":
        response.delete_cookie(THEME_COOKIE)
    elif choice in THEMES:
        response.set_cookie(
            THEME_COOKIE,
            choice,
            max_age=THEME_COOKIE_SECONDS,
            secure=request.is_secure(),
            httponly=True,
            samesite="Lax",
        )
    return response


def _is_ours(request: HttpRequest, url: str) -> bool:
    return url_has_allowed_host_and_scheme(
        url, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )


# --- Error pages --------------------------------------------------------------------------------


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return refusal(request, 400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return refusal(request, 403, str(exception))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return render(request, "403_csrf.html", status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    reason = "" if isinstance(exception, Resolver404) else str(exception)
    # Django's own texts name patterns and models.
    return refusal(request, 404, "" if reason.endswith("the given query.") else reason)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django calls it while it handles the exception."""
    error = sys.exception()
    if isinstance(error, OperationalError | InterfaceError):
        return _plain_error(request, 503, reason=db.explain(error))
    return _plain_error(request, 500)


def _plain_error(request: HttpRequest, status: int, **context: str) -> HttpResponse:
    """A page rendered without context processors: the session or database may be what failed."""
    context["request_id"] = getattr(request, "id", "")
    return HttpResponse(render_to_string(f"{status}.html", context), status=status)


# --- For developers -----------------------------------------------------------------------------


@login_not_required
@require_GET
def components(request: HttpRequest) -> HttpResponse:
    """Every component in both themes, with sample data; routed in DEBUG only."""
    project, environment = gallery.environment(request.GET.get("environment", "live"))
    scope: dict[str, Any] = {"project": project, "environment": environment}
    request.__dict__.update(scope)
    return render(request, "ilara_admin/components.html", gallery.context())

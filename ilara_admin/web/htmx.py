"""Responses for both browsers and htmx: pages, partials, redirects and toasts."""

from collections.abc import Mapping
from typing import Any, Literal

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers
from django_htmx.http import HttpResponseClientRedirect, reswap, retarget
from django_htmx.middleware import HtmxDetails

from ilara_admin.core.guard import Collected
from ilara_admin.models import Environment, Project, User

Tone = Literal["ok", "info", "warn", "danger"]
_LEVELS: dict[Tone, int] = {
    "ok": messages.SUCCESS,
    "info": messages.INFO,
    "warn": messages.WARNING,
    "danger": messages.ERROR,
}


class HtmxHttpRequest(HttpRequest):
    """The request that every dashboard view receives."""

    id: str
    htmx: HtmxDetails
    user: User
    project: Project  # set below /<project>/<environment>/
    environment: Environment
    environments: list[Environment]  # all that the user may see
    collecting: list[Collected]  # set while web/guarding.py asks what a view would change


def wants_partial(request: HttpRequest) -> bool:
    """Whether htmx requests a part of the page. Restoring a history entry needs the whole page."""
    htmx: HtmxDetails | None = getattr(request, "htmx", None)
    return htmx is not None and bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def render_partial(
    request: HttpRequest,
    template: str,
    context: Mapping[str, Any],
    *,
    partial: str,
    status: int = 200,
) -> HttpResponse:
    """Render the page, or only its `partial` for htmx, with the same context."""
    name = f"{template}#{partial}" if wants_partial(request) else template
    response = render(request, name, context, status=status)
    patch_vary_headers(response, ["HX-Request"])
    return response


def redirect_to(request: HttpRequest, url: str) -> HttpResponse:
    """Redirect to another page after a change.

    htmx would follow a 302 and swap that page into its target, so it gets HX-Redirect instead.
    """
    if getattr(request, "htmx", None):
        return HttpResponseClientRedirect(url)
    return HttpResponseRedirect(url)


def with_toast[R: HttpResponse](
    request: HttpRequest,
    response: R,
    text: str,
    *,
    tone: Tone = "ok",
    undo_url: str = "",
) -> R:
    """Add a toast to the response.

    A fragment includes the toast out of band. Any other response leads to a page load, so the toast
    is stored as a Django message and shown by that page. The toast's Undo button posts to
    `undo_url`.
    """
    navigates = "HX-Redirect" in response or "HX-Refresh" in response or "HX-Location" in response
    if getattr(request, "htmx", None) and not navigates:
        context = {"text": text, "tone": tone, "undo_url": undo_url}
        response.write(render_to_string("components/_toast_oob.html", context, request))
    else:
        # Messages have no other free field for the URL of Undo.
        messages.add_message(request, _LEVELS[tone], text, extra_tags=undo_url)
    return response


def render_whole(
    request: HttpRequest, template: str, context: Mapping[str, Any], *, status: int = 200
) -> HttpResponse:
    """Respond to a form with a whole page, even if it was sent from a dialog.

    htmx replaces the body. The URL does not change, so a reload shows the page under the dialog
    again, not this response.
    """
    response = render(request, template, context, status=status)
    if getattr(request, "htmx", None):
        retarget(response, "body")
        reswap(response, "innerHTML show:window:top")  # type: ignore[arg-type]  # with a modifier
    return response

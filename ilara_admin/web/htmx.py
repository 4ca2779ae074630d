"""What views need to answer both a browser and htmx: pages, their partials and toasts."""

from collections.abc import Mapping
from typing import Any, Literal

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers
from django_htmx.http import HttpResponseClientRedirect, reswap, retarget
from django_htmx.middleware import HtmxDetails

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
    project: Project  # set by the views below /<project>/<environment>/
    environment: Environment


def wants_partial(request: HttpRequest) -> bool:
    """Whether htmx asked for a part of the page; a restored history entry needs all of it."""
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
    """Render the page, or only its `partial` when htmx asked. Both come from the same context."""
    name = f"{template}#{partial}" if wants_partial(request) else template
    response = render(request, name, context, status=status)
    patch_vary_headers(response, ["HX-Request"])
    return response


def redirect_to(request: HttpRequest, url: str) -> HttpResponse:
    """Send the browser to another page after a change.

    htmx would follow a 302 by itself and swap that page into its target, so it is told to navigate.
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
    """Tell staff what happened, beside `response`.

    A fragment carries the toast out of band. Any other answer ends in a page load, so the message
    waits in the session's messages and is shown by that page. `undo_url` is posted to by the
    toast's Undo button.
    """
    navigates = "HX-Redirect" in response or "HX-Refresh" in response or "HX-Location" in response
    if getattr(request, "htmx", None) and not navigates:
        context = {"text": text, "tone": tone, "undo_url": undo_url}
        response.write(render_to_string("components/_toast_oob.html", context, request))
    else:
        # Messages have one free slot, the extra tags: the address to post to for undoing.
        messages.add_message(request, _LEVELS[tone], text, extra_tags=undo_url)
    return response


def render_whole(
    request: HttpRequest, template: str, context: Mapping[str, Any], *, status: int = 200
) -> HttpResponse:
    """Answer a form with a page, also when it was sent from a dialog.

    htmx puts it in place of everything in sight. The address stays what it was, so that a reload
    brings back the page beneath the dialog, not the answer.
    """
    response = render(request, template, context, status=status)
    if getattr(request, "htmx", None):
        retarget(response, "body")
        reswap(response, "innerHTML show:window:top")  # type: ignore[arg-type]  # with a modifier
    return response

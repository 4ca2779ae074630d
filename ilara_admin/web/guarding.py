"""The page that asks for what the guard of an environment needs before a change.

A view does not know of it. It raises GuardRequired, or rather the service that it calls; then the
view runs once more in a transaction that is rolled back, to learn every change that it would make.
"""

from collections.abc import Callable
from typing import Any

from django.contrib.messages import get_messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django_htmx.http import reswap, retarget

from ilara_admin.core.audit import Actor
from ilara_admin.core.change_requests import (
    open_requests_about,
    request_edit,
    request_submit,
    why_not_requested,
)
from ilara_admin.core.changes import reason_of
from ilara_admin.core.diff import Change, differences
from ilara_admin.core.guard import (
    ChangeItem,
    Collected,
    GuardRequired,
    Missing,
    sentence,
)
from ilara_admin.models import ChangeRequest, Environment
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, wants_partial, with_toast

# The page's own fields. Those that confirm are read by web/access.actor_of.
NAME, BREAK, ACT = "guard_name", "break_glass", "guard_act"
REVIEW = "review"  # as ACT: a new change request; "review 12" is an edit of request 12
OWN = {NAME, BREAK, ACT, "reason", "csrfmiddlewaretoken"}
PAGE = "request_detail"

type AnswerView = Callable[[], HttpResponseBase]


def ask(
    request: HtmxHttpRequest, view: AnswerView, required: GuardRequired, *, may_break: bool,
    back: str,
) -> HttpResponseBase:  # fmt: skip
    """The page that asks, or the error that the view answers with. `back` is where Cancel leads."""
    response, collected = _collect(request, view)
    if response is not None:
        return response
    error = _error(request, required.missing, required.environment)
    return _ask(request, required.environment, collected, may_break, back, error)


def _error(request: HtmxHttpRequest, lacking: Missing, slug: str) -> str:
    """What was wrong with what this page posted."""
    if BREAK in request.POST and lacking.reason:
        return "Give a reason to break glass."
    if ACT not in request.POST:
        return ""
    if lacking.reason:
        return "Give a reason."
    return f"The name does not match. Type {slug}." if lacking.name else ""


# --- Collecting -----------------------------------------------------------------------------------


def _collect(
    request: HtmxHttpRequest, view: AnswerView
) -> tuple[HttpResponseBase | None, list[Collected]]:
    """What the view would change, or its response if that is an error or changes nothing."""
    collected: list[Collected] = []
    for name in request.FILES:
        for file in request.FILES.getlist(name):
            file.seek(0)
    session, messages = _session_and_messages(request)
    request.collecting = collected
    try:
        with transaction.atomic():
            response = view()
            transaction.set_rollback(True)
    finally:
        del request.collecting
    if response.status_code >= 400 or not collected:
        return response, []
    _restore(request, session, messages)
    return None, collected


def _session_and_messages(request: HtmxHttpRequest) -> tuple[dict[str, Any], int]:
    """What the rollback does not restore: the session, and the number of messages."""
    return dict(request.session.items()), len(_queued(request))


def _restore(request: HtmxHttpRequest, session: dict[str, Any], messages: int) -> None:
    for name in set(request.session.keys()) - session.keys():
        del request.session[name]
    for name, value in session.items():
        if request.session.get(name) != value:
            request.session[name] = value
    del _queued(request)[messages:]


def _queued(request: HtmxHttpRequest) -> list[Any]:
    """The messages that this request adds for the next page."""
    queued: list[Any] = getattr(get_messages(request), "_queued_messages", [])
    return queued


# --- The page -------------------------------------------------------------------------------------


def _ask(
    request: HtmxHttpRequest, slug: str, collected: list[Collected], may_break: bool, back: str,
    error: str,
) -> HttpResponse:  # fmt: skip
    lacking = Missing()
    for each in collected:
        lacking |= each.missing
    environment = _environment(request, collected, slug)
    items = [each.item for each in collected]
    problem = why_not_requested(environment, items) if lacking.approval else ""
    can_request = lacking.approval and not lacking.freeze and not problem
    mine = open_requests_about(items, request.user, environment) if can_request else []
    context = {
        "slug": slug,
        "title": f"{slug} is {'frozen' if lacking.freeze else 'guarded'}",
        "why": sentence(slug, lacking),
        "lacking": lacking,
        "changes": _changes(items),
        "fields": {name: each for name, each in request.POST.lists() if name not in OWN},
        "files": {name: [file.name for file in each] for name, each in request.FILES.lists()},
        "reason": reason_of(request),
        "continues": not lacking.approval and not lacking.freeze,
        "can_request": can_request,
        "problem": problem,
        "mine": mine,
        "may_break": may_break,
        "error": error,
        "cancel_url": back,
        "url": request.get_full_path(),
    }
    partial = wants_partial(request)
    template = "guard.html#guard" if partial else "guard.html"
    response = render(request, template, context, status=422)
    patch_vary_headers(response, ["HX-Request"])
    if partial:  # also if a button outside the dialog posted
        retarget(response, "#dialog")
        reswap(response, "innerHTML")
    return response


def _environment(request: HtmxHttpRequest, collected: list[Collected], slug: str) -> Environment:
    """The environment whose guard asks."""
    if request.environment.slug == slug:
        return request.environment
    places = [each.item.environment for each in collected if each.missing]
    siblings = request.environment.project.environments.select_related("project")
    return siblings.filter(pk__in=[place for place in places if place]).first() or (
        request.environment
    )


def _changes(items: list[ChangeItem]) -> list[tuple[str, list[Change]]]:
    """The differences by object."""
    at = timezone.localtime()
    return [
        (
            f"{item.object_type.replace('_', ' ')} {item.object_name}",
            differences(item.before or {}, item.after or {}, item.object_type, at=at),
        )
        for item in items
    ]


# --- Change requests ------------------------------------------------------------------------------


def submit(
    request: HtmxHttpRequest, view: AnswerView, *, may_break: bool, back: str
) -> HttpResponseBase:
    """Store what the view would change as a change request."""
    response, collected = _collect(request, view)
    if response is not None:
        return response
    lacking = Missing()
    for each in collected:
        lacking |= each.missing
    slug = next((each for each in _guarded(request, collected)), request.environment.slug)
    environment = _environment(request, collected, slug)
    items, reason = [each.item for each in collected], reason_of(request).strip()
    if lacking.reason:
        return _ask(request, slug, collected, may_break, back, "Give a reason.")
    actor = Actor.of_user(request.user)
    try:
        saved = _save(request, environment, items, actor, reason)
    except ValidationError as problem:
        error = " ".join(problem.messages)
        return _ask(request, slug, collected, may_break, back, error)
    url = reverse(PAGE, args=[environment.project.slug, environment.slug, saved.pk])
    text = f"Request {saved.pk} waits for a second person. Nothing was changed yet."
    return with_toast(request, redirect_to(request, url), text, tone="info")


def _guarded(request: HtmxHttpRequest, collected: list[Collected]) -> list[str]:
    """The slugs of the environments whose guard needs something."""
    places = {each.item.environment for each in collected if each.missing}
    if request.environment.pk in places or None in places:
        return [request.environment.slug]
    found = [place for place in places if place is not None]
    siblings = request.environment.project.environments.filter(pk__in=found)
    return list(siblings.values_list("slug", flat=True))


def _save(
    request: HtmxHttpRequest, environment: Environment, items: list[ChangeItem], actor: Actor,
    reason: str,
) -> ChangeRequest:  # fmt: skip
    number = request.POST[ACT].removeprefix(REVIEW).strip()
    for mine in open_requests_about(items, request.user, environment) if number else ():
        if str(mine.pk) == number:
            return request_edit(mine, items, actor=actor, reason=reason)
    if number:
        raise ValidationError(f"Request {number} is closed. Request a new review.")
    return request_submit(environment, items, actor=actor, reason=reason)

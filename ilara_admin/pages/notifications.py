"""A person's notifications of a project: the list, the bell, and the choice of kinds."""

from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from ilara_admin.core.notifications import (
    KEPT_DAYS,
    NotificationKind,
    all_kinds,
    choices_of,
    choices_set,
    kind_of,
    mail_problem,
    mark_read,
    scope_path,
)
from ilara_admin.models import (
    NotificationPlace,
    NotificationRecipient,
    Role,
)
from ilara_admin.web.access import environment_url, may, staff_view
from ilara_admin.web.filters import FilterForm, render_list
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast
from ilara_admin.web.pagination import KeysetPage

UNREAD = "unread"


def _kind_choices() -> list[tuple[str, str]]:
    return [("", "Everything"), *((kind.key, kind.label) for kind in all_kinds())]


class NotificationFilterForm(FilterForm):
    kind = forms.ChoiceField(label="About", required=False, choices=_kind_choices)
    show = forms.ChoiceField(required=False, choices=[("", "All"), (UNREAD, "Unread only")])


def visible_kinds(request: HtmxHttpRequest) -> list[NotificationKind]:
    return [kind for kind in all_kinds() if may(request, kind.role)]


@staff_view(Role.VIEWER)
def notification_list(request: HtmxHttpRequest) -> HttpResponse:
    """Newest first. A kind that the reader's role no longer may see is left out."""
    form = NotificationFilterForm(request)
    rows = _own(request).select_related("notification__environment").order_by("-pk")
    if not may(request, Role.ADMIN):
        rows = rows.filter(notification__kind__in=[kind.key for kind in visible_kinds(request)])
    if kind := form.value("kind"):
        rows = rows.filter(notification__kind=kind)
    if form.value("show") == UNREAD:
        rows = rows.filter(read_at=None)
    page = KeysetPage.of(rows, request)
    context = {
        "form": form,
        "page": page,
        "rows": [(row, kind_of(row.notification.kind)) for row in page.rows],
        "elsewhere": _elsewhere(request),
        "days": KEPT_DAYS,
    }
    return render_list(request, "ilara_admin/notification_list.html", context)


def _own(request: HtmxHttpRequest) -> Any:
    return NotificationRecipient.objects.filter(user=request.user, project=request.project)


def _elsewhere(request: HtmxHttpRequest) -> list[tuple[str, str, int]]:
    """Name, slugs and count of other projects with unread notifications."""
    found = {
        each.project: f"{scope_path(each)}notifications/"
        for each in reversed(request.environments)
        if each.project != request.project and request.user.unread.get(each.project.pk)
    }
    return [(project.name, url, request.user.unread[project.pk]) for project, url in found.items()]


@staff_view(Role.VIEWER)
def notification_bell(request: HtmxHttpRequest) -> HttpResponse:
    """The bell of the header, which asks for itself."""
    return render(request, "components/_bell.html")


@staff_view(Role.VIEWER)
def notification_open(request: HtmxHttpRequest, notification_id: int) -> HttpResponse:
    """Mark a notification as read and show what it is about."""
    row = get_object_or_404(
        _own(request).select_related("notification__environment__project"),
        notification=notification_id,
    )
    mark_read(request.user, request.project, notification_id)
    found = row.notification
    if not found.path:
        return redirect_to(request, environment_url(request, "notification_list"))
    return redirect_to(request, scope_path(found.environment) + found.path)


@staff_view(Role.VIEWER, "POST")
def notification_read(request: HtmxHttpRequest, notification_id: int) -> HttpResponse:
    get_object_or_404(_own(request), notification=notification_id)
    mark_read(request.user, request.project, notification_id)
    return redirect_to(request, environment_url(request, "notification_list"))


@staff_view(Role.VIEWER, "POST")
def notification_read_all(request: HtmxHttpRequest) -> HttpResponse:
    count = mark_read(request.user, request.project)
    text = f"Marked {count:,} as read." if count else "There was nothing unread."
    response = redirect_to(request, environment_url(request, "notification_list"))
    return with_toast(request, response, text, tone="ok" if count else "info")


@staff_view(Role.VIEWER, "GET", "POST")
def notification_choices(request: HtmxHttpRequest) -> HttpResponse:
    """Which kinds the reader gets in this project, and where."""
    problem = mail_problem(request.user)
    kinds = visible_kinds(request)
    if request.method == "POST":
        places = [NotificationPlace.PRODUCT, *([] if problem else [NotificationPlace.EMAIL])]
        chosen = {
            (kind.key, place): f"{kind.key}:{place}" in request.POST
            for kind in kinds
            for place in places
        }
        choices_set(request.user, request.project, chosen)
        response = redirect_to(request, environment_url(request, "notification_choices"))
        return with_toast(request, response, "Your choices are saved.")
    now = choices_of(request.user, request.project)
    rows = [
        (
            kind,
            now[kind.key, NotificationPlace.PRODUCT],
            now[kind.key, NotificationPlace.EMAIL] and not problem,
        )
        for kind in kinds
    ]
    context = {"rows": rows, "mail_problem": problem}
    return render(request, "ilara_admin/notification_choices.html", context)

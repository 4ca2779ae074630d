"""Change requests: the list, the page of one, its review, and applying and withdrawing it."""

import json
from dataclasses import replace
from typing import Any, NamedTuple

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, OuterRef, Q, Subquery
from django.http import Http404, HttpResponse
from django.shortcuts import render

from flags.dashboard.impact_panel import impact_with_job
from flags.engine.document import DocumentError, decode_document
from flags.models import Flag
from ilara_admin.core import change_requests, open_requests
from ilara_admin.core.api_keys import NewKey
from ilara_admin.core.changes import Conflict, reason_of
from ilara_admin.core.diff import Change
from ilara_admin.core.guard import ChangeItem
from ilara_admin.models import (
    AUDITED,
    ChangeApproval,
    ChangeRequest,
    ChangeRequestState,
    Role,
    Verdict,
)
from ilara_admin.pages.audit_text import audit_lines
from ilara_admin.pages.change_text import (
    TONES,
    ItemText,
    history_of,
    next_step,
    request_items,
    state_name,
)
from ilara_admin.pages.keys import show_once
from ilara_admin.web.access import actor_of, environment_url, get_or_404, may, staff_view
from ilara_admin.web.confirm import Confirm, changed_together, render_confirm, render_conflict
from ilara_admin.web.filters import FilterForm, render_list
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, render_partial, with_toast
from ilara_admin.web.pagination import KeysetPage
from ilara_admin.web.saved_views import view_tabs

WAITING, CLOSED, ALL = "waiting", "closed", "all"
STATES = {
    "": "Not closed",
    WAITING: "Waiting for me",
    **{state.value: state_name(state) for state in ChangeRequestState},
    CLOSED: "Closed",
    ALL: "All",
}
VIEWS = {
    "Open": "", "Waiting for me": f"state={WAITING}", "Closed": f"state={CLOSED}",
    "All": f"state={ALL}",
}  # fmt: skip
SEARCH = {"type": "search", "autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
SHOWN_ITEMS = 2  # of a request in the list


class RequestFilterForm(FilterForm):
    state = forms.ChoiceField(required=False, choices=STATES)
    author = forms.CharField(
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={**SEARCH, "placeholder": "Name"}),
    )
    object = forms.CharField(
        required=False,
        max_length=300,
        widget=forms.TextInput(
            attrs={**SEARCH, "class": "mono", "placeholder": "flag:new_tutorial"}
        ),
    )


class RequestRow(NamedTuple):
    request: ChangeRequest
    items: list[ItemText]
    more: int  # further changes
    state: str
    tone: str


@staff_view(Role.VIEWER)
def request_list(request: HtmxHttpRequest) -> HttpResponse:
    """Newest first; by default those that are not closed."""
    form = RequestFilterForm(request)
    approvals = ChangeApproval.objects.filter(
        request=OuterRef("pk"), version=OuterRef("version"), verdict=Verdict.APPROVE
    )
    counted = approvals.order_by().values("request").annotate(count=Count("pk")).values("count")
    found = ChangeRequest.objects.filter(_wanted(request, form), environment=request.environment)
    page = KeysetPage.of(found.annotate(approved=Subquery(counted)).order_by("-id"), request)
    rows = [
        RequestRow(row, items, max(len(row.items) - SHOWN_ITEMS, 0), *_state(row))
        for row, items in zip(
            page.rows, request_items(request, page.rows, most=SHOWN_ITEMS), strict=True
        )
    ]
    context = {
        "form": form,
        "page": page,
        "rows": rows,
        "views": view_tabs(request, "request_list", VIEWS),
    }
    return render_list(request, "ilara_admin/request_list.html", context)


def _state(row: ChangeRequest) -> tuple[str, str]:
    state = ChangeRequestState(row.state)
    return state_name(state), TONES.get(state, "")


def _wanted(request: HtmxHttpRequest, form: RequestFilterForm) -> Q:
    wanted = _in_state(request, form.value("state"))
    if author := form.value("author"):
        wanted &= Q(author_name__icontains=author)
    if about := form.value("object"):
        kind, colon, name = about.partition(":")
        if colon and kind in AUDITED:
            wanted &= open_requests.about(kind, name)
        else:
            wanted &= Q(items__contains=[{"object_id": about}]) | Q(
                items__contains=[{"object_name": about}]
            )
    return wanted


def _in_state(request: HtmxHttpRequest, state: str) -> Q:
    not_closed = Q(state__in=open_requests.NOT_CLOSED)
    if state == WAITING:
        may_approve = may(request, Role.LIVE_OPS)
        return not_closed & open_requests.waits_for(request.user, may_approve=may_approve)
    if state == CLOSED:
        return ~not_closed
    if state == ALL:
        return Q()
    return Q(state=state) if state else not_closed


# --- One request ----------------------------------------------------------------------------------


@staff_view(Role.VIEWER)
def request_detail(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    return _page(request, get_or_404(request, ChangeRequest, id=pk))


class Refusals(NamedTuple):
    """Why this user cannot take each step, as sentences; "" where the step is possible."""

    approve: str
    refuse: str
    withdraw: str
    apply: str


def _refusals(request: HtmxHttpRequest, row: ChangeRequest) -> Refusals:
    if not may(request, Role.LIVE_OPS):
        return Refusals(*[f"This needs the role {Role.LIVE_OPS.label.lower()}."] * 4)
    role = change_requests.needed_role(row)
    found = Refusals(
        change_requests.why_not_approve(row, request.user),
        change_requests.why_not_refuse(row, request.user),
        change_requests.why_not_withdraw(row, request.user),
        change_requests.why_not_apply(row),
    )
    if not found.apply and not may(request, role):
        return found._replace(apply=f"Applying this needs the role {role.label.lower()}.")
    return found


def _page(request: HtmxHttpRequest, row: ChangeRequest, error: str = "") -> HttpResponse:
    (items,) = request_items(request, [row])
    state, tone = _state(row)
    context: dict[str, Any] = {
        "row": row,
        "items": items,
        "state": state,
        "tone": tone,
        "next": next_step(request, row),
        "why_not": _refusals(request, row),
        "history": history_of(row),
        "as_json": request.GET.get("view") == "json",
        "may_review": may(request, Role.LIVE_OPS),
        "shows_impact": not row.is_closed and may(request, Role.LIVE_OPS),
        "comment": request.POST.get("comment", ""),
        "error": error,
    }
    if row.is_closed:
        context["lines"] = audit_lines(request, row.entries.order_by("id"))
    else:
        context["edit"] = _edit(request, row)
        if may(request, Role.LIVE_OPS):
            context["conflict"], context["impossible"] = _obstacles(row)
    status = 422 if error else 200
    return render(request, "ilara_admin/request_detail.html", context, status=status)


def _obstacles(row: ChangeRequest) -> tuple[Conflict | None, str]:
    """The conflict that applying would meet now, or why it is impossible."""
    try:
        return change_requests.request_conflict(row), ""
    except ValidationError as problem:
        return None, " ".join(problem.messages)


# --- Editing --------------------------------------------------------------------------------------

# The editor of a flag by the field that changes.
EDITORS = {
    "rules": "flag_rules",
    "variants": "flag_variants",
    "default": "flag_variants",
    "off": "flag_variants",
    "metadata": "flag_variants",
    "prerequisites": "flag_prerequisites",
}


class RequestEdit(NamedTuple):
    """The editor of what a request changes. With a `draft` the form posts to it, so that it opens
    with the content of the request; else it is a link."""

    label: str
    url: str
    draft: str = ""
    base: int = 0


def _edit(request: HtmxHttpRequest, row: ChangeRequest) -> RequestEdit | None:
    """For its author, if the request is about one flag or segment."""
    items = change_requests.items_of(row)
    if request.user.pk not in row.writers or len(items) != 1:
        return None
    (item,) = items
    if item.before is None:
        return None
    if item.object_type == "segment":
        url = environment_url(request, "segment_edit", item.object_id)
        return RequestEdit("Edit in the segment's editor", url)
    if item.object_type != "flag":
        return None
    label, flag_url = "Edit in the flag's editor", _flag_url(request, item)
    editors = {EDITORS.get(name, "") for name in {**item.before, **(item.after or {})}}
    flag = Flag.objects.filter(environment=request.environment, key=item.object_id).first()
    if len(editors) != 1 or "" in editors or item.whole is None or flag is None:
        return RequestEdit("Open the flag", flag_url)
    (editor,) = editors
    url = environment_url(request, editor, item.object_id)
    return RequestEdit(label, url, json.dumps(_document(item), ensure_ascii=False), flag.revision)


def _flag_url(request: HtmxHttpRequest, item: ChangeItem) -> str:
    return environment_url(request, "flag_detail", item.object_id)


def _document(item: ChangeItem) -> dict[str, Any]:
    """The document of a flag after the change."""
    return {name: value for name, value in (item.whole or {}).items() if name != "archived"}


# --- The impact -----------------------------------------------------------------------------------


@staff_view(Role.LIVE_OPS)
def request_impact(request: HtmxHttpRequest, pk: int, number: int) -> HttpResponse:
    """Who switches if one of the changes, of a flag, is applied now; `?everyone=1` evaluates all
    players."""
    row = get_or_404(request, ChangeRequest, id=pk)
    items = change_requests.items_of(row)
    if not 1 <= number <= len(items) or items[number - 1].object_type != "flag":
        raise Http404("No such change of a flag.")
    item = items[number - 1]
    flag = Flag.objects.filter(environment=request.environment, key=item.object_id).first()
    found, job = None, None
    if flag is not None and item.whole is not None and not row.is_closed:
        flag.environment = request.environment
        try:
            draft = decode_document(_document(item))
        except DocumentError:
            draft = flag.spec
        found, job = impact_with_job(
            request,
            flag,
            draft,
            archived=bool(item.whole.get("archived")),
            everyone="everyone" in request.GET,
        )
    context = {"row": row, "item": item, "number": number, "flag": flag, "impact": found,
               "job": job}  # fmt: skip
    return render_partial(request, "ilara_admin/request_impact.html", context, partial="impact")


# --- Reviewing ------------------------------------------------------------------------------------


@staff_view(Role.LIVE_OPS, "POST")
def request_review(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    """Approve, ask for changes or comment, as `verdict` says."""
    row = get_or_404(request, ChangeRequest, id=pk)
    actor, comment = actor_of(request), request.POST.get("comment", "")
    verdict, seen = request.POST.get("verdict", ""), request.POST.get("fingerprint", "")
    try:
        if verdict == Verdict.APPROVE:
            change_requests.request_approve(row, actor=actor, fingerprint=seen, comment=comment)
            text = "Approved."
        elif verdict == Verdict.REFUSE:
            change_requests.request_refuse(row, actor=actor, fingerprint=seen, comment=comment)
            text = "Changes requested."
        else:
            change_requests.request_comment(row, actor=actor, comment=comment)
            text = "Comment added."
    except ValidationError as problem:
        row.refresh_from_db()
        return _page(request, row, " ".join(problem.messages))
    return with_toast(request, redirect_to(request, _url(request, row)), text)


def _url(request: HtmxHttpRequest, row: ChangeRequest) -> str:
    return environment_url(request, "request_detail", row.pk)


@staff_view(Role.LIVE_OPS, "GET", "POST")
def request_withdraw(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    row = get_or_404(request, ChangeRequest, id=pk)
    refusal = change_requests.why_not_withdraw(row, request.user)
    if request.method == "POST" and not refusal:
        try:
            change_requests.request_withdraw(
                row, actor=actor_of(request), reason=reason_of(request)
            )
        except ValidationError as problem:
            refusal = " ".join(problem.messages)
        else:
            response = redirect_to(request, _url(request, row))
            return with_toast(request, response, f"Request {row.pk} withdrawn.")
    confirm = Confirm(
        title=f"Withdraw request {row.pk}",
        button="" if refusal else "Withdraw",
        cancel_url=_url(request, row),
        text=refusal or "It stays in the list of closed requests. Nothing is changed.",
        tone="danger",
        error=refusal if request.method == "POST" else "",
    )
    return render_confirm(request, confirm)


# --- Applying -------------------------------------------------------------------------------------


class SeenFingerprint(forms.Form):
    fingerprint = forms.CharField(widget=forms.HiddenInput)


@staff_view(Role.LIVE_OPS, "GET", "POST")
def request_apply(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    """Make the approved changes, after a dialog with the differences."""
    row = get_or_404(request, ChangeRequest, id=pk)
    role, url = change_requests.needed_role(row), _url(request, row)
    if not may(request, role):
        raise PermissionDenied(f"Applying this needs the role {role.label.lower()}.")
    error = ""
    if request.method == "POST":
        seen = request.POST.get("fingerprint", "")
        try:
            applied = change_requests.request_apply(row, actor=actor_of(request), fingerprint=seen)
        except ValidationError as problem:
            error = " ".join(problem.messages)
            row.refresh_from_db()
        except Conflict as conflict:
            return render_conflict(
                request,
                conflict,
                cancel_url=url,
                refused="Nothing was applied.",
                next_step="Edit the request, or withdraw it and make the change again.",
            )
        else:
            keys = [each for each in applied.made if isinstance(each, NewKey)]
            if keys:
                return show_once(request, keys[0])
            text = f"Applied request {row.pk}, in force on the next request."
            return changed_together(request, url, applied.entries, text)
    refusal = change_requests.why_not_apply(row)
    (items,) = request_items(request, [row])
    slug = request.environment.slug
    confirm = Confirm(
        title=f"Apply request {row.pk}",
        button="" if refusal else f"Apply to {slug}",
        cancel_url=url,
        text=refusal or f"This changes {slug}, in force on the next request:",
        changes=() if refusal else _changes(items),
        reason="hidden",
        form=SeenFingerprint(initial={"fingerprint": row.fingerprint}),
        error=error,
    )
    return render_confirm(request, confirm)


def _changes(items: list[ItemText]) -> list[Change]:
    """All differences; of several objects, each names its own."""
    if len(items) == 1:
        return items[0].changes or [Change(items[0].title, "", "")]
    return [
        replace(change, label=f"{each.entry.object_name}: {change.label}")
        for each in items
        for change in each.changes
    ]

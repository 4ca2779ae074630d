"""The audit log: who changed what, when and why, and Undo."""

from collections.abc import Sequence
from dataclasses import replace

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404

from flags.dashboard.affected import affected_flags, dependents_in_use
from flags.dashboard.views import impact_of
from flags.undo import after_undo
from ilara_admin.core.changes import (
    Conflict,
    entries_together,
    made_together,
    may_undo,
    needed_role,
    reason_of,
    undo_together,
    why_not_undoable,
)
from ilara_admin.core.diff import Change
from ilara_admin.core.text import isolated
from ilara_admin.models import AuditAction, AuditEntry, AuditEntryQuerySet, Role
from ilara_admin.pages.audit_text import audit_lines, entry_changes, page_of, verb_of
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.confirm import (
    ASKED,
    Affected,
    Confirm,
    render_confirm,
    render_conflict,
    undo_together_url_of,
)
from ilara_admin.web.filters import FilterForm, render_list
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast
from ilara_admin.web.pagination import KeysetPage

KINDS = {
    "flag": "Flags",
    "segment": "Segments",
    "player": "Players",
    "event_name": "Events",
    "api_key": "API keys",
    "environment": "Environments",
    "project": "Projects",
    "staff": "Staff",
}
SHOWN_CHANGES = 3  # as a sentence
SEARCH = {"type": "search", "autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}


class AuditFilterForm(FilterForm):
    object = forms.CharField(
        required=False,
        max_length=300,
        widget=forms.TextInput(
            attrs={**SEARCH, "class": "mono", "placeholder": "flag:new_tutorial"}
        ),
    )
    kind = forms.ChoiceField(
        label="Type", required=False, choices=[("", "Everything"), *KINDS.items()]
    )
    actor = forms.CharField(
        label="Who",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={**SEARCH, "placeholder": "Name"}),
    )


@staff_view(Role.VIEWER)
def audit_list(request: HtmxHttpRequest) -> HttpResponse:
    """Newest first. Only admins see entries about staff."""
    form = AuditFilterForm(request)
    entries = _visible(request)
    if kind := form.value("kind"):
        entries = entries.filter(object_type=kind)
    if actor := form.value("actor"):
        entries = entries.filter(actor_name__icontains=actor)
    if wanted := form.value("object"):
        entries = entries.about(wanted)
    page = KeysetPage.of(entries.order_by("-id"), request)
    context = {
        "form": form,
        "page": page,
        "lines": audit_lines(request, page.rows),
        "together": made_together(page.rows),
    }
    return render_list(request, "ilara_admin/audit_list.html", context)


def _visible(request: HtmxHttpRequest) -> AuditEntryQuerySet:
    """Changes of staff are for admins."""
    if request.user.may(Role.ADMIN):
        return AuditEntry.objects.with_staff(request.environment)
    return AuditEntry.objects.of(request.environment)


@staff_view(Role.SUPPORT, "GET", "POST")
def audit_undo(request: HtmxHttpRequest, entry_id: int) -> HttpResponse:
    """Undo a change. Needs the role of the change that this makes."""
    return _undo(request, [get_object_or_404(_visible(request), pk=entry_id)])


@staff_view(Role.SUPPORT, "GET", "POST")
def audit_undo_together(request: HtmxHttpRequest, entry_id: int) -> HttpResponse:
    """Undo a change and all others that were made with it, like those of a bulk action."""
    return _undo(request, entries_together(get_object_or_404(_visible(request), pk=entry_id)))


def _undo(request: HtmxHttpRequest, entries: Sequence[AuditEntry]) -> HttpResponse:
    """Undo these entries, newest first, all or none."""
    refusal = next(filter(None, map(why_not_undoable, entries)), "")
    for entry in entries:
        if not refusal and not may_undo(entry, request.user):
            raise PermissionDenied(_who_may(entry))
    error = ""
    # The Undo of a toast posts without asking first.
    asked = request.method == "POST" and ASKED in request.POST
    affected = [] if refusal or asked else _affected_by_all(request, entries)
    if request.method == "POST" and not refusal and (asked or not affected):
        try:
            undone = undo_together(entries, actor=actor_of(request), reason=reason_of(request))
        except ValidationError as problem:
            error = " ".join(problem.messages)
        except Conflict as conflict:
            return render_conflict(request, conflict, cancel_url=_after(request, entries[0]))
        else:
            return _done(request, entries[0], undone)
    subject = f"{entries[0].actor_name} {_list_of(entries)}"
    confirm = Confirm(
        title=_title(entries),
        button="" if refusal else "Undo" if len(entries) == 1 else "Undo all",
        cancel_url=environment_url(request, "audit_list"),
        text=f"{subject}. {refusal or 'This puts back what was there before:'}",
        changes=() if refusal else _changes(request, entries),
        affected=affected,
        error=error or (refusal if request.method == "POST" else ""),
    )
    return render_confirm(request, confirm)


def _title(entries: Sequence[AuditEntry]) -> str:
    if len(entries) == 1:
        return f"Undo a change of {isolated(entries[0].object_name)}"
    return f"Undo {len(entries)} changes"


def _list_of(entries: Sequence[AuditEntry]) -> str:
    """`created the segment whales and turned off the flag checkout`, oldest first."""
    parts = [f"{verb_of(each)} {isolated(each.object_name)}" for each in reversed(entries)]
    if len(parts) > SHOWN_CHANGES:
        return f"made {len(parts)} changes at once"
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _changes(request: HtmxHttpRequest, entries: Sequence[AuditEntry]) -> list[Change]:
    """What the undo changes. Of several entries, each change names its object."""
    if len(entries) == 1:
        return entry_changes(request, entries[0], entries[0].after, entries[0].before)
    found = []
    for entry in entries:
        name = f"{entry.object_type.replace('_', ' ')} {entry.object_name}"
        if entry.before is None or entry.after is None:
            sides = ("there", "deleted") if entry.before is None else ("deleted", "there again")
            found.append(Change(name, *sides))
            continue
        found += [
            replace(change, label=f"{name}: {change.label}")
            for change in entry_changes(request, entry, entry.after, entry.before)
        ]
    return found


def _affected_by_all(request: HtmxHttpRequest, entries: Sequence[AuditEntry]) -> list[Affected]:
    """The flags that are affected by the undo, without those that are undone themselves."""
    own = {entry.object_id for entry in entries if entry.object_type == "flag"}
    found = [each for entry in entries for each in _affected(request, entry)]
    return list({each.name: each for each in found if each.name not in own}.values())


def _affected(request: HtmxHttpRequest, entry: AuditEntry) -> list[Affected]:
    """The flags in which the undo of a change of another flag changes something."""
    found = after_undo(entry)
    if found is None:
        return []
    flag, document, archived = found
    if not dependents_in_use(request, flag):
        return []
    impact = impact_of(request, flag, document, archived=archived)
    return affected_flags(request, flag, impact, only_changed=True)


def _who_may(entry: AuditEntry) -> str:
    if entry.action in (AuditAction.PLAYER_NOTE_ADDED, AuditAction.PLAYER_NOTE_DELETED):
        return "Only its author and admins may delete a note or restore it."
    return f"Undoing this needs the role {needed_role(entry).label.lower()}."


def _done(
    request: HtmxHttpRequest, entry: AuditEntry, undone: Sequence[AuditEntry]
) -> HttpResponse:
    response = redirect_to(request, _after(request, undone[0] if undone else entry))
    if undone:
        undo_url = undo_together_url_of(request, undone)
        return with_toast(request, response, "Undone. It is as it was before.", undo_url=undo_url)
    if entry.action == AuditAction.SEGMENT_LIST_CHANGED:
        text = "The undo has started. “Last changes” shows its progress."
    else:
        text = "Nothing was changed."
    return with_toast(request, response, text, tone="info")


def _after(request: HtmxHttpRequest, entry: AuditEntry) -> str:
    """The page of what was changed."""
    if entry.object_type == "staff":
        request.user.refresh_from_db()
        if not request.user.may(Role.ADMIN):
            return environment_url(request, "key_list")
    return page_of(request, entry) or environment_url(request, "audit_list")

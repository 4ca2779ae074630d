"""The audit log: who changed what, when and why, and Undo."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from flags.dashboard.affected import affected_flags, dependents_in_use
from flags.dashboard.views import impact_of
from flags.undo import after_undo
from ilara_admin.core.audit import audit_record
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
from ilara_admin.core.local_times import day_starts
from ilara_admin.core.text import isolated
from ilara_admin.models import AuditAction, AuditEntry, AuditEntryQuerySet, Role
from ilara_admin.pages import audit_export
from ilara_admin.pages.audit_masks import readable_entries
from ilara_admin.pages.audit_search import BY, AuditReader, Wanted, actors
from ilara_admin.pages.audit_text import (
    CHANGES,
    EXPORTS,
    SEEN,
    VERBS,
    audit_lines,
    entry_changes,
    page_of,
    verb_of,
)
from ilara_admin.web.access import actor_of, environment_url, sees_personal, staff_view
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
from ilara_admin.web.saved_views import plain_query, view_tabs
from players.models import Player
from players.services import personal_data_seen

KINDS = {
    "flag": "Flags",
    "segment": "Segments",
    "experiment": "Experiments",
    "experiment_group": "Experiment groups",
    "metric": "Metrics",
    "player": "Players",
    "event_name": "Events",
    "api_key": "API keys",
    "environment": "Environments",
    "project": "Projects",
    "channel": "Channels",
    "staff": "Staff",
    "change_request": "Change requests",
    "freeze_window": "Freezes",
}
PAGE_ENTRIES = 35  # describing what changed takes most of the time
BREAK_GLASS = "break_glass"
SHOWN = {
    "": CHANGES, BREAK_GLASS: CHANGES, "seen": SEEN, "exports": EXPORTS,
    "all": tuple(AuditAction),
}  # fmt: skip
SHOWN_NAMES = {
    "": "Changes", BREAK_GLASS: "Break-glass only", "seen": "Who saw personal data",
    "exports": "Exports", "all": "All",
}  # fmt: skip
VIEWS = {name: f"show={show}" if show else "" for show, name in SHOWN_NAMES.items()}
BY_NAMES = dict(zip(BY, ("Staff", "API keys", "Commands"), strict=True))
SHOWN_CHANGES = 3  # as a sentence
SHOWN_TOGETHER = 50
SEARCH = {"type": "search", "autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


class AuditFilterForm(FilterForm):
    show = forms.ChoiceField(required=False, choices=SHOWN_NAMES)
    kind = forms.ChoiceField(
        label="What",
        required=False,
        choices=[
            ("", "Everything"),
            *(
                (
                    name,
                    [
                        (kind, f"All of {name}"),
                        *(
                            (action, _capital(verb))
                            for action, verb in VERBS.items()
                            if action.partition(".")[0] == kind
                        ),
                    ],
                )
                for kind, name in KINDS.items()
            ),
        ],
    )
    by = forms.ChoiceField(required=False, choices=[("", "Anyone"), *BY_NAMES.items()])
    actor = forms.CharField(
        label="Who",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={**SEARCH, "placeholder": "Name", "list": "actors"}),
    )
    object = forms.CharField(
        required=False,
        max_length=300,
        widget=forms.TextInput(
            attrs={**SEARCH, "class": "mono", "placeholder": "flag:new_tutorial"}
        ),
    )
    reason = forms.CharField(
        required=False,
        max_length=100,
        widget=forms.TextInput(attrs={**SEARCH, "placeholder": "Words"}),
    )
    since = forms.DateField(label="From", required=False, widget=forms.DateInput({"type": "date"}))
    until = forms.DateField(label="To", required=False, widget=forms.DateInput({"type": "date"}))

    def _text(self, name: str) -> str:
        given: Any = self.cleaned_data[name]
        if isinstance(given, date):
            return f"{given.day} {given:%b %Y}"
        if name == "kind":
            return KINDS[given] if given in KINDS else _capital(VERBS[AuditAction(given)])
        return super()._text(name)

    @property
    def wanted(self) -> Wanted:
        return Wanted(
            actions=_actions(self.value("show"), self.value("kind")),
            by=self.value("by"),
            actor=self.value("actor"),
            about=self.value("object"),
            reason=self.value("reason"),
            since=self._day("since", 0),
            until=self._day("until", 1),
            break_glass=self.value("show") == BREAK_GLASS,
        )

    def _day(self, name: str, end: int) -> datetime | None:
        """The start of a day in the person's zone, or its end."""
        day: date | None = self.cleaned_data.get(name)
        return day_starts(day, 1, timezone.get_current_timezone())[end] if day else None


def _actions(show: str, kind: str) -> list[str]:
    """A chosen action is shown even if the view hides it."""
    if kind and kind not in KINDS:
        return [kind]
    return [each for each in SHOWN[show] if not kind or each.partition(".")[0] == kind]


@staff_view(Role.VIEWER)
def audit_list(request: HtmxHttpRequest) -> HttpResponse:
    """Newest first; by default without exports and looks at personal data. Only admins see entries
    about members, and only owners those about accounts."""
    form = AuditFilterForm(request)
    reader = _reader(request, form)
    newest_first = AuditEntry.objects.order_by("-created_at", "-id")
    page = KeysetPage.of(newest_first, request, size=PAGE_ENTRIES, read=reader.read)
    context = {
        "form": form,
        "page": page,
        "lines": audit_lines(request, page.rows),
        "together": made_together(page.rows),
        "views": view_tabs(request, "audit_list", VIEWS),
        "actors": actors(request.environment),
        "query": plain_query(request.GET.urlencode()),
        "most": audit_export.MOST,
    }
    return render_list(request, "ilara_admin/audit_list.html", context)


def _reader(request: HtmxHttpRequest, form: AuditFilterForm) -> AuditReader:
    return AuditReader(request.environment, form.wanted, request.user)


def _visible(request: HtmxHttpRequest) -> AuditEntryQuerySet:
    return AuditEntry.objects.visible_to(request.user, request.environment)


@staff_view(Role.VIEWER)
def audit_entry(request: HtmxHttpRequest, entry_id: int) -> HttpResponse:
    """One entry: its values before and after in words, or with `?view=json` as stored."""
    entry = get_object_or_404(_visible(request), pk=entry_id)
    (line,) = audit_lines(request, [entry])
    together = [each for each in entries_together(entry) if each != entry]
    if entry.object_type == "player" and sees_personal(request):
        _seen(request, entry)
    context = {
        "line": line,
        "as_json": request.GET.get("view") == "json",
        "before": audit_export.stored(line.entry.before),
        "after": audit_export.stored(line.entry.after),
        "others": audit_lines(request, together[:SHOWN_TOGETHER]),
        "more": max(len(together) - SHOWN_TOGETHER, 0),
        "undo_all": bool(together),
    }
    return render(request, "ilara_admin/audit_entry.html", context)


def _seen(request: HtmxHttpRequest, entry: AuditEntry) -> None:
    """Record the look, if the entry has personal data of a player."""
    if audit_export.has_personal(request.environment, entry):
        player = Player.objects.of(request.environment).filter(pk=entry.object_id).first()
        if player is not None:
            player.environment = request.environment
            personal_data_seen(player, actor=actor_of(request))


@staff_view(Role.VIEWER, "POST")
def audit_export_file(request: HtmxHttpRequest) -> StreamingHttpResponse:
    """The newest entries that match the filters as CSV, or with `format=jsonl` as JSON lines, as
    this role may see them."""
    form = AuditFilterForm(request)
    reader = _reader(request, form)
    kind = "jsonl" if request.POST.get("format") == "jsonl" else "csv"
    given = {name: str(form.cleaned_data[name]) for name in form.fields if form.value(name)}
    audit_record(
        AuditAction.ENVIRONMENT_AUDIT_EXPORTED,
        actor_of(request),
        environment=request.environment,
        object_id=request.environment.pk,
        object_name=str(request.environment),
        after={"format": kind, **given},
    )
    entries = _all_entries(request, reader)
    lines = audit_export.json_lines(entries) if kind == "jsonl" else audit_export.csv_lines(entries)
    name = f"audit-{request.project.slug}-{request.environment.slug}.{kind}"
    return StreamingHttpResponse(
        lines,
        content_type=f"{audit_export.TYPES[kind]}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _all_entries(request: HtmxHttpRequest, reader: AuditReader) -> Iterator[AuditEntry]:
    """Up to audit_export.MOST entries, few in memory."""
    after: tuple[Any, ...] | None = None
    for _ in range(audit_export.MOST // audit_export.STEP):
        rows = reader.read(after, audit_export.STEP)
        yield from readable_entries(request, rows)
        if len(rows) < audit_export.STEP:
            return
        after = (rows[-1].created_at, rows[-1].pk)


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
        changes=() if refusal else _changes(entries),
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


def _changes(entries: Sequence[AuditEntry]) -> list[Change]:
    """What the undo changes. Of several entries, each change names its object."""
    if len(entries) == 1:
        return entry_changes(entries[0], entries[0].after, entries[0].before)
    found = []
    for entry in entries:
        name = f"{entry.object_type.replace('_', ' ')} {entry.object_name}"
        if entry.before is None or entry.after is None:
            sides = ("there", "deleted") if entry.before is None else ("deleted", "there again")
            found.append(Change(name, *sides))
            continue
        found += [
            replace(change, label=f"{name}: {change.label}")
            for change in entry_changes(entry, entry.after, entry.before)
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
    return page_of(request, entry) or environment_url(request, "audit_list")

"""Archive a flag, at once or after a shadow period, take that back, and unarchive it."""

from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.utils import timezone

from flags import services
from flags.dashboard.affected import affected_flags
from flags.dashboard.forms import ArchiveForm
from flags.dashboard.impact_panel import DialogImpact, asks_everyone, dialog_impact
from flags.dashboard.shortcuts import done, get_flag_or_404
from flags.dashboard.stale import asked_last
from flags.engine import sentences
from flags.models import Flag
from flags.services import Saved
from flags.shadow import flag_archive_later
from ilara_admin.core.changes import reason_of
from ilara_admin.core.diff import Change
from ilara_admin.models import Role
from ilara_admin.templatetags.ilara import reltime_words
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.confirm import Confirm, render_confirm
from ilara_admin.web.htmx import HtmxHttpRequest


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_archive(request: HtmxHttpRequest, key: str, state: str) -> HttpResponse:
    flag = get_flag_or_404(request, key)
    archived, posted = state == "archive", request.method == "POST"
    # The Undo of a toast posts no number of days.
    form = ArchiveForm({"days": "0", **request.POST.dict()} if posted else None)
    error = ""
    if posted and form.is_valid() and not asks_everyone(request):
        days = form.cleaned_data["days"] if archived else 0
        try:
            saved, entry = _archive(request, flag, archived, days)
        except ValidationError as problem:
            error = " ".join(problem.messages)
        else:
            when = f"archives on {_moment(saved.archives_at)}" if saved.archives_at else ""
            return done(request, saved, entry, f"{key} {when or f'is {state}d'}.")
    shown = DialogImpact()
    if not flag.problem:
        shown = dialog_impact(request, flag, flag.spec, archived=archived)
    return render_confirm(
        request,
        Confirm(
            title=f"{state.capitalize()} {key}",
            button=state.capitalize(),
            cancel_url=environment_url(request, "flag_detail", key),
            text=_archive_text(flag, archived),
            figures=shown.html,
            second_button=shown.second_button,
            affected=affected_flags(request, flag, shown.impact),
            form=form if archived else None,
            error=error,
        ),
    )


def _archive(request: HtmxHttpRequest, flag: Flag, archived: bool, days: int) -> Saved:
    actor, reason = actor_of(request), reason_of(request)
    if days:
        at = (timezone.now() + timedelta(days=days)).replace(second=0, microsecond=0)
        return flag_archive_later(flag, at, actor=actor, reason=reason)
    return services.flag_set_archived(flag, archived, actor=actor, reason=reason)


def _moment(at: datetime) -> str:
    return sentences.short_moment(at, timezone.localtime(), always_clock=True)


def _archive_text(flag: Flag, archived: bool) -> str:
    if flag.problem:
        return f"The stored document cannot be read. {flag.problem}"
    if not archived:
        return "The flag returns to the In use tab and its rules apply again."
    document = flag.spec
    off = sentences.value_text(document.variant(document.off).value)
    text = f"Players get {off}. The flag moves to the Archived tab and keeps its history."
    return f"{text} {_asked_text(flag, timezone.now())}".strip()


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_keep(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """Cancel the archiving of a flag in its shadow period."""
    flag = get_flag_or_404(request, key)
    if request.method == "POST" or not flag.archives_at:
        actor, reason = actor_of(request), reason_of(request)
        flag, entry = flag_archive_later(flag, None, actor=actor, reason=reason)
        return done(request, flag, entry, f"{key} stays in use.")
    return render_confirm(
        request,
        Confirm(
            title=f"Keep {key}",
            button="Keep the flag",
            cancel_url=environment_url(request, "flag_detail", key),
            text="It will not be archived. It serves as before.",
            changes=[Change("Archives", _moment(flag.archives_at), "never")],
        ),
    )


def _asked_text(flag: Flag, now: datetime) -> str:
    """`Asked last by ilara-go/1.1, 2 h ago.`, or "" without a known client."""
    client = asked_last([flag]).get(flag.pk)
    when = client and reltime_words(client.last_at, now)
    return f"Asked last by {client.client}, {when}." if client else ""

"""Actions on a flag: switch, percentage, order, restore, archive, clone."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import msgspec
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.html import escape

from flags import services
from flags.dashboard.affected import affected_flags
from flags.dashboard.forms import ArchiveForm, CloneForm, RolloutForm
from flags.dashboard.impact import Impact
from flags.dashboard.shortcuts import done, get_flag_or_404, readable_flag
from flags.dashboard.stale import asked_text
from flags.dashboard.views import impact_of
from flags.engine import sentences
from flags.engine.document import DocumentError, FlagDocument, read_document
from flags.engine.schedule import figure_at
from flags.models import Flag, FlagRevision
from flags.shadow import flag_archive_later
from flags.validation import lost_variants_text
from ilara_admin.core.changes import Conflict, reason_of
from ilara_admin.core.diff import Change
from ilara_admin.core.percentages import as_percent, percent, thousandths
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.confirm import (
    PREVIEW,
    Confirm,
    is_review,
    posted_again,
    render_confirm,
    render_conflict,
)
from ilara_admin.web.forms import add_errors
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast


def _conflict(request: HtmxHttpRequest, flag: Flag, conflict: Conflict) -> HttpResponse:
    """The conflict page. Overwrite repeats the POST for the current revision."""
    url = f"{request.path}?from={conflict.current}"
    return render_conflict(
        request,
        conflict,
        cancel_url=environment_url(request, "flag_detail", flag.key),
        fields=posted_again(request),
        save_url=url,
        review_url=url,
    )


def _impact_text(found: Impact | None) -> str:
    return f" {found.headline} {found.basis}".rstrip() if found else ""


def _preview(request: HtmxHttpRequest, flag: Flag, draft: FlagDocument) -> str:
    """Who switches, here and in the flags that depend on this one."""
    found = impact_of(request, flag, draft)
    others = affected_flags(request, flag, found, only_changed=True) if found else []
    texts = [_impact_text(found).strip(), *(f"{each.name}: {each.text}" for each in others)]
    return " ".join(filter(None, texts))


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_switch(request: HtmxHttpRequest, key: str, state: str) -> HttpResponse:
    """Turn a flag on or off, even if its rules cannot be read. The URL names the target state, so
    repeating the request does not toggle it back."""
    flag = get_flag_or_404(request, key)
    enabled = state == "on"
    if flag.archived_at:
        response = redirect_to(request, environment_url(request, "flag_detail", key))
        return with_toast(request, response, f"{key} is archived. Unarchive it first.", tone="warn")
    error = ""
    if request.method == "POST":
        try:
            flag, entry = services.flag_set_enabled(
                flag, enabled, actor=actor_of(request), reason=reason_of(request)
            )
        except ValidationError as problem:
            error = " ".join(problem.messages)
        else:
            text = f"{key} is {state}. Players see it at their next request."
            return done(request, flag, entry, text)
    found = None
    if not flag.problem:
        found = impact_of(request, flag, msgspec.structs.replace(flag.spec, enabled=enabled))
    return render_confirm(
        request,
        Confirm(
            title=f"Turn {state} {key}",
            button=f"Turn {state} in {request.environment.slug}",
            cancel_url=environment_url(request, "flag_detail", key),
            text=_switch_text(flag, enabled, found),
            affected=affected_flags(request, flag, found),
            tone="primary" if enabled else "danger",
            changes=[Change("State", "off" if enabled else "on", state)],
            error=error,
        ),
    )


def _switch_text(flag: Flag, enabled: bool, found: Impact | None) -> str:
    if flag.problem:
        return f"The stored document cannot be read. {flag.problem}"
    document = flag.spec
    off = sentences.value_text(document.variant(document.off).value)
    consequence = (
        "Its rules apply from the next request on."
        if enabled
        else f"Everyone gets {off} from the next request on. The rules are not changed."
    )
    return consequence + _impact_text(found)


@staff_view(Role.LIVE_OPS, "GET", "POST")
@readable_flag
def flag_rollout(request: HtmxHttpRequest, flag: Flag, rule_id: str) -> HttpResponse:
    """Set the percentage of one rule."""
    key, document = flag.key, flag.spec
    rule = next((item for item in document.rules if item.id == rule_id), None)
    if rule is None:
        response = redirect_to(request, environment_url(request, "flag_detail", key))
        return with_toast(request, response, "That rule no longer exists.", tone="warn")
    figure = figure_at(rule, timezone.now())
    form = RolloutForm(
        request.get_full_path(), request.POST or None, initial={"rollout": as_percent(figure)}
    )
    wanted = thousandths(form.cleaned_data["rollout"]) if form.is_valid() else None
    preview = ""
    if wanted is not None and "ask" in request.POST:
        preview = _preview(request, flag, document.with_rollout(rule_id, wanted))
    if request.htmx.target == PREVIEW:
        return HttpResponse(escape(preview))
    if wanted is not None and "ask" not in request.POST and not is_review(request):
        try:
            _, entry = services.flag_update(
                flag,
                document=document.with_rollout(rule_id, wanted),
                base_revision=_base_revision(request, flag),
                actor=actor_of(request),
                reason=reason_of(request),
            )
        except Conflict as conflict:
            return _conflict(request, flag, conflict)
        except ValidationError as problem:
            form.add_error(None, problem.messages)
        else:
            text = f"{key}: {sentences.audience(rule)} at {percent(wanted)}."
            return done(request, flag, entry, text)
    return render_confirm(
        request,
        Confirm(
            title=f"Set the percentage of {key}",
            button=f"Save to {request.environment.slug}",
            cancel_url=environment_url(request, "flag_detail", key),
            text=(
                f"Now {percent(figure)} of {sentences.audience(rule)}. Raising it removes "
                "no players; lowering it removes the players added last."
                + (" Saving ends the schedule." if rule.steps or rule.ramp else "")
            ),
            form=form,
            preview=preview,
        ),
    )


def _base_revision(request: HtmxHttpRequest, flag: Flag) -> int:
    """The revision shown when the action was offered, from `?from=`."""
    text = request.GET.get("from", "")
    return int(text) if text.isdecimal() and len(text) < 10 else flag.revision


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_restore(request: HtmxHttpRequest, key: str, number: int) -> HttpResponse:
    """Save an old revision as a new one."""
    flag = get_flag_or_404(request, key)
    revision = get_object_or_404(flag.revisions, number=number)
    error = ""
    if request.method == "POST" and not is_review(request):
        try:
            _, entry = services.flag_restore(
                flag,
                number,
                base_revision=_base_revision(request, flag),
                actor=actor_of(request),
                reason=reason_of(request),
            )
        except Conflict as conflict:
            return _conflict(request, flag, conflict)
        except ValidationError as problem:
            error = " ".join(problem.messages)
        else:
            return done(request, flag, entry, f"Restored revision {number} of {key}.")
    changes = services.differences(flag, revision)
    draft = _readable(revision)
    found = impact_of(request, flag, draft) if draft else None
    if draft and not error:
        error = lost_variants_text(flag, draft)
    return render_confirm(
        request,
        Confirm(
            title=f"Restore revision {number} of {key}",
            button=f"Restore in {request.environment.slug}",
            cancel_url=environment_url(request, "flag_detail", key),
            text=_restore_text(changes, draft, found),
            changes=changes,
            affected=affected_flags(request, flag, found),
            error=error,
        ),
    )


def _readable(revision: FlagRevision) -> FlagDocument | None:
    with suppress(DocumentError):
        return read_document(revision.document)
    return None


def _restore_text(
    changes: Sequence[Change], draft: FlagDocument | None, found: Impact | None
) -> str:
    if not changes:
        return "This revision equals the current one."
    return _impact_text(found).strip() if draft else "This revision cannot be read."


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_archive(request: HtmxHttpRequest, key: str, state: str) -> HttpResponse:
    """Archive or unarchive a flag, or archive it after a shadow period."""
    flag, now = get_flag_or_404(request, key), timezone.now()
    archived, posted = state == "archive", request.method == "POST"
    data = (
        {"days": "0", **request.POST.dict()} if posted else None
    )  # the Undo of a toast sends none
    form = ArchiveForm(data) if archived else None
    error = ""
    if posted and (form is None or form.is_valid()):
        actor, reason = actor_of(request), reason_of(request)
        days = form.cleaned_data["days"] if form else 0
        try:
            if days:
                at = now + timedelta(days=days)
                flag, entry = flag_archive_later(flag, at, actor=actor, reason=reason)
                text = f"{key} archives on {sentences.moment(at)}."
            else:
                flag, entry = services.flag_set_archived(flag, archived, actor=actor, reason=reason)
                text = f"{key} is {state}d."
        except ValidationError as problem:
            error = " ".join(problem.messages)
        else:
            return done(request, flag, entry, text)
    found = None if flag.problem else impact_of(request, flag, flag.spec, archived=archived)
    text = _archive_text(flag, archived, found)
    return render_confirm(
        request,
        Confirm(
            title=f"{'Archive' if archived else 'Unarchive'} {key}",
            button="Archive" if archived else "Unarchive",
            cancel_url=environment_url(request, "flag_detail", key),
            text=f"{text} {asked_text(flag, now)}".strip() if archived else text,
            affected=affected_flags(request, flag, found),
            form=form,
            error=error,
        ),
    )


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_keep(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """Cancel the archiving of a flag in its shadow period."""
    flag = get_flag_or_404(request, key)
    if request.method == "POST" or not flag.archives_at:
        flag, entry = flag_archive_later(
            flag, None, actor=actor_of(request), reason=reason_of(request)
        )
        return done(request, flag, entry, f"{key} stays in use.")
    return render_confirm(
        request,
        Confirm(
            title=f"Keep {key}",
            button="Keep the flag",
            cancel_url=environment_url(request, "flag_detail", key),
            text="It will not be archived. It serves as before.",
            changes=[Change("Archives", sentences.moment(flag.archives_at), "never")],
        ),
    )


def _archive_text(flag: Flag, archived: bool, found: Impact | None) -> str:
    if flag.problem:
        return f"The stored document cannot be read. {flag.problem}"
    document = flag.spec
    off = sentences.value_text(document.variant(document.off).value)
    consequence = (
        f"Players get {off}. The flag moves to the Archived tab and keeps its history."
        if archived
        else "The flag returns to the In use tab and its rules apply again."
    )
    return consequence + _impact_text(found)


@staff_view(Role.LIVE_OPS, "GET", "POST")
@readable_flag
def flag_move(request: HtmxHttpRequest, flag: Flag, rule_id: str) -> HttpResponse:
    """Move a rule up by one."""
    key, document = flag.key, flag.spec
    order = [rule.id for rule in document.rules]
    place = order.index(rule_id) if rule_id in order else 0
    if not place:
        response = redirect_to(request, environment_url(request, "flag_detail", key))
        return with_toast(request, response, "That rule cannot move further up.", tone="warn")
    order[place - 1 : place + 1] = order[place], order[place - 1]
    error = ""
    if request.method == "POST" and not is_review(request):
        try:
            _, entry = services.flag_reorder(
                flag,
                order,
                base_revision=_base_revision(request, flag),
                actor=actor_of(request),
                reason=reason_of(request),
            )
        except Conflict as conflict:
            return _conflict(request, flag, conflict)
        except ValidationError as problem:
            error = " ".join(problem.messages)
        else:
            text = f"{key}: moved rule {place + 1} up."
            return done(request, flag, entry, text)
    rules = {rule.id: rule for rule in document.rules}
    draft = msgspec.structs.replace(document, rules=tuple(rules[each] for each in order))
    found = impact_of(request, flag, draft)
    return render_confirm(
        request,
        Confirm(
            title=f"Move rule {place + 1} of {key} up",
            button=f"Move up in {request.environment.slug}",
            cancel_url=environment_url(request, "flag_detail", key),
            text="The first rule that matches a player decides." + _impact_text(found),
            affected=affected_flags(request, flag, found, only_changed=True),
            changes=[
                Change(
                    f"Rule {number}",
                    *(sentences.sentence(each.rules[number - 1]) for each in (document, draft)),
                )
                for number in (place, place + 1)
            ],
            error=error,
        ),
    )


@staff_view(Role.LIVE_OPS, "GET", "POST")
@readable_flag
def flag_clone(request: HtmxHttpRequest, flag: Flag) -> HttpResponse:
    """Copy a flag under another key."""
    key = flag.key
    form = CloneForm(request.POST or None, initial={"key": f"{key}-copy"[:128]})
    if request.method == "POST" and form.is_valid():
        try:
            clone = services.flag_clone(
                flag,
                **form.cleaned_data,
                actor=actor_of(request),
                reason=reason_of(request),
            )
        except ValidationError as problem:
            add_errors(form, problem)
        else:
            response = redirect_to(request, environment_url(request, "flag_detail", clone.key))
            return with_toast(request, response, f"Cloned {key} as {clone.key}, off.")
    return render_confirm(
        request,
        Confirm(
            title=f"Clone {key}",
            button="Clone",
            cancel_url=environment_url(request, "flag_detail", key),
            text="The copy has the same variants, rules and prerequisites. It is off.",
            form=form,
        ),
    )

"""Actions on a flag: switch, percentage, order, restore, archive, clone."""

from collections.abc import Sequence
from contextlib import suppress

import msgspec
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from flags import services
from flags.dashboard.affected import affected_experiments, affected_flags
from flags.dashboard.forms import CloneForm, RolloutForm
from flags.dashboard.guard_form import guard_form, guarded_done, guarded_save, render_guard
from flags.dashboard.impact import takes_a_sample
from flags.dashboard.impact_panel import (
    EVERYONE_BUTTON,
    DialogImpact,
    asks_everyone,
    dialog_impact,
)
from flags.dashboard.shortcuts import done, get_flag_or_404, readable_flag
from flags.engine import sentences
from flags.engine.document import DocumentError, FlagDocument, read_document
from flags.engine.schedule import figure_at
from flags.models import Flag, FlagRevision
from flags.validation import lost_variants_text
from ilara_admin.core.changes import Conflict, reason_of
from ilara_admin.core.diff import Change
from ilara_admin.core.percentages import as_percent, thousandths
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.confirm import (
    PREVIEW,
    Affected,
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


def _preview(request: HtmxHttpRequest, flag: Flag, draft: FlagDocument) -> SafeString:
    """Who switches, here and in the flags that depend on this one, and which experiments do not go
    on."""
    found, html = dialog_impact(request, flag, draft)
    affected = affected_flags(request, flag, found, only_changed=True) if found else []
    return format_html("{}{}", html, _affected(request, flag, draft, affected))


def _affected(
    request: HtmxHttpRequest, flag: Flag, draft: FlagDocument, flags: Sequence[Affected]
) -> SafeString:
    experiments = affected_experiments(request, flag, draft)
    context = {"affected": flags, "experiments": experiments}
    return render_to_string("flags/_affected.html", context)


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
    if request.method == "POST" and not asks_everyone(request):
        try:
            flag, entry = services.flag_set_enabled(
                flag, enabled, actor=actor_of(request), reason=reason_of(request)
            )
        except ValidationError as problem:
            error = " ".join(problem.messages)
        else:
            text = f"{key} is {state}. Players see it at their next request."
            return done(request, flag, entry, text)
    shown = DialogImpact()
    if not flag.problem:
        draft = msgspec.structs.replace(flag.spec, enabled=enabled)
        shown = dialog_impact(request, flag, draft)
    return render_confirm(
        request,
        Confirm(
            title=f"Turn {state} {key}",
            button=f"Turn {state} in {request.environment.slug}",
            cancel_url=environment_url(request, "flag_detail", key),
            text=_switch_text(flag, enabled),
            figures=shown.html,
            second_button=shown.second_button,
            affected=affected_flags(request, flag, shown.impact),
            tone="primary" if enabled else "danger",
            changes=[Change("State", "off" if enabled else "on", state)],
            error=error,
        ),
    )


def _switch_text(flag: Flag, enabled: bool) -> str:
    if flag.problem:
        return f"The stored document cannot be read. {flag.problem}"
    document = flag.spec
    off = sentences.value_text(document.variant(document.off).value)
    return (
        "Its rules apply from the next request on."
        if enabled
        else f"Everyone gets {off} from the next request on. The rules are not changed."
    )


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
    guard = guard_form(request, flag, rule_id)
    error = "Correct the guard below." if guard.errors else ""
    wanted = thousandths(form.cleaned_data["rollout"]) if form.is_valid() else None
    preview, asks = "", "ask" in request.POST or asks_everyone(request)
    draft = document if wanted is None else document.with_rollout(rule_id, wanted)
    if wanted is not None and asks:
        preview = _preview(request, flag, draft)
    if request.htmx.target == PREVIEW:
        return HttpResponse(preview)
    if wanted is not None and not asks and not is_review(request) and not guard.errors:
        try:
            entries = guarded_save(
                flag,
                {rule_id: guard},
                document=draft,
                base_revision=_base_revision(request, flag),
                actor=actor_of(request),
                reason=reason_of(request),
            )
        except Conflict as conflict:
            return _conflict(request, flag, conflict)
        except ValidationError as problem:
            error = " ".join(problem.messages)
        else:
            saved = next(each for each in draft.rules if each.id == rule_id)
            text = f"{key}: {sentences.sentence(saved, timezone.localtime())}."
            return guarded_done(request, flag, entries, text)
    return render_confirm(
        request,
        Confirm(
            title=f"Set the percentage of {key}",
            button=f"Save to {request.environment.slug}",
            cancel_url=environment_url(request, "flag_detail", key),
            text=(
                f"Now {sentences.sentence(rule, timezone.localtime())}. Raising it removes "
                "no players; lowering it removes the players added last."
                + (" Saving ends the schedule." if rule.steps or rule.ramp else "")
            ),
            form=form,
            more_fields=render_guard(request, guard, flag, rule_id),
            error=error,
            preview=preview,
            second_button=EVERYONE_BUTTON if takes_a_sample(request.environment.pk) else ("", ""),
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
    if request.method == "POST" and not is_review(request) and not asks_everyone(request):
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
    shown, others = DialogImpact(), ""
    if draft:
        shown = dialog_impact(request, flag, draft)
        others = "" if flag.problem else _affected(request, flag, draft, ())
    if draft and not error:
        error = lost_variants_text(flag, draft)
    return render_confirm(
        request,
        Confirm(
            title=f"Restore revision {number} of {key}",
            button=f"Restore in {request.environment.slug}",
            cancel_url=environment_url(request, "flag_detail", key),
            text=_restore_text(changes, draft),
            figures=format_html("{}{}", shown.html, others) if changes else "",
            second_button=shown.second_button,
            changes=changes,
            affected=affected_flags(request, flag, shown.impact),
            error=error,
        ),
    )


def _readable(revision: FlagRevision) -> FlagDocument | None:
    with suppress(DocumentError):
        return read_document(revision.document)
    return None


def _restore_text(changes: Sequence[Change], draft: FlagDocument | None) -> str:
    if not changes:
        return "This revision equals the current one."
    return "" if draft else "This revision cannot be read."


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
    if request.method == "POST" and not is_review(request) and not asks_everyone(request):
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
    shown = dialog_impact(request, flag, draft)
    return render_confirm(
        request,
        Confirm(
            title=f"Move rule {place + 1} of {key} up",
            button=f"Move up in {request.environment.slug}",
            cancel_url=environment_url(request, "flag_detail", key),
            text="The first rule that matches a player decides.",
            figures=shown.html,
            second_button=shown.second_button,
            affected=affected_flags(request, flag, shown.impact, only_changed=True),
            changes=[
                Change(
                    f"Rule {number}",
                    *(
                        sentences.sentence(each.rules[number - 1], timezone.localtime())
                        for each in (document, draft)
                    ),
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

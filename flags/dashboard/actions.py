"""The small acts on a flag: switch, percentage, order, restore, archive, clone. Each asks, and all
that change the flag can be undone."""

import msgspec
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.html import escape

from flags import services
from flags.dashboard.forms import CloneForm, RolloutForm
from flags.dashboard.shortcuts import done, get_flag_or_404
from flags.dashboard.views import differences, impact_of
from flags.engine import sentences
from flags.engine.document import FlagDocument, decode_document
from flags.engine.schedule import figure_at
from flags.models import Flag
from ilara_admin.core.percentages import as_percent, percent, thousandths
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.confirm import PREVIEW, Change, Confirm, render_confirm
from ilara_admin.web.forms import add_errors
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast


def _who_switches(
    request: HtmxHttpRequest, flag: Flag, draft: FlagDocument, *, archived: bool | None = None
) -> str:
    found = impact_of(request, flag, draft, archived=archived)
    return f" {found.headline} {found.basis}".rstrip() if found else ""


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_switch(request: HtmxHttpRequest, key: str, state: str) -> HttpResponse:
    """Turn on or off. The target is in the address, so a second click does not turn it back."""
    flag = get_flag_or_404(request, key)
    enabled = state == "on"
    if flag.archived_at:
        response = redirect_to(request, environment_url(request, "flag_detail", key))
        return with_toast(
            request, response, f"{key} is archived. Bring it back first.", tone="warn"
        )
    if request.method == "POST":
        before = flag.revision
        flag = services.flag_set_enabled(
            flag, enabled, actor=actor_of(request), reason=request.POST.get("reason", "")[:500]
        )
        changed = flag.revision != before
        text = f"{key} is {state}." + (" Players see it at their next request." if changed else "")
        return done(request, flag, text, changed=changed)
    document = flag.spec
    off = sentences.value_text(document.variant(document.off).value)
    draft = msgspec.structs.replace(document, enabled=enabled)
    consequence = (
        "Its rules decide again, from the next request on."
        if enabled
        else f"Everybody gets {off}, from the next request on. The rules stay as they are."
    )
    return render_confirm(
        request,
        Confirm(
            title=f"Turn {state} {key}",
            button=f"Turn {state} in {request.environment.slug}",
            cancel_url=environment_url(request, "flag_detail", key),
            text=consequence + _who_switches(request, flag, draft),
            tone="primary" if enabled else "danger",
            changes=[Change("State", "off" if enabled else "on", state)],
        ),
    )


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_rollout(request: HtmxHttpRequest, key: str, rule_id: str) -> HttpResponse:
    """Set the percentage of one rule."""
    flag = get_flag_or_404(request, key)
    document = flag.spec
    rule = next((item for item in document.rules if item.id == rule_id), None)
    if rule is None:
        response = redirect_to(request, environment_url(request, "flag_detail", key))
        return with_toast(request, response, "That rule is no longer there.", tone="warn")
    figure = figure_at(rule, timezone.now())
    form = RolloutForm(
        request.get_full_path(), request.POST or None, initial={"rollout": as_percent(figure)}
    )
    wanted = thousandths(form.cleaned_data["rollout"]) if form.is_valid() else None
    error = preview = ""
    if wanted is not None and "ask" in request.POST:
        preview = _who_switches(request, flag, document.with_rollout(rule_id, wanted)).strip()
    if request.htmx.target == PREVIEW:
        return HttpResponse(escape(preview))
    if wanted is not None and "ask" not in request.POST:
        before = flag.revision
        try:
            saved = services.flag_update(
                flag,
                document=document.with_rollout(rule_id, wanted),
                base_revision=_offered_at(request, flag),
                actor=actor_of(request),
                reason=request.POST.get("reason", "")[:500],
            )
        except services.RevisionConflict as conflict:
            error = f"{conflict} Nothing was saved. Close this and look at what changed."
        else:
            text = f"{key}: {sentences.audience(rule)} at {percent(wanted)}."
            return done(request, saved, text, changed=saved.revision != before)
    return render_confirm(
        request,
        Confirm(
            title=f"Set the percentage of {key}",
            button=f"Save to {request.environment.slug}",
            cancel_url=environment_url(request, "flag_detail", key),
            text=(
                f"Now {percent(figure)} of {sentences.audience(rule)}. Raising it removes "
                "nobody; lowering it removes only those who came in last."
                + (" It ends the schedule." if rule.steps or rule.ramp else "")
            ),
            form=form,
            error=error,
            preview=preview,
        ),
    )


def _offered_at(request: HtmxHttpRequest, flag: Flag) -> int:
    """The revision that was in sight when this act was offered, from `?from=`."""
    text = request.GET.get("from", "")
    return int(text) if text.isdecimal() and len(text) < 10 else flag.revision


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_restore(request: HtmxHttpRequest, key: str, number: int) -> HttpResponse:
    """Write an old revision again, as a new one."""
    flag = get_flag_or_404(request, key)
    revision = get_object_or_404(flag.revisions, number=number)
    error = ""
    if request.method == "POST":
        try:
            before = flag.revision
            restored = services.flag_restore(
                flag,
                number,
                base_revision=_offered_at(request, flag),
                actor=actor_of(request),
                reason=request.POST.get("reason", "")[:500],
            )
        except services.RevisionConflict as conflict:
            error = f"{conflict} Look at what changed before you restore."
        except ValidationError as problem:
            error = " ".join(problem.messages)
        else:
            changed = restored.revision != before
            text = f"Revision {number} of {key} is in force{' again' if changed else ' already'}."
            return done(request, restored, text, changed=changed)
    found = differences(flag, revision)
    return render_confirm(
        request,
        Confirm(
            title=f"Restore revision {number} of {key}",
            button=f"Restore in {request.environment.slug}",
            cancel_url=environment_url(request, "flag_detail", key),
            text=_who_switches(request, flag, decode_document(revision.document))
            if found
            else "This revision is the same as what is in force.",
            changes=[Change(item.label, item.before, item.after) for item in found],
            error=error,
        ),
    )


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_archive(request: HtmxHttpRequest, key: str, state: str) -> HttpResponse:
    """Archive a flag or bring it back."""
    flag = get_flag_or_404(request, key)
    archived = state == "archive"
    if request.method == "POST":
        services.flag_set_archived(
            flag, archived, actor=actor_of(request), reason=request.POST.get("reason", "")[:500]
        )
        response = redirect_to(request, environment_url(request, "flag_detail", key))
        text = f"{key} is archived." if archived else f"{key} is back, as it was."
        other = environment_url(
            request, "flag_archive", key, "unarchive" if archived else "archive"
        )
        return with_toast(request, response, text, undo_url=other)
    document = flag.spec
    off = sentences.value_text(document.variant(document.off).value)
    return render_confirm(
        request,
        Confirm(
            title=f"{'Archive' if archived else 'Bring back'} {key}",
            button="Archive" if archived else "Bring back",
            cancel_url=environment_url(request, "flag_detail", key),
            text=(
                f"Players get {off}, and the flag leaves the lists. Its history stays."
                if archived
                else "The flag returns to the lists and serves what its rules say."
            )
            + _who_switches(request, flag, document, archived=archived),
        ),
    )


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_move(request: HtmxHttpRequest, key: str, rule_id: str) -> HttpResponse:
    """Ask a rule before the one that stands before it."""
    flag = get_flag_or_404(request, key)
    document = flag.spec
    order = [rule.id for rule in document.rules]
    place = order.index(rule_id) if rule_id in order else 0
    if not place:
        response = redirect_to(request, environment_url(request, "flag_detail", key))
        return with_toast(request, response, "That rule cannot move further up.", tone="warn")
    order[place - 1 : place + 1] = order[place], order[place - 1]
    error = ""
    if request.method == "POST":
        before = flag.revision
        try:
            saved = services.flag_reorder(
                flag,
                order,
                base_revision=_offered_at(request, flag),
                actor=actor_of(request),
                reason=request.POST.get("reason", "")[:500],
            )
        except services.RevisionConflict as conflict:
            error = f"{conflict} Nothing was saved. Close this and look at what changed."
        else:
            text = f"{key} asks {sentences.audience(document.rules[place])} earlier."
            return done(request, saved, text, changed=saved.revision != before)
    rules = {rule.id: rule for rule in document.rules}
    draft = msgspec.structs.replace(document, rules=tuple(rules[each] for each in order))
    return render_confirm(
        request,
        Confirm(
            title=f"Move rule {place + 1} of {key} up",
            button=f"Move up in {request.environment.slug}",
            cancel_url=environment_url(request, "flag_detail", key),
            text="The first rule that takes a player in decides."
            + _who_switches(request, flag, draft),
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
def flag_clone(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """Make a copy of a flag under another key."""
    flag = get_flag_or_404(request, key)
    form = CloneForm(request.POST or None, initial={"key": f"{key}-copy"[:128]})
    if request.method == "POST" and form.is_valid():
        try:
            clone = services.flag_clone(
                flag,
                **form.cleaned_data,
                actor=actor_of(request),
                reason=request.POST.get("reason", "")[:500],
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

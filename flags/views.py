"""The flag pages: the list, one flag, and the small acts on it. editing.py has the editors."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from flags import describe, services
from flags.bucketing import weights_of
from flags.describe import Difference
from flags.document import Rule, decode_document
from flags.evaluation import CompiledFlag, compile_flag, evaluate
from flags.forms import FlagFilterForm, FlagNewForm, RolloutForm, as_percent, thousandths
from flags.lookup import overrides_of
from flags.models import Flag, FlagRevision
from ilara_admin.confirm import Change, Confirm, render_confirm
from ilara_admin.forms import add_errors
from ilara_admin.htmx import HtmxHttpRequest, redirect_to, render_partial, with_toast
from ilara_admin.models import Role
from ilara_admin.pagination import KeysetPage
from ilara_admin.scope import actor_of, link, staff_view
from ilara_admin.templatetags.ilara import Share
from players.lookup import stored_player
from players.models import player_id_for
from players.record import thresholds_of
from segments.models import Segment
from segments.rules import compile_rule, parse
from segments.rules import describe as describe_rule
from segments.subject import subject_of

HISTORY_SIZE = 20


@staff_view(Role.VIEWER)
def flag_list(request: HtmxHttpRequest) -> HttpResponse:
    form = FlagFilterForm(request.GET)
    form.is_valid()
    wanted = form.cleaned_data
    archived = wanted.get("show") == "archived"
    flags = Flag.objects.of(request.environment)
    exists = flags.exists()
    flags = flags.archived(archived).with_author().order_by("key")
    if text := wanted.get("q"):
        flags = flags.matching(text)
    if state := wanted.get("state"):
        flags = flags.filter(document__enabled=state == "on")
    if segment := wanted.get("segment"):
        flags = flags.naming(segment)
    context = {
        "form": form,
        "page": KeysetPage.of(flags, request),
        "archived": archived,
        "exists": exists,
        "may_edit": request.user.may(Role.LIVE_OPS),
        "chips": _chips(request, form),
    }
    return render_partial(request, "flags/list.html", context, partial="results")


def _chips(request: HtmxHttpRequest, form: FlagFilterForm) -> list[dict[str, str]]:
    chips = []
    for name, label in (("q", "Search"), ("state", "State"), ("segment", "Segment")):
        value = form.cleaned_data.get(name)
        if value:
            query = request.GET.copy()
            for key in (name, "after", "before"):
                query.pop(key, None)
            chips.append({"label": label, "value": value, "url": f"?{query.urlencode()}"})
    return chips


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_new(request: HtmxHttpRequest) -> HttpResponse:
    environments = list(request.project.environments.all())
    form = FlagNewForm(environments, request.POST or None)
    if request.method == "POST" and form.is_valid():
        chosen = form.cleaned_data["environments"]
        try:
            with transaction.atomic():
                for environment in environments:
                    if environment.slug in chosen:
                        services.flag_create(
                            environment=environment,
                            key=form.cleaned_data["key"],
                            name=form.cleaned_data["name"],
                            description=form.cleaned_data["description"],
                            document=form.document(),
                            actor=actor_of(request),
                        )
        except ValidationError as error:
            add_errors(form, error)
        else:
            here = request.environment.slug in chosen
            url = link(request, "flag_detail", form.cleaned_data["key"])
            response = redirect_to(request, url if here else link(request, "flag_list"))
            text = f"Created {form.cleaned_data['key']}, off, in {', '.join(chosen)}."
            return with_toast(request, response, text)
    status = 422 if form.is_bound else 200
    return render(request, "flags/new.html", {"form": form}, status=status)


def the_flag(request: HtmxHttpRequest, key: str) -> Flag:
    return get_object_or_404(
        Flag.objects.select_related("environment__project").with_author(),
        environment=request.environment,
        key=key,
    )


@staff_view(Role.VIEWER)
def flag_detail(request: HtmxHttpRequest, key: str) -> HttpResponse:
    flag = the_flag(request, key)
    document = flag.spec
    context = {
        "flag": flag,
        "document": document,
        "variants": [
            {"variant": variant, "text": describe.value_text(variant.value)}
            for variant in document.variants
        ],
        "rules": [_rule_facts(rule) for rule in document.rules],
        "history": _history(flag),
        "tried": _try(request, flag),
        "may_edit": request.user.may(Role.LIVE_OPS),
    }
    partial = "try" if "player" in request.GET else "history"
    return render_partial(request, "flags/detail.html", context, partial=partial)


def _rule_facts(rule: Rule) -> dict[str, Any]:
    weights = weights_of(rule.split) if rule.split else {}
    return {
        "rule": rule,
        "conditions": describe_rule(parse(rule.conditions)) if rule.conditions else "",
        "shares": [Share(key, weight) for key, weight in weights.items()],
    }


def _history(flag: Flag) -> list[dict[str, Any]]:
    """The newest revisions, each with what it changed."""
    revisions = list(flag.revisions.all()[: HISTORY_SIZE + 1])
    older: list[Any] = [*revisions[1:], None]
    found = []
    for revision, before in zip(revisions[:HISTORY_SIZE], older, strict=False):
        changes = []
        if before is not None:
            changes = differences(before, revision)
        found.append({"revision": revision, "changes": changes, "is_first": revision.number == 1})
    return found


def differences(before: Flag | FlagRevision, after: Flag | FlagRevision) -> list[Difference]:
    documents = decode_document(before.document), decode_document(after.document)
    return describe.differences(*documents) + describe.about_differences(before.about, after.about)


def compiled(flag: Flag) -> CompiledFlag:
    """The flag as it stands in the database, ready for evaluation."""
    segments = Segment.objects.filter(environment=flag.environment)
    return compile_flag(
        key=flag.key,
        salt=flag.salt,
        revision=flag.revision,
        document=flag.spec,
        archived=flag.archived_at is not None,
        segments={item.key: compile_rule(parse(item.rule)) for item in segments},
    )


def _try(request: HtmxHttpRequest, flag: Flag) -> dict[str, Any] | None:
    """What the flag gives the player whose external id was typed, and why."""
    external_id = request.GET.get("player", "").strip()
    if not external_id:
        return None
    environment = request.environment
    player = stored_player(environment, player_id_for(environment.namespace, external_id))
    if player is None:
        return {"external_id": external_id}
    subject = subject_of(player, thresholds_of(environment), timezone.now())
    ready = compiled(flag)
    override = overrides_of(player.id, subject.now).get(flag.pk)
    decision = evaluate(ready, str(player.id), subject, override.variant if override else None)
    return {
        "external_id": external_id,
        "player": player,
        "value": describe.value_text(decision.variant.value),
        "variant": decision.variant.key,
        "reason": describe.why(ready, decision, subject),
    }


# --- Acts ---------------------------------------------------------------------------------------


def done(request: HtmxHttpRequest, flag: Flag, text: str, *, changed: bool) -> HttpResponse:
    """Back to the flag's page, with a toast whose Undo restores the revision before, no matter how
    many others saved while this request waited its turn."""
    undo_url = ""
    if changed:
        restore = link(request, "flag_restore", flag.key, flag.revision - 1)
        undo_url = f"{restore}?from={flag.revision}"
    response = redirect_to(request, link(request, "flag_detail", flag.key))
    return with_toast(request, response, text, undo_url=undo_url)


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_switch(request: HtmxHttpRequest, key: str, state: str) -> HttpResponse:
    """Turn on or off. The target is in the address, so a second click does not turn it back."""
    flag = the_flag(request, key)
    enabled = state == "on"
    if flag.archived_at:
        response = redirect_to(request, link(request, "flag_detail", key))
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
    off = describe.value_text(document.variant(document.off).value)
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
            cancel_url=link(request, "flag_detail", key),
            text=consequence,
            changes=[Change("State", "off" if enabled else "on", state)],
        ),
    )


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_rollout(request: HtmxHttpRequest, key: str, rule_id: str) -> HttpResponse:
    """Set the percentage of one rule."""
    flag = the_flag(request, key)
    document = flag.spec
    rule = next((item for item in document.rules if item.id == rule_id), None)
    if rule is None:
        response = redirect_to(request, link(request, "flag_detail", key))
        return with_toast(request, response, "That rule is no longer there.", tone="warn")
    form = RolloutForm(request.POST or None, initial={"rollout": as_percent(rule.rollout)})
    error = ""
    if request.method == "POST" and form.is_valid():
        wanted, before = thousandths(form.cleaned_data["rollout"]), flag.revision
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
            text = f"{key}: {describe.who(rule)} at {describe.percent(wanted)}."
            return done(request, saved, text, changed=saved.revision != before)
    return render_confirm(
        request,
        Confirm(
            title=f"Set the percentage of {key}",
            button=f"Save to {request.environment.slug}",
            cancel_url=link(request, "flag_detail", key),
            text=(
                f"Now {describe.percent(rule.rollout)} of {describe.who(rule)}. Raising it removes "
                "nobody; lowering it removes only those who came in last."
            ),
            form=form,
            error=error,
        ),
    )


def _offered_at(request: HtmxHttpRequest, flag: Flag) -> int:
    """The revision that was in sight when this act was offered, from `?from=`."""
    text = request.GET.get("from", "")
    return int(text) if text.isdecimal() and len(text) < 10 else flag.revision


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_restore(request: HtmxHttpRequest, key: str, number: int) -> HttpResponse:
    """Write an old revision again, as a new one."""
    flag = the_flag(request, key)
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
            cancel_url=link(request, "flag_detail", key),
            text="" if found else "This revision is the same as what is in force.",
            changes=[Change(item.label, item.before, item.after) for item in found],
            error=error,
        ),
    )


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_archive(request: HtmxHttpRequest, key: str, state: str) -> HttpResponse:
    """Archive a flag or bring it back."""
    flag = the_flag(request, key)
    archived = state == "archive"
    if request.method == "POST":
        services.flag_set_archived(
            flag, archived, actor=actor_of(request), reason=request.POST.get("reason", "")[:500]
        )
        response = redirect_to(request, link(request, "flag_detail", key))
        text = f"{key} is archived." if archived else f"{key} is back, as it was."
        other = link(request, "flag_archive", key, "unarchive" if archived else "archive")
        return with_toast(request, response, text, undo_url=other)
    document = flag.spec
    off = describe.value_text(document.variant(document.off).value)
    return render_confirm(
        request,
        Confirm(
            title=f"{'Archive' if archived else 'Bring back'} {key}",
            button="Archive" if archived else "Bring back",
            cancel_url=link(request, "flag_detail", key),
            text=(
                f"Players get {off}, and the flag leaves the lists. Its history stays."
                if archived
                else "The flag returns to the lists and serves what its rules say."
            ),
        ),
    )

"""The editors of a flag: rules, variants, prerequisites. Each leads to a review before saving.

The review page posts the draft and its base revision. If someone else saved in the meantime, the
conflict page posts the draft on.
"""

import json
from contextlib import suppress
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from django.core.exceptions import ValidationError
from django.forms import formset_factory
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from flags import services
from flags.dashboard.affected import affected_experiments, affected_flags
from flags.dashboard.forms import (
    PrerequisiteForm,
    ServingForm,
    VariantForm,
    prerequisite_choices,
    prerequisites_of,
    value_as_typed,
)
from flags.dashboard.guard_form import PREFIX, guarded_done, guarded_save, reviewed_guards
from flags.dashboard.impact_job import impact_found, keep_going
from flags.dashboard.impact_panel import impact_with_job
from flags.dashboard.metadata_form import MetadataForm, metadata_as_typed
from flags.dashboard.rule_form import rule_initial
from flags.dashboard.rule_rows import (
    RULES,
    Rules,
    rule_audience,
    saves_nothing,
    typed_rule,
    typed_rules,
)
from flags.dashboard.shortcuts import done, readable_flag
from flags.engine import change_words
from flags.engine.document import (
    DocumentError,
    FlagDocument,
    ValueType,
    decode_document,
    encode_document,
)
from flags.models import Flag, FlagImpact
from flags.validation import lost_variants_text
from ilara_admin.core.changes import Conflict, reason_of
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.confirm import is_review, render_conflict
from ilara_admin.web.formsets import MAX_ROWS, moved_rows
from ilara_admin.web.htmx import (
    HtmxHttpRequest,
    redirect_to,
    render_partial,
    wants_partial,
    with_toast,
)
from ilara_admin.web.suggestions import Suggestions
from segments.editor.audience import SIZE, render_size
from segments.editor.form_tree import ACT
from segments.editor.suggestions import catalogue_of, suggest
from segments.models import Segment


@staff_view(Role.LIVE_OPS, "GET", "POST")
@readable_flag
def flag_rules(request: HtmxHttpRequest, flag: Flag) -> HttpResponse:
    """Edit the rules and their order. Times are in the zone in which the form was shown."""
    with timezone.override(_zone_of(request)):
        return _edit_rules(request, flag)


def _zone_of(request: HtmxHttpRequest) -> tzinfo:
    with suppress(ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo(request.POST.get("zone", ""))
    return timezone.get_current_timezone()


def _edit_rules(request: HtmxHttpRequest, flag: Flag) -> HttpResponse:
    document = draft_of(request) or flag.spec
    keys = Segment.objects.filter(environment=request.environment).values_list("key", flat=True)
    segments = Suggestions("segment-keys", {key: key for key in keys})
    options = {"segments": segments, "document": document, "empty_permitted": False}
    catalogue = catalogue_of(request.environment)
    status = 200
    if request.method != "POST" or "draft" in request.POST:
        initial = [rule_initial(rule, document) for rule in document.rules]
        rules = Rules(prefix=RULES, initial=initial, form_kwargs=options)
    elif SIZE in request.POST and wants_partial(request):
        form = typed_rule(request.POST, options)
        audience = rule_audience(request.environment, form)
        return render_size(
            request, audience, form.conditions, catalogue, everyone=form.for_everyone
        )
    elif saves_nothing(request.POST):
        rules = typed_rules(request.POST, options)
        for form in rules.forms:
            if form.prefix == f"{RULES}-{request.POST.get(SIZE)}":
                form.audience = rule_audience(request.environment, form)
    else:
        rules = Rules(request.POST, prefix=RULES, form_kwargs=options)
        if rules.is_valid():
            changed = msgspec.structs.replace(
                document, rules=tuple(form.rule() for form in rules.forms)
            )
            return review(request, flag, changed, back="flag_rules")
        status = 422
    for form in rules.forms:
        if form.conditions and not form.conditions.folded:
            suggest(form.conditions, catalogue)
    context = {
        "flag": flag,
        "document": document,
        "rules": rules,
        "segments": segments,
        "catalogue": catalogue,
        "pressed": request.POST.get(ACT, ""),
        "base": base_of(request, flag),
        "zone": timezone.get_current_timezone_name(),
    }
    return render_partial(request, "flags/rules.html", context, partial="editor", status=status)


@staff_view(Role.LIVE_OPS, "GET", "POST")
@readable_flag
def flag_variants(request: HtmxHttpRequest, flag: Flag) -> HttpResponse:
    """Edit the variants, the default and off variant, and the metadata."""
    document = draft_of(request) or flag.spec
    boolean = document.value_type is ValueType.BOOLEAN
    forms = formset_factory(VariantForm, extra=0, max_num=MAX_ROWS)
    options = {"value_type": document.value_type, "empty_permitted": False}
    typed = [
        {
            "key": variant.key,
            "value": value_as_typed(document.value_type, variant.value),
            "no_value": variant.value is None,
            "name": variant.name,
        }
        for variant in document.variants
    ]
    moved = None if boolean else moved_rows(request.POST, "variants")
    saving = request.method == "POST" and moved is None and "draft" not in request.POST
    posted = request.POST if saving else None
    rows = typed if moved is None else moved
    variants = forms(posted, prefix="variants", initial=rows, form_kwargs=options)
    keys = [str(row.get("key", "")) for row in rows if row.get("key")]
    if posted is not None:
        keys = [form["key"].value() or "" for form in variants.forms]
    serving = ServingForm(keys, posted, initial={"default": document.default, "off": document.off})
    typed_metadata = request.POST.get("metadata", metadata_as_typed(document.metadata))
    metadata = MetadataForm(posted, initial={"metadata": typed_metadata})
    status = 200
    if posted is not None:
        if all(form.is_valid() for form in (variants, serving, metadata)):
            changed = msgspec.structs.replace(
                document,
                variants=tuple(form.variant() for form in variants.forms),
                default=serving.cleaned_data["default"],
                off=serving.cleaned_data["off"],
                metadata=metadata.cleaned_data["metadata"],
            )
            return review(request, flag, changed, back="flag_variants")
        status = 422
    context = {
        "flag": flag,
        "document": document,
        "variants": variants,
        "serving": serving,
        "metadata": metadata,
        "boolean": boolean,
        "base": base_of(request, flag),
    }
    return render_partial(request, "flags/variants.html", context, partial="editor", status=status)


@staff_view(Role.LIVE_OPS, "GET", "POST")
@readable_flag
def flag_prerequisites(request: HtmxHttpRequest, flag: Flag) -> HttpResponse:
    """Edit the prerequisites: variants that other flags must serve a player."""
    document = draft_of(request) or flag.spec
    others = Flag.objects.of(request.environment).exclude(pk=flag.pk).archived(False)
    variants = Suggestions("flag-variants", prerequisite_choices(others, document))
    forms = formset_factory(PrerequisiteForm, extra=0, max_num=MAX_ROWS)
    options = {"variants": variants, "empty_permitted": False}
    moved = moved_rows(request.POST, "needs")
    status = 200
    if request.method == "POST" and moved is None and "draft" not in request.POST:
        needs = forms(request.POST, prefix="needs", form_kwargs=options)
        if needs.is_valid():
            wanted = prerequisites_of([form.cleaned_data["gives"] for form in needs.forms])
            changed = msgspec.structs.replace(document, prerequisites=wanted)
            return review(request, flag, changed, back="flag_prerequisites")
        status = 422
    else:
        initial = moved
        if initial is None:
            initial = [
                {"gives": f"{item.flag} {variant}"}
                for item in document.prerequisites
                for variant in item.variants
            ]
        needs = forms(prefix="needs", initial=initial, form_kwargs=options)
    context = {"flag": flag, "needs": needs, "variants": variants, "base": base_of(request, flag)}
    template = "flags/prerequisites.html"
    return render_partial(request, template, context, partial="editor", status=status)


def base_of(request: HtmxHttpRequest, flag: Flag) -> int:
    """The revision that the editor was opened on."""
    base = request.POST.get("base", "")
    return int(base) if base.isdecimal() and len(base) < 10 else flag.revision


def draft_of(request: HtmxHttpRequest) -> FlagDocument | None:
    """The draft posted by the review or conflict page; None without a readable one."""
    text = request.POST.get("draft")
    if text is None:
        return None
    try:
        return decode_document(json.loads(text))
    except (ValueError, DocumentError):
        return None


def review(
    request: HtmxHttpRequest,
    flag: Flag,
    draft: FlagDocument,
    *,
    back: str,
    error: str = "",
    everyone: bool = False,
) -> HttpResponse:
    """Show the differences from the current revision and the players who would switch."""
    try:
        services.check_revision(flag, base_of(request, flag), draft, flag.details)
    except Conflict as conflict:
        return _conflict(request, flag, conflict, draft, back)
    changes = change_words.differences(flag.spec, draft, timezone.localtime())
    lost = lost_variants_text(flag, draft)
    found, job = None, None
    if not error:
        found, job = impact_with_job(request, flag, draft, everyone=everyone)
    error = error or lost
    guards = reviewed_guards(request, flag, draft)
    if any(each.guard.errors for each in guards):
        error = error or "Correct the guard below."
    context: dict[str, Any] = {
        "flag": flag,
        "guards": guards,
        "changes": changes,
        "draft": json.dumps(encode_document(draft), ensure_ascii=False),
        "back": back,
        "error": error,
        "reason": reason_of(request),
        "impact": found,
        "job": job,
        "affected": affected_flags(request, flag, found, only_changed=not lost) if found else [],
        "experiments": affected_experiments(request, flag, draft),
    }
    # The editors post to the review without htmx, so it is always a full page.
    return render(request, "flags/review.html", context, status=422 if error else 200)


def _conflict(
    request: HtmxHttpRequest,
    flag: Flag,
    conflict: Conflict,
    draft: FlagDocument,
    back: str,
) -> HttpResponse:
    fields = {
        "draft": json.dumps(encode_document(draft), ensure_ascii=False),
        "base": str(conflict.current),
        "back": back,
        "reason": reason_of(request),
    }
    return render_conflict(
        request,
        conflict,
        cancel_url=environment_url(request, "flag_detail", flag.key),
        fields={name: [value] for name, value in fields.items()},
        save_url=environment_url(request, "flag_save", flag.key),
        review_url=environment_url(request, "flag_review", flag.key),
    )


@staff_view(Role.LIVE_OPS, "POST")
@readable_flag
def flag_review(request: HtmxHttpRequest, flag: Flag) -> HttpResponse:
    """The review with every player evaluated, or, after a conflict, with a sample."""
    back, draft = _back(request), draft_of(request)
    if draft is None:
        return _unreadable(request, flag.key, back)
    everyone = not is_review(request)
    return review(request, flag, draft, back=back, everyone=everyone)


@staff_view(Role.LIVE_OPS)
@readable_flag
def flag_impact(request: HtmxHttpRequest, flag: Flag, number: int) -> HttpResponse:
    """The progress and the result of a job, for a review that polls it."""
    if not wants_partial(request):
        return redirect_to(request, environment_url(request, "flag_detail", flag.key))
    job = FlagImpact.objects.filter(flag=flag, pk=number).select_related("flag__environment")
    found = job.first()
    if found:
        keep_going(found)
        if not found.chunk:
            return HttpResponse(status=204)
    impact = impact_found(found) if found else None
    context = {"flag": flag, "job": found, "impact": impact, "compact": "compact" in request.GET}
    return render(request, "flags/_impact.html", context)


BACK = ("flag_rules", "flag_variants", "flag_prerequisites")


def _back(request: HtmxHttpRequest) -> str:
    """The editor that the draft came from."""
    wanted = request.POST.get("back", "")
    return wanted if wanted in BACK else BACK[0]


def _unreadable(request: HtmxHttpRequest, key: str, back: str) -> HttpResponse:
    response = redirect_to(request, environment_url(request, back, key))
    return with_toast(request, response, "That draft could not be read.", tone="danger")


@staff_view(Role.LIVE_OPS, "POST")
@readable_flag
def flag_save(request: HtmxHttpRequest, flag: Flag) -> HttpResponse:
    """Save the reviewed draft."""
    back, draft = _back(request), draft_of(request)
    if draft is None:
        return _unreadable(request, flag.key, back)
    # Without fields of guards, guards stay as they are.
    is_guarded = any(name.startswith(f"{PREFIX}-") for name in request.POST)
    guards = reviewed_guards(request, flag, draft) if is_guarded else []
    if any(each.guard.errors for each in guards):
        return review(request, flag, draft, back=back)
    options: dict[str, Any] = {
        "document": draft,
        "base_revision": base_of(request, flag),
        "actor": actor_of(request),
        "reason": reason_of(request),
    }
    text = f"Saved {flag.key}. Players see it at their next request."
    try:
        if not guards:
            flag, entry = services.flag_update(flag, **options)
            return done(request, flag, entry, text)
        entries = guarded_save(flag, {each.rule_id: each.guard for each in guards}, **options)
    except Conflict as conflict:
        return _conflict(request, flag, conflict, draft, back)
    except ValidationError as problem:
        return review(request, flag, draft, back=back, error=" ".join(problem.messages))
    return guarded_done(request, flag, entries, text)

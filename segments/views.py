"""The segment pages."""

from dataclasses import replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.forms import BaseFormSet, formset_factory
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone

from ilara_admin.confirm import Confirm, render_confirm
from ilara_admin.forms import add_errors
from ilara_admin.formsets import moved_rows
from ilara_admin.htmx import HtmxHttpRequest, redirect_to, render_partial, with_toast
from ilara_admin.models import AuditAction, AuditEntry, Role
from ilara_admin.pagination import KeysetPage
from ilara_admin.scope import actor_of, link, staff_view
from ilara_admin.snapshot import at_version
from players.models import player_id_for
from segments import services
from segments.forms import ConditionForm, SegmentForm, condition_rows, rule_document
from segments.lookup import stored_subject
from segments.models import Segment
from segments.rules import FIELDS, MAX_CONDITIONS
from segments.sizes import ask, estimate
from segments.snapshot import segments_of
from segments.usage import named, users_of_segments
from segments.words import describe

type Conditions = BaseFormSet[ConditionForm]


@staff_view(Role.VIEWER)
def segment_list(request: HtmxHttpRequest) -> HttpResponse:
    segments = Segment.objects.filter(environment=request.environment)
    exists = segments.exists()
    text = request.GET.get("q", "").replace("\0", "").strip()
    if text:
        segments = segments.matching(text)
    page = KeysetPage.of(segments.order_by("key"), request)
    used = users_of_segments(request.environment)
    rows = [
        {
            "segment": segment,
            "words": segment.words,
            "used_by": used.get(segment.key, []),
        }
        for segment in page.rows
    ]
    context = {
        "page": page,
        "rows": rows,
        "q": text,
        "exists": exists,
        "may_edit": request.user.may(Role.LIVE_OPS),
    }
    return render_partial(request, "segments/list.html", context, partial="results")


def _the_segment(request: HtmxHttpRequest, key: str) -> Segment:
    segments = Segment.objects.select_related("environment__project")
    return get_object_or_404(segments, environment=request.environment, key=key)


@staff_view(Role.VIEWER)
def segment_detail(request: HtmxHttpRequest, key: str) -> HttpResponse:
    segment = _the_segment(request, key)
    trying = "player" in request.GET and request.htmx
    asked = ask(request.environment, segment.spec, timezone.now(), segment)
    context: dict[str, Any] = {
        "segment": segment,
        "used_by": users_of_segments(request.environment).get(key, []),
        "preview": None if trying else estimate(asked),
        "tried": _try(request, segment),
        "may_edit": request.user.may(Role.LIVE_OPS),
    }
    return render_partial(request, "segments/detail.html", context, partial="try")


def _try(request: HtmxHttpRequest, segment: Segment) -> dict[str, Any] | None:
    external_id = request.GET.get("player", "").strip()
    if not external_id:
        return None
    environment = request.environment
    compiled = segments_of(at_version(environment))[segment.key]
    player_id = player_id_for(environment.namespace, external_id)
    found = stored_subject(environment, player_id, compiled.behaviours)
    if found is None:
        return {"external_id": external_id}
    player, subject = found
    return {"external_id": external_id, "player": player, "is_member": compiled.matches(subject)}


# --- Editing ------------------------------------------------------------------------------------


@staff_view(Role.LIVE_OPS, "GET", "POST")
def segment_new(request: HtmxHttpRequest) -> HttpResponse:
    return _edit(request, None)


@staff_view(Role.LIVE_OPS, "GET", "POST")
def segment_edit(request: HtmxHttpRequest, key: str) -> HttpResponse:
    return _edit(request, _the_segment(request, key))


def _edit(request: HtmxHttpRequest, segment: Segment | None) -> HttpResponse:
    """One editor for both. The button `preview` draws the page again with an estimate."""
    rows: list[dict[str, Any]] | None = [{}]
    initial: dict[str, Any] = {}
    if segment is not None:
        rows = condition_rows(segment.rule)
        initial = {
            "key": segment.key,
            "name": segment.name,
            "description": segment.description,
            "operator": segment.rule["operator"],
            "document": segment.rule if rows is None else None,
            "base": segment.updated_at.isoformat(),
        }
    forms = formset_factory(ConditionForm, extra=0, max_num=MAX_CONDITIONS)
    moved = moved_rows(request.POST, "conditions")
    context: dict[str, Any] = {"segment": segment, "fields": FIELDS, "preview": None}
    status = 200
    if moved is not None:
        typed: dict[str, Any] = {name: request.POST.get(name) for name in SegmentForm.base_fields}
        typed["document"] = None
        form = SegmentForm(initial=typed)
        conditions: Conditions = forms(prefix="conditions", initial=moved)
    elif request.method == "POST":
        form = SegmentForm(request.POST, initial=initial)
        form.fields["key"].disabled = segment is not None
        conditions = forms(
            request.POST, prefix="conditions", form_kwargs={"empty_permitted": False}
        )
        rule = _read_rule(form, conditions)
        if rule is not None:
            if "preview" in request.POST:
                context |= _preview(request, form, segment, rule)
                status = 422 if form.errors else 200
            else:
                try:
                    return _save(request, segment, form.cleaned_data, rule)
                except ValidationError as error:
                    add_errors(form, error)
                    status = 422
                except services.SegmentConflict as conflict:
                    _show_conflict(request, form, conflict.segment)
                    status = 422
        else:
            status = 422
    else:
        form = SegmentForm(initial=initial)
        conditions = forms(prefix="conditions", initial=rows or [])
    form.fields["key"].disabled = segment is not None
    context |= {"form": form, "conditions": conditions}
    return render_partial(request, "segments/edit.html", context, partial="editor", status=status)


def _preview(
    request: HtmxHttpRequest, form: SegmentForm, segment: Segment | None, rule: Any
) -> dict[str, Any]:
    """The rule in words with an estimate, or nothing after noting what is wrong with it."""
    try:
        with transaction.atomic():
            parsed = services.check_rule(request.environment, rule, form.cleaned_data["key"])
    except ValidationError as error:
        add_errors(form, error)
        return {}
    asked = ask(request.environment, parsed, timezone.now(), segment)
    return {"preview": estimate(asked), "words": describe(parsed)}


def _show_conflict(request: HtmxHttpRequest, form: SegmentForm, now: Segment) -> None:
    """Say what is in force by now. Saving once more is then a decision, not an accident."""
    form.add_error(
        None,
        f"Somebody else saved {now.key} while you were editing. Its rule is now: "
        f"{now.words}. Saving once more puts your version in place of theirs.",
    )
    data = request.POST.copy()
    data["base"] = now.updated_at.isoformat()
    form.data = data


def _read_rule(form: SegmentForm, conditions: Conditions) -> dict[str, Any] | None:
    """The rule that was put together, or None after noting what is wrong with it."""
    if not form.is_valid():
        conditions.is_valid()
        return None
    if form.cleaned_data["document"] is not None:
        document: dict[str, Any] = form.cleaned_data["document"]
        return document
    if not conditions.is_valid():
        return None
    if not conditions.forms:
        form.add_error(None, "Add at least one condition.")
        return None
    return rule_document(form.cleaned_data["operator"], conditions.forms)


def _save(
    request: HtmxHttpRequest, segment: Segment | None, data: dict[str, Any], rule: dict[str, Any]
) -> HttpResponse:
    details = {"name": data["name"], "rule": rule, "description": data["description"]}
    actor, reason = actor_of(request), data["reason"]
    response = redirect_to(request, link(request, "segment_detail", data["key"]))
    if segment is None:
        services.segment_create(
            environment=request.environment,
            key=data["key"],
            actor=actor,
            reason=reason,
            **details,
        )
        return with_toast(request, response, f"Created the segment {data['key']}.")
    entry = services.segment_update(
        segment, actor=actor, reason=reason, base=data["base"], **details
    )
    if entry is None:
        return with_toast(request, response, "Nothing was changed.", tone="info")
    text = f"Saved {segment.key}. Flags that use it follow at the next request."
    undo_url = link(request, "segment_undo", segment.key, entry.pk)
    return with_toast(request, response, text, undo_url=undo_url)


@staff_view(Role.LIVE_OPS, "POST")
def segment_undo(request: HtmxHttpRequest, key: str, entry_id: int) -> HttpResponse:
    """Undo one change of a segment, or its deletion."""
    entries = AuditEntry.objects.filter(
        environment=request.environment,
        action__in=(AuditAction.SEGMENT_UPDATED, AuditAction.SEGMENT_DELETED),
        object_id=key,
    )
    entry = get_object_or_404(entries, pk=entry_id)
    try:
        services.segment_undo(request.environment, entry, actor=actor_of(request))
    except ValidationError as error:
        response = redirect_to(request, link(request, "segment_list"))
        return with_toast(request, response, error.messages[0], tone="danger")
    response = redirect_to(request, link(request, "segment_detail", key))
    return with_toast(request, response, f"Undone. {key} is as it was.")


@staff_view(Role.LIVE_OPS, "GET", "POST")
def segment_delete(request: HtmxHttpRequest, key: str) -> HttpResponse:
    segment = _the_segment(request, key)
    used_by = users_of_segments(request.environment).get(key, [])
    listed = segment.included + segment.excluded
    url = link(request, "segment_detail", key)
    confirm = Confirm(
        title=f"Delete {key}",
        button=f"Delete {key}",
        cancel_url=url,
        text=(
            f"It is used by {named(used_by)}: change those first."
            if used_by
            else "Nothing here uses it. Games that ask for it will be answered 404."
        ),
        dependents=[("ids on its lists", listed)] if listed else (),
        tone="danger",
        type_to_confirm=key,
    )
    if request.method == "POST":
        if not confirm.is_typed(request):
            return render_confirm(request, _refused(confirm, f"Type {key} to confirm."))
        try:
            entry = services.segment_delete(
                segment, actor=actor_of(request), reason=request.POST.get("reason", "")[:500]
            )
        except ValidationError as error:
            return render_confirm(request, _refused(confirm, error.messages[0]))
        response = redirect_to(request, link(request, "segment_list"))
        undo_url = link(request, "segment_undo", key, entry.pk)
        return with_toast(request, response, f"Deleted the segment {key}.", undo_url=undo_url)
    return render_confirm(request, confirm)


def _refused(confirm: Confirm, error: str) -> Confirm:
    return replace(confirm, error=error)

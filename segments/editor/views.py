"""The pages that create and edit a segment."""

from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.utils import timezone

from ilara_admin.core.changes import Conflict
from ilara_admin.models import AuditEntry, Role
from ilara_admin.web.access import actor_of, environment_url, get_or_404, staff_view
from ilara_admin.web.confirm import changed, is_review, posted_again, render_conflict
from ilara_admin.web.forms import add_errors
from ilara_admin.web.htmx import HtmxHttpRequest, render_partial, wants_partial
from ilara_admin.web.suggestions import Suggestions
from segments import services
from segments.editor.audience import SIZE, audience_of, render_size
from segments.editor.form_tree import Editor, rule_editor
from segments.editor.suggestions import catalogue_of, suggest
from segments.forms import SegmentForm
from segments.language.sentences import describe, lacking
from segments.models import Segment
from segments.sizes import estimate, rule_query


@staff_view(Role.LIVE_OPS, "GET", "POST")
def segment_new(request: HtmxHttpRequest) -> HttpResponse:
    return _edit(request, None)


@staff_view(Role.LIVE_OPS, "GET", "POST")
def segment_edit(request: HtmxHttpRequest, key: str) -> HttpResponse:
    return _edit(request, get_or_404(request, Segment, key=key))


def _edit(request: HtmxHttpRequest, segment: Segment | None) -> HttpResponse:
    """The `preview` button renders the page with an estimate and the rule's buttons render it with
    the changed rule; any other button saves."""
    posted = request.POST if request.method == "POST" else None
    initial: dict[str, Any] = {}
    if segment is not None:
        initial = {
            "key": segment.key,
            "name": segment.name,
            "description": segment.description,
            "base": segment.updated_at.isoformat(),
        }
    others = Segment.objects.filter(environment=request.environment).order_by("key")
    segments = Suggestions(
        "segment-keys",
        {
            key: key
            for key in others.values_list("key", flat=True)
            if not segment or key != segment.key
        },
    )
    editor = rule_editor("rule", posted, segments, segment.rule if segment else None)
    catalogue = catalogue_of(request.environment)
    if posted is not None and SIZE in posted and wants_partial(request):
        own = segment.key if segment else ""
        audience = audience_of(request.environment, editor, segment=segment, key=own)
        return render_size(request, audience, editor, catalogue)
    context: dict[str, Any] = {
        "segment": segment,
        "editor": editor,
        "preview": None,
        "catalogue": catalogue,
        "segments": segments,
    }
    if posted is None:
        form = SegmentForm(initial=initial)
    elif editor.acted:
        form = SegmentForm(initial={name: posted.get(name) for name in SegmentForm.base_fields})
    else:
        form = SegmentForm(posted, initial=initial)
    form.fields["key"].disabled = segment is not None
    if form.is_bound:
        valid, rule = form.is_valid(), editor.read()
        if rule is not None and "preview" in request.POST:
            context |= _preview(request, form, editor, segment, rule)
        elif valid and rule is not None and not is_review(request):
            try:
                return _save(request, segment, form.cleaned_data, rule)
            except ValidationError as error:
                if not editor.refused(error):
                    add_errors(form, error)
            except Conflict as conflict:
                return _conflict(request, conflict)
    context |= {"form": form, "faults": editor.faults}
    suggest(editor, catalogue)
    wrong = posted is not None and (form.errors or editor.faults)
    return render_partial(
        request, "segments/edit.html", context, partial="editor", status=422 if wrong else 200
    )


def _preview(
    request: HtmxHttpRequest,
    form: SegmentForm,
    editor: Editor,
    segment: Segment | None,
    rule: Any,
) -> dict[str, Any]:
    """The context of a preview, or {} after adding errors to the editor."""
    key = segment.key if segment else form.cleaned_data.get("key", "")
    try:
        parsed = services.check_rule(request.environment, rule, key)
    except ValidationError as error:
        editor.refused(error)
        return {}
    query = rule_query(request.environment, parsed, timezone.now(), segment)
    found = estimate(query)
    return {
        "preview": found,
        "words": describe(parsed),
        "lacking": lacking(parsed),
        "announced": f"{found.share:.1f} % of players match",
    }


def _conflict(request: HtmxHttpRequest, conflict: Conflict) -> HttpResponse:
    return render_conflict(
        request,
        conflict,
        cancel_url=environment_url(request, "segment_detail", conflict.object_id),
        fields=posted_again(request, base=conflict.current),
    )


def _save(
    request: HtmxHttpRequest, segment: Segment | None, data: dict[str, Any], rule: dict[str, Any]
) -> HttpResponse:
    details = {"name": data["name"], "rule": rule, "description": data["description"]}
    actor, reason, key = actor_of(request), data["reason"], data["key"]
    if segment is None:
        new = Segment(environment=request.environment, key=key, **details)
        entry: AuditEntry | None = services.segment_insert(new, actor=actor, reason=reason)
        text = f"Created the segment {key}."
    else:
        entry = services.segment_update(
            segment, actor=actor, reason=reason, base=data["base"], **details
        )
        text = f"Saved {key}. Flags that use it follow at the next request."
    return changed(request, environment_url(request, "segment_detail", key), entry, text)

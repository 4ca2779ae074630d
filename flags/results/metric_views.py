"""The pages of metrics: the list, one metric, its editor with a preview, archive."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch
from django.utils import timezone

from flags.models import Experiment, Metric
from flags.results import metrics
from flags.results.metric_definition import (
    DEFINITION,
    DIRECTIONS,
    problems,
    sentence,
    unit_of,
)
from flags.results.metric_forms import COLUMNS, MetricFilterForm, MetricForm
from flags.results.metric_preview import MetricPreview, metric_preview
from ilara_admin.core.changes import Conflict, reason_of
from ilara_admin.models import AuditEntry, Role
from ilara_admin.web.access import actor_of, environment_url, get_or_404, may, staff_view
from ilara_admin.web.confirm import Confirm, changed, form_conflict, is_review, render_confirm
from ilara_admin.web.filters import render_list
from ilara_admin.web.forms import add_errors
from ilara_admin.web.htmx import HtmxHttpRequest, render_partial, wants_partial
from ilara_admin.web.pagination import KeysetPage
from ilara_admin.web.sorting import headers, ordering
from ilara_admin.web.suggestions import Suggestions
from segments.editor.form_tree import Editor, rule_editor
from segments.editor.seen import Catalogue, event_hint, property_hint
from segments.editor.suggestions import catalogue_of, suggest_properties
from segments.language.paths import join_path, split_path

PREVIEW = "preview"  # posted by the preview of the editor, and by a button without JavaScript
REFINE = "refine"  # posted when another kind is chosen: show the fields that it has
NUMBER = "number"


# --- The list -------------------------------------------------------------------------------------


@staff_view(Role.VIEWER)
def metric_list(request: HtmxHttpRequest) -> HttpResponse:
    everything = Metric.objects.filter(environment=request.environment)
    owners = everything.exclude(owner="").order_by("owner").values_list("owner", flat=True)
    form = MetricFilterForm(request, {"owner": owners.distinct()})
    found = everything.filter(archived_at__isnull=form.value("state") != "archived")
    if text := form.value("q"):
        found = found.filter(
            Q(key__icontains=text)
            | Q(name__icontains=text)
            | Q(description__icontains=text)
            | Q(event__icontains=text)
        )
    for name in ("kind", "owner"):
        if value := form.value(name):
            found = found.filter(**{name: value})
    sort = form.value("sort") or "key"
    ordered = found.annotate(used=Count("uses")).order_by(*ordering(COLUMNS, sort))
    page = KeysetPage.of(ordered, request)
    context = {
        "form": form,
        "page": page,
        "headers": headers(request, COLUMNS, sort),
        "rows": [_shown(request, metric) for metric in page.rows],
        "exists": everything.exists(),
        "may_edit": may(request, Role.LIVE_OPS),
    }
    return render_list(request, "flags/results/metric_list.html", context)


def _shown(request: HtmxHttpRequest, metric: Metric) -> dict[str, Any]:
    return {
        "metric": metric,
        "words": metrics.words_of(metric),
        "direction": DIRECTIONS[metric.direction].capitalize(),
        "unit": unit_of(metric.kind, metric.unit, request.environment.currency),
    }


# --- One metric -----------------------------------------------------------------------------------


@staff_view(Role.VIEWER)
def metric_detail(request: HtmxHttpRequest, key: str) -> HttpResponse:
    metric = get_or_404(request, Metric, key=key)
    definition = metrics.definition_of(metric)
    preview = None
    if not problems(definition):
        preview = metric_preview(request.environment, definition, metric.unit, timezone.now())
    context = {
        **_shown(request, metric),
        "preview": preview,
        "experiments": _experiments(request, metric),
        "may_edit": may(request, Role.LIVE_OPS),
    }
    return render(request, "flags/results/metric_detail.html", context)


def _experiments(request: HtmxHttpRequest, metric: Metric) -> list[dict[str, Any]]:
    found = metric.uses.select_related("experiment").order_by("-experiment__id")
    return [
        {
            "experiment": use.experiment,
            "role": use.role,
            "url": _experiment_url(request, use.experiment),
        }
        for use in found
    ]


def _experiment_url(request: HttpRequest, experiment: Experiment) -> str:
    try:
        return environment_url(request, "experiment_detail", experiment.key)
    except NoReverseMatch:
        return ""


# --- The editor -----------------------------------------------------------------------------------


@staff_view(Role.LIVE_OPS, "GET", "POST")
def metric_new(request: HtmxHttpRequest) -> HttpResponse:
    return _edit(request, None)


@staff_view(Role.LIVE_OPS, "GET", "POST")
def metric_edit(request: HtmxHttpRequest, key: str) -> HttpResponse:
    return _edit(request, get_or_404(request, Metric, key=key))


def _edit(request: HtmxHttpRequest, metric: Metric | None) -> HttpResponse:
    """The buttons of the conditions and another kind render the page again, and so does the preview
    without JavaScript; any other button saves."""
    posted = request.POST if request.method == "POST" else None
    stored = metric.conditions if metric else None
    editor = rule_editor("conditions", posted, Suggestions("", {}), stored, "where")
    if posted is not None and (editor.acted or REFINE in posted):
        form = MetricForm(metric, shown=posted.dict())
    else:
        form = MetricForm(metric, posted)
    form.fields["kind"].widget.attrs |= {
        "hx-post": request.path,
        # Not for each option that the keyboard passes.
        "hx-trigger": "change delay:300ms",
        "hx-vals": f'{{"{REFINE}": "1"}}',
    }
    catalogue = catalogue_of(request.environment)
    preview, words, faults = None, "", []
    if posted is not None and form.is_bound:
        valid, conditions = form.is_valid(), _conditions(form, editor)
        definition = form.definition(conditions)
        wrong = problems(definition)
        faults = editor.faults if "conditions" in form.applies else []
        if PREVIEW in posted:
            if not (wrong or faults or form.errors.keys() & set(DEFINITION)):
                preview = metric_preview(
                    request.environment,
                    definition,
                    form.cleaned_data.get("unit", ""),
                    timezone.now(),
                )
                words = sentence(definition)
            if wants_partial(request):
                return _previewed(request, form, editor, catalogue, preview, words)
        for name in wrong.keys() & form.fields.keys() - form.errors.keys():
            form.add_error(name, wrong[name])
        if valid and not (wrong or faults or PREVIEW in posted or is_review(request)):
            try:
                return _save(request, metric, form, conditions)
            except ValidationError as error:
                add_errors(form, error)
            except Conflict as conflict:
                return form_conflict(request, form, conflict, _url(request, conflict.object_id))
    _suggest(form, editor, catalogue)
    context = {
        "metric": metric,
        "form": form,
        "editor": editor,
        "faults": faults,
        "catalogue": catalogue,
        "properties": _numbers(form, catalogue),
        "preview": preview,
        "words": words,
        "running": metrics.running_experiments(metric) if metric else [],
    }
    refused = form.is_bound and (form.errors or faults)
    return render_partial(
        request, "flags/results/metric_edit.html", context, partial="editor",
        status=422 if refused else 200,
    )  # fmt: skip


def _conditions(form: MetricForm, editor: Editor) -> Any:
    """The typed conditions; None if there are none or, with errors in the editor, wrong ones."""
    return editor.read() if "conditions" in form.applies and not editor.is_empty else None


def _previewed(
    request: HtmxHttpRequest,
    form: MetricForm,
    editor: Editor,
    catalogue: Catalogue,
    preview: MetricPreview | None,
    words: str,
) -> HttpResponse:
    """The answer to htmx while staff type: the preview and what is known about the names."""
    _suggest(form, editor, catalogue)
    context = {
        "form": form,
        "editor": editor,
        "preview": preview,
        "words": words,
        "properties": _numbers(form, catalogue),
    }
    return render(request, "flags/results/_metric_previewed.html", context)


def _suggest(form: MetricForm, editor: Editor, catalogue: Catalogue) -> None:
    event, name = _typed(form, "event"), _typed(form, "property")
    form["event"].help_text = event_hint(event, catalogue) or " "
    hint = property_hint(join_path([name]), event, catalogue) if name else ""
    known = catalogue.events.get(event)
    seen = known.properties.get(join_path([name])) if known and name else None
    if seen and NUMBER not in seen.types:
        hint += "; only numbers count, so this metric would have no values"
    form["property"].help_text = hint or " "
    suggest_properties(editor.root, event, catalogue)


def _typed(form: MetricForm, name: str) -> str:
    return str(form[name].value() or "").strip()


def _numbers(form: MetricForm, catalogue: Catalogue) -> list[str]:
    """The properties of the typed event that have numbers, or of all events without one."""
    event = catalogue.events.get(_typed(form, "event"))
    shown = [event] if event else list(catalogue.events.values())
    names = {
        split_path(item.name)[0]: None
        for each in shown
        for item in each.properties.values()
        if NUMBER in item.types
    }
    return list(names)


def _save(
    request: HtmxHttpRequest, metric: Metric | None, form: MetricForm, conditions: Any
) -> HttpResponse:
    wanted, data = form.wanted(conditions), form.cleaned_data
    options: Any = {"actor": actor_of(request), "reason": data["reason"]}
    if metric is None:
        definition = wanted.pop("definition")
        new = Metric(environment=request.environment, key=data["key"], **wanted, **definition)
        entry: AuditEntry | None = metrics.metric_insert(new, **options)
        return changed(request, _url(request, new.key), entry, f"Created the metric {new.key}.")
    saved, entry = metrics.metric_update(metric, wanted, seen=data["seen"], **options)
    text = f"Saved {saved.key}."
    running = metrics.running_experiments(saved)
    if running and entry and "definition" in (entry.after or {}):
        keys = ", ".join(each.key for each in running)
        text += f" The results of {keys} are computed again."
    return changed(request, _url(request, saved.key), entry, text)


def _url(request: HttpRequest, key: str) -> str:
    return environment_url(request, "metric_detail", key)


# --- Archive --------------------------------------------------------------------------------------


@staff_view(Role.LIVE_OPS, "GET", "POST")
def metric_archive(request: HtmxHttpRequest, key: str, state: str) -> HttpResponse:
    metric, archived = get_or_404(request, Metric, key=key), state == "archive"
    if request.method == "POST":
        metric, entry = metrics.metric_set_archived(
            metric, archived, actor=actor_of(request), reason=reason_of(request)
        )
        return changed(request, _url(request, key), entry, f"{key} is {state}d.")
    text = "Experiments can choose it again."
    if archived:
        text = "New experiments cannot choose it. Experiments that have it measure it as before."
    return render_confirm(
        request,
        Confirm(
            title=f"{state.capitalize()} {key}",
            button=state.capitalize(),
            cancel_url=_url(request, key),
            text=text,
        ),
    )

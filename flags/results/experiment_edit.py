"""The pages that create and edit an experiment."""

from typing import Any

from django.core.exceptions import ValidationError
from django.forms import BaseFormSet, formset_factory
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from flags.dashboard.shortcuts import get_flag_or_404
from flags.engine import sentences
from flags.engine.document import DocumentError, FlagDocument
from flags.models import Experiment, ExperimentState, Flag, Metric, MetricRole
from flags.results import experiments
from flags.results.experiment_forms import ExperimentForm, MeasuredFlagForm, MetricUseForm
from flags.results.experiment_words import population_text, share_text
from flags.results.experiments import CHANGEABLE, MAX_METRICS, MetricUse
from flags.results.measured import arms_of, rule_of
from flags.results.power import PowerPlan, plan_of
from ilara_admin.core.changes import Conflict, reason_of
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, environment_url, staff_view
from ilara_admin.web.confirm import changed, form_conflict, is_review
from ilara_admin.web.forms import add_errors
from ilara_admin.web.formsets import moved_rows, typed_rows
from ilara_admin.web.htmx import (
    HtmxHttpRequest,
    redirect_to,
    render_partial,
    wants_partial,
    with_toast,
)
from ilara_admin.web.suggestions import Suggestions
from segments.editor.audience import SIZE, audience_of, render_size
from segments.editor.form_tree import ACT, optional_editor
from segments.editor.suggestions import catalogue_of, suggest
from segments.models import Segment

ROWS = "metrics"  # the prefix of the rows
POPULATION = "population"
POWER = "power"  # posted by the button that asks how many players are needed
Uses = formset_factory(MetricUseForm, extra=0, max_num=MAX_METRICS)


@staff_view(Role.LIVE_OPS, "GET", "POST")
def experiment_new(request: HtmxHttpRequest) -> HttpResponse:
    """A new experiment on a rule of `?flag=`; without it, the choice of a flag."""
    if "flag" not in request.GET:
        keys = Flag.objects.of(request.environment).archived(False).order_by("key")
        flags = Suggestions("flag-keys", {key: key for key in keys.values_list("key", flat=True)})
        context = {"form": MeasuredFlagForm(flags), "flags": flags}
        return render(request, "flags/results/experiment_flag.html", context)
    flag = get_flag_or_404(request, request.GET["flag"].strip())
    if flag.problem:
        response = redirect_to(request, environment_url(request, "flag_detail", flag.key))
        return with_toast(request, response, f"{flag.key} cannot be read.", tone="danger")
    return _edit(request, flag, None)


@staff_view(Role.LIVE_OPS, "GET", "POST")
def experiment_edit(request: HtmxHttpRequest, key: str) -> HttpResponse:
    found = Experiment.objects.select_related("flag__environment__project")
    experiment = get_object_or_404(found, environment=request.environment, key=key)
    return _edit(request, experiment.flag, experiment)


def _edit(request: HtmxHttpRequest, flag: Flag, experiment: Experiment | None) -> HttpResponse:
    """Buttons of rows, of the population and of the power render the page again; any other button
    saves."""
    posted = request.POST if request.method == "POST" else None
    state = ExperimentState(experiment.state) if experiment else ExperimentState.DRAFT
    changeable = CHANGEABLE[state]
    document = _document(flag)
    segments = _segments(request)
    editor = None
    if POPULATION in changeable:
        rule = experiment.population if experiment else None
        checked = bool(posted) and _saves(request)
        editor = optional_editor(POPULATION, posted, segments, rule, checked=checked)
    catalogue = catalogue_of(request.environment)
    if posted is not None and SIZE in posted and wants_partial(request):
        audience = audience_of(request.environment, editor)
        return render_size(request, audience, editor, catalogue, everyone=editor is None)
    form = _form(request, flag, experiment, document, changeable)
    uses = _uses(request, experiment) if "metrics" in changeable else None
    plan = _plan(request, form, uses, document) if posted is not None and POWER in posted else None
    wrong = False
    if form.is_bound:
        population = editor.read() if editor else None
        valid = [form.is_valid(), uses is None or uses.is_valid()]
        if all(valid) and (editor is None or population is not None) and not is_review(request):
            wanted = form.wanted
            if uses is not None:
                wanted["metrics"] = [each.use for each in uses.forms]
            if POPULATION in changeable:
                wanted["population"] = population
            try:
                return _save(request, flag, experiment, form, wanted)
            except ValidationError as error:
                add_errors(form, error)
            except Conflict as conflict:
                return form_conflict(
                    request, form, conflict, _cancel_url(request, flag, experiment)
                )
        wrong = True
    if editor and not editor.folded:
        suggest(editor, catalogue)
    context = {
        "flag": flag,
        "experiment": experiment,
        "form": form,
        "uses": uses,
        "metrics": _metric_choices(request),
        "editor": editor,
        "faults": editor.faults if editor else [],
        "edits_population": POPULATION in changeable,
        "population": population_text(experiment.population) if experiment else "",
        "changeable": changeable,
        "segments": segments,
        "catalogue": catalogue,
        "pressed": request.POST.get(ACT, ""),
        "plan": plan,
        "cancel_url": _cancel_url(request, flag, experiment),
        "url": request.get_full_path(),
    }
    return render_partial(
        request, "flags/results/experiment_edit.html", context, partial="editor",
        status=422 if wrong else 200,
    )  # fmt: skip


def _saves(request: HtmxHttpRequest) -> bool:
    """Whether the button that was pressed saves."""
    return not any(request.POST.get(name) for name in ("row", ACT, SIZE, POWER))


def _document(flag: Flag) -> FlagDocument | None:
    try:
        return flag.spec
    except DocumentError:
        return None


def _cancel_url(request: HtmxHttpRequest, flag: Flag, experiment: Experiment | None) -> str:
    if experiment:
        return environment_url(request, "experiment_detail", experiment.key)
    return environment_url(request, "flag_detail", flag.key)


def _segments(request: HtmxHttpRequest) -> Suggestions:
    keys = Segment.objects.filter(environment=request.environment).order_by("key")
    return Suggestions("segment-keys", {key: key for key in keys.values_list("key", flat=True)})


def _metric_choices(request: HtmxHttpRequest) -> Suggestions:
    metrics = Metric.objects.filter(environment=request.environment, archived_at=None)
    rows = metrics.order_by("key").values_list("key", "name")
    return Suggestions(
        "metric-keys", {key: key if name == key else f"{key}: {name}" for key, name in rows}
    )


# --- The form -------------------------------------------------------------------------------------


def _form(
    request: HtmxHttpRequest, flag: Flag, experiment: Experiment | None,
    document: FlagDocument | None, changeable: frozenset[str],
) -> ExperimentForm:  # fmt: skip
    here = timezone.localtime()
    rules = document.rules if document else ()
    names = {rule.id: sentences.sentence(rule, here) for rule in rules}
    choices = [
        (id, f"{number}. {text[:120]}") for number, (id, text) in enumerate(names.items(), start=1)
    ]
    now = experiments.fields_of(experiment) if experiment else {}
    initial: dict[str, Any] = {"key": experiment.key} if experiment else _new(request, flag)
    fixed = {"rule_id", "control", "planned_players", "planned_end"} - changeable
    saves = request.method == "POST" and _saves(request)
    typed = {}
    if request.method == "POST" and not saves:
        typed = {name: request.POST.get(name, "") for name in ExperimentForm.base_fields}
    form = ExperimentForm(
        f"experiment:{experiment.pk if experiment else ''}",
        now,
        request.POST if saves else None,
        {**initial, **typed},
        rules=choices,
        variants=[variant.key for variant in document.variants] if document else (),
        fixed=[*sorted(fixed), *(["key"] if experiment else [])],
    )
    if seen := typed.get("seen"):
        form.initial["seen"] = seen
    return form


def _new(request: HtmxHttpRequest, flag: Flag) -> dict[str, Any]:
    """What a new experiment begins with: the rule of the link, or the first with a split."""
    rules = flag.spec.rules
    asked = request.GET.get("rule", "")
    split = next((rule.id for rule in rules if rule.split), "")
    chosen = asked if any(rule.id == asked for rule in rules) else split
    rule = rule_of(flag.spec, chosen) or (rules[0] if rules else None)
    control = flag.spec.default
    if rule and rule.split:
        control = control if control in {each.variant for each in rule.split} else (
            rule.split[0].variant
        )  # fmt: skip
    taken = Experiment.objects.filter(environment=request.environment, key=flag.key).exists()
    return {
        "key": "" if taken else flag.key,
        "rule_id": rule.id if rule else "",
        "control": control,
        "owner": actor_of(request).name,
        "effect": 5,
    }


def _uses(request: HtmxHttpRequest, experiment: Experiment | None) -> "BaseFormSet[MetricUseForm]":
    options = {"metrics": _metric_choices(request), "empty_permitted": False}
    if request.method == "POST" and _saves(request):
        return Uses(request.POST, prefix=ROWS, form_kwargs=options)
    if request.method == "POST":
        rows = moved_rows(request.POST, ROWS)
        rows = typed_rows(request.POST, ROWS) if rows is None else rows
        return Uses(prefix=ROWS, initial=rows, form_kwargs=options)
    stored = experiments.uses_of(experiment) if experiment else [MetricUse("", MetricRole.PRIMARY)]
    rows = [
        {
            **use._asdict(),
            "tolerance": "" if use.tolerance is None else share_text(use.tolerance),
        }
        for use in stored
    ]
    return Uses(prefix=ROWS, initial=rows, form_kwargs=options)


def _plan(
    request: HtmxHttpRequest, form: ExperimentForm, uses: "BaseFormSet[MetricUseForm] | None",
    document: FlagDocument | None,
) -> PowerPlan:  # fmt: skip
    """How many players the typed experiment needs."""
    rows = typed_rows(request.POST, ROWS)
    primary = next((row for row in rows if row.get("role") == MetricRole.PRIMARY), {})
    metrics = Metric.objects.filter(environment=request.environment)
    metric = metrics.filter(key=str(primary.get("metric", "")).strip()).first()
    effect, rate = (_fraction(request.POST.get(name, "")) for name in ("effect", "rate"))
    if not effect:
        return PowerPlan(None, "Give the smallest effect that you want to find.")
    rule = rule_of(document, request.POST.get("rule_id", "")) if document else None
    variants = len(arms_of(rule, request.POST.get("control", ""))) if rule else 2
    return plan_of(metric, effect, rate, max(variants, 2))


def _fraction(text: str) -> float | None:
    """`5` as 0.05; None for what is not a percentage."""
    try:
        found = float(text) / 100
    except ValueError:
        return None
    return found if 0 < found <= 1 else None


# --- Save -----------------------------------------------------------------------------------------


def _save(
    request: HtmxHttpRequest, flag: Flag, experiment: Experiment | None, form: ExperimentForm,
    wanted: dict[str, Any],
) -> HttpResponse:  # fmt: skip
    actor, reason = actor_of(request), reason_of(request)
    if experiment:
        state = ExperimentState(experiment.state)
        fields = {name: wanted[name] for name in CHANGEABLE[state] if name in wanted}
        entry = experiments.experiment_update(
            experiment, fields, seen=form.cleaned_data["seen"], actor=actor, reason=reason
        )
        url = environment_url(request, "experiment_detail", experiment.key)
        return changed(request, url, entry, f"Saved {experiment.key}.")
    key = form.cleaned_data["key"]
    metrics = [MetricUse(**use) for use in wanted.pop("metrics")]
    wanted["planned_end"] = form.cleaned_data["planned_end"]
    experiments.experiment_create(
        flag=flag, key=key, metrics=metrics, actor=actor, reason=reason, **wanted
    )
    response = redirect_to(request, environment_url(request, "experiment_detail", key))
    return with_toast(request, response, f"Created {key}. Start it when all is set.")

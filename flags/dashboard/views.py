"""The pages of a new flag and of one flag. actions.py and editor.py change it."""

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from flags import services
from flags.cache import compile_draft, flags_of
from flags.dashboard import evaluations
from flags.dashboard.affected import dependents_in_use
from flags.dashboard.environments import flag_environments, flag_missing
from flags.dashboard.forms import FlagNewForm
from flags.dashboard.guard_panel import guarded_rules
from flags.dashboard.history import PARAMETER, history_of
from flags.dashboard.impact import impact
from flags.dashboard.impact_figures import Impact
from flags.dashboard.overrides import overrides_of
from flags.dashboard.receipts import receipt_context
from flags.dashboard.shortcuts import get_flag_or_404
from flags.dashboard.stale import asked_of, hints
from flags.engine import sentences
from flags.engine.bucketing import weights_of
from flags.engine.document import (
    DocumentError,
    FlagDocument,
    Rule,
    check_document,
)
from flags.engine.schedule import is_scheduled, next_change, rollout_at
from flags.models import Flag, segments_used
from flags.results.measured_by import measurable, measured_by
from ilara_admin.api import environment_cache
from ilara_admin.core.open_requests import open_about
from ilara_admin.models import Role
from ilara_admin.templatetags.charts import Share
from ilara_admin.web.access import actor_of, environment_url, may, staff_view
from ilara_admin.web.forms import add_errors
from ilara_admin.web.htmx import (
    HtmxHttpRequest,
    redirect_to,
    render_partial,
    wants_partial,
    with_toast,
)
from segments.cache import segments_part
from segments.language.parser import RuleError
from segments.models import Segment


@staff_view(Role.LIVE_OPS, "GET", "POST")
def flag_new(request: HtmxHttpRequest) -> HttpResponse:
    environments = list(request.project.environments.all())
    owner = actor_of(request).name
    form = FlagNewForm(environments, request.POST or None, initial={"owner": owner})
    form.suggest_tags(Flag.objects.of(request.environment).tags())
    if request.method == "POST" and form.is_valid():
        chosen = form.cleaned_data["environments"]
        try:
            services.flag_create_everywhere(
                request.project,
                slugs=chosen,
                key=form.cleaned_data["key"],
                name=form.cleaned_data["name"],
                description=form.cleaned_data["description"],
                owner=form.cleaned_data["owner"],
                expected_end=form.cleaned_data["expected_end"],
                tags=form.cleaned_data["tags"],
                document=form.document(),
                actor=actor_of(request),
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            here = request.environment.slug in chosen
            url = environment_url(request, "flag_detail", form.cleaned_data["key"])
            response = redirect_to(request, url if here else environment_url(request, "flag_list"))
            text = f"Created {form.cleaned_data['key']}, off, in {', '.join(chosen)}."
            return with_toast(request, response, text)
    status = 422 if form.is_bound else 200
    return render(request, "flags/new.html", {"form": form}, status=status)


@staff_view(Role.VIEWER)
def flag_detail(request: HtmxHttpRequest, key: str) -> HttpResponse:
    try:
        flag, now = get_flag_or_404(request, key), timezone.now()
    except Http404:
        return flag_missing(request, key)
    template = "flags/detail.html"
    context: dict[str, Any] = {"flag": flag, "may_edit": may(request, Role.LIVE_OPS)}
    if wants_partial(request) and evaluations.PARAMETER in request.GET:
        context["evaluations"] = evaluations.evaluations_of(request, flag, now)
        return render_partial(request, template, context, partial="evaluations")
    if wants_partial(request) and PARAMETER not in request.GET:
        context |= receipt_context(request, flag)
        return render_partial(request, template, context, partial="try")
    context |= history_of(request, flag)
    if not flag.problem:
        context |= document_context(flag.spec, now)
    if wants_partial(request):
        return render_partial(request, template, context, partial="history")
    measured = measured_by(flag)
    context |= {
        "unreadable_segments": _unreadable_segments(flag),
        "dependents": dependents_in_use(request, flag),
        "environments": flag_environments(request, key),
        "overrides": overrides_of(flag, now),
        "evaluations": evaluations.evaluations_of(request, flag, now),
        "requests": open_about(request.environment, "flag", key),
        "hints": hints(flag, now),
        "asked": asked_of(flag, now),
        "measured_by": measured,
        "measurable": measurable(flag, measured),
        "may_override": may(request, Role.SUPPORT),
        **receipt_context(request, flag),
    }
    guarded = guarded_rules(request, flag) if measured else {}
    for item in context.get("rules", ()):
        item["guarded"] = guarded.get(item["rule"].id)
    return render_partial(request, template, context, partial="history")


def document_context(document: FlagDocument, at: datetime) -> dict[str, Any]:
    """What the panels of rules and variants show of a document, with the percentages of that
    time."""
    return {
        "document": document,
        "variants": [
            {"variant": variant, "text": sentences.value_text(variant.value)}
            for variant in document.variants
        ],
        "metadata": [
            (key, sentences.value_text(value)) for key, value in sorted(document.metadata.items())
        ],
        "rules": [_rule_row(rule, at) for rule in document.rules],
    }


def _unreadable_segments(flag: Flag) -> list[Segment]:
    compiled = segments_part.of(environment_cache.at_version(flag.environment))
    used = segments_used(flag.document)
    if all(key in compiled and compiled[key].rule for key in used):
        return []
    segments = Segment.objects.filter(environment=flag.environment, key__in=used)
    return [segment for segment in segments if segment.spec is None]


def _rule_row(rule: Rule, now: datetime) -> dict[str, Any]:
    weights = weights_of(rule.split) if rule.split else {}
    return {
        "rule": rule,
        "parts": sentences.sentence_parts(rule, timezone.localtime(now)),
        "shares": [Share(key, weight) for key, weight in weights.items()],
        "figure": rollout_at(rule, now),
        "schedule": (
            sentences.percentage(rule, timezone.get_current_timezone())
            if is_scheduled(rule)
            else ""
        ),
        "next": next_change(rule, now),
    }


def impact_of(
    request: HtmxHttpRequest,
    flag: Flag,
    draft: FlagDocument,
    *,
    archived: bool | None = None,
    everyone: bool = False,
) -> Impact | None:
    """The players who would switch; None for a draft that cannot be evaluated."""
    known = environment_cache.at_version(request.environment)
    live = flags_of(known).get(flag.key)
    if live is None:
        return None
    try:
        check_document(draft)
        changed = live.archived if archived is None else archived
        ready = compile_draft(known, live, draft, changed)
    except (DocumentError, RuleError):
        return None
    return impact(known, live, ready, timezone.now(), everyone=everyone)

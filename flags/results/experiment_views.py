"""The pages of experiments and guarded rollouts: the list, one of them, and what becomes of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from flags.dashboard.affected import affected_flags
from flags.dashboard.impact import takes_a_sample
from flags.dashboard.impact_panel import (
    EVERYONE_BUTTON,
    DialogImpact,
    asks_everyone,
    dialog_impact,
)
from flags.engine import sentences
from flags.engine.document import DocumentError
from flags.engine.schedule import rollout_at
from flags.models import (
    Experiment,
    ExperimentDay,
    ExperimentKind,
    ExperimentMetric,
    ExperimentResult,
    ExperimentState,
    MetricRole,
)
from flags.results import experiments
from flags.results.evidence import evidence_of, evidence_rows
from flags.results.experiment_forms import DecideForm, ExperimentFilterForm, ExtendForm
from flags.results.experiment_warnings import warnings_of
from flags.results.experiment_words import (
    ACT_WORDS,
    field_differences,
    population_text,
    share_text,
)
from flags.results.group_ranges import is_limited
from flags.results.latest import latest_results, measure_of, outcomes_by_day, results_json
from flags.results.measured_by import state_of
from flags.results.outcome import is_trusted, outcome_of
from flags.results.reading import arms_of
from flags.results.result_text import TONES, verdict_text
from flags.results.result_views import results_of
from ilara_admin.core.changes import Conflict, reason_of
from ilara_admin.core.open_requests import open_about
from ilara_admin.models import AuditAction, AuditEntry, Role
from ilara_admin.web.access import actor_of, environment_url, may, staff_view
from ilara_admin.web.confirm import (
    PREVIEW,
    Confirm,
    changed,
    changed_together,
    is_review,
    posted_again,
    render_confirm,
    render_conflict,
)
from ilara_admin.web.csv_download import csv_download
from ilara_admin.web.filters import render_list
from ilara_admin.web.forms import add_errors
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.pagination import KeysetPage

EVERYBODY = 100_000
SHOWN_HISTORY = 8


def _experiment(request: HtmxHttpRequest, key: str) -> Experiment:
    found = Experiment.objects.select_related("flag__environment__project", "group")
    return get_object_or_404(found, environment=request.environment, key=key)


# --- The list -------------------------------------------------------------------------------------


@staff_view(Role.VIEWER)
def experiment_list(request: HtmxHttpRequest) -> HttpResponse:
    all_of_them = Experiment.objects.filter(environment=request.environment)
    form = ExperimentFilterForm(request)
    found = all_of_them.select_related("flag", "environment")
    if text := form.value("q"):
        found = found.filter(
            Q(key__icontains=text) | Q(name__icontains=text) | Q(flag__key__icontains=text)
        )
    for name, column in (("state", "state"), ("kind", "kind"), ("flag", "flag__key")):
        if value := form.value(name):
            found = found.filter(**{column: value})
    page = KeysetPage.of(found.order_by("-id"), request)
    context = {
        "form": form,
        "page": page,
        "rows": rows_of(page.rows),
        "exists": bool(page.rows) or all_of_them.exists(),
        "may_edit": may(request, Role.LIVE_OPS),
    }
    return render_list(request, "flags/results/experiment_list.html", context)


def rows_of(found: Sequence[Experiment]) -> list[dict[str, Any]]:
    """What lists show of experiments: the state, the players and the primary metric's lifts."""
    days = {
        (day.experiment_id, day.phase): day
        for day in ExperimentDay.objects.filter(experiment__in=found).order_by("day")
    }
    shown = [days.get((each.pk, each.phase)) for each in found]
    primaries = _primaries(found, [day for day in shown if day])
    rows = []
    for experiment, day in zip(found, shown, strict=True):
        players = sum(day.players.values()) if day else 0
        rows.append(
            {
                "experiment": experiment,
                **state_of(experiment),
                "players": players,
                "share": share_of(players, experiment.planned_players),
                "verdicts": primaries.get(experiment.pk, []),
            }
        )
    return rows


def _primaries(
    found: Sequence[Experiment], days: Sequence[ExperimentDay]
) -> dict[int, list[dict[str, str]]]:
    """The verdicts on the primary metric by variant, by experiment."""
    uses = ExperimentMetric.objects.filter(experiment__in=found, role=MetricRole.PRIMARY)
    wanted = {use.experiment_id: use for use in uses.select_related("metric")}
    newest = Q()
    for day in days:
        if day.experiment_id in wanted:
            newest |= Q(
                experiment=day.experiment_id, phase=day.phase, day=day.day,
                metric=wanted[day.experiment_id].metric,
            )  # fmt: skip
    if not newest:
        return {}
    by_id = {each.pk: each for each in found}
    trusted = {day.experiment_id: is_trusted(day.ratio_p) for day in days}
    players = {day.experiment_id: day.players for day in days}
    verdicts = {}
    for result in ExperimentResult.objects.filter(newest).defer("breakdowns"):
        experiment, use = by_id[result.experiment_id], wanted[result.experiment_id]
        measure = measure_of(use, experiment)
        outcome = outcome_of(
            measure,
            arms_of(result.arms),
            experiment.control,
            trusted=trusted[experiment.pk],
            variants=players[experiment.pk],
        )
        verdicts[experiment.pk] = [
            {
                "variant": each.variant,
                "text": verdict_text(measure, each),
                "tone": TONES.get(each.verdict, ""),
            }
            for each in outcome.comparisons
        ]
    return verdicts


def share_of(players: int, planned: int | None) -> int | None:
    """How much of the plan is reached, in thousandths of a percent; None without a plan."""
    return min(players * EVERYBODY // planned, EVERYBODY) if planned else None


# --- One experiment -------------------------------------------------------------------------------


@staff_view(Role.VIEWER)
def experiment_detail(request: HtmxHttpRequest, key: str) -> HttpResponse:
    experiment = _experiment(request, key)
    results = results_of(experiment, timezone.now())
    players = results["total"]
    history = AuditEntry.objects.visible_to(request.user, request.environment).filter(
        object_type="experiment", object_id=key
    )
    context = {
        "experiment": experiment,
        "flag": experiment.flag,
        **state_of(experiment),
        **_rule(experiment),
        "warnings": warnings_of(experiment),
        "uses": _uses(experiment),
        "population": population_text(experiment.population),
        "players": players,
        "share": share_of(players, experiment.planned_players),
        "results": results,
        "decided_on": shown_evidence(experiment.evidence) if experiment.evidence else None,
        "requests": open_about(request.environment, "experiment", key),
        "history": [_line(entry) for entry in history.order_by("-id")[:SHOWN_HISTORY]],
        "may_edit": may(request, Role.LIVE_OPS),
        "is_limited": is_limited(experiment),
        "is_rollout": experiment.kind == ExperimentKind.ROLLOUT,
    }
    return render(request, "flags/results/experiment_detail.html", context)


CSV = (
    "metric", "role", "day", "variant", "players", "mean", "lift", "low", "high", "level",
    "trusted",
)  # fmt: skip


@staff_view(Role.VIEWER)
def experiment_csv(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """The results by day, as in the API: a line for each metric, day and variant. `trusted` is that
    of the newest sample ratio check, the same in all lines."""
    latest = latest_results(_experiment(request, key))
    results = results_json(latest, outcomes_by_day(latest))
    trusted = str(results.sample_ratio.trusted).lower()
    rows = (
        (
            metric.metric, metric.role, day.day, found.variant, found.players, found.mean,
            found.lift, found.low, found.high, metric.level, trusted,
        )
        for metric in results.metrics
        for day in metric.days or ()
        for found in day.variants
    )  # fmt: skip
    texts = (["" if each is None else str(each) for each in row] for row in rows)
    return csv_download(request, "results", CSV, texts, key)


def _line(entry: AuditEntry) -> dict[str, Any]:
    """An entry of the history, and what it changed besides what its verb says."""
    now = timezone.localtime()
    before, after = (
        {name: value for name, value in (side or {}).items() if not name.startswith("_")}
        for side in (entry.before, entry.after)
    )
    is_update = entry.action == AuditAction.EXPERIMENT_UPDATED
    return {
        "entry": entry,
        "verb": ACT_WORDS.get(entry.action, entry.action),
        "changes": field_differences(before, after, now) if is_update else [],
    }


def _rule(experiment: Experiment) -> dict[str, Any]:
    """The measured rule, in words, if it is there and can be read."""
    now = timezone.now()
    try:
        rules = experiment.flag.spec.rules
    except DocumentError:
        return {}
    for number, rule in enumerate(rules, start=1):
        if rule.id == experiment.rule_id:
            parts = sentences.sentence_parts(rule, timezone.localtime(now))
            return {"parts": parts, "number": number, "figure": rollout_at(rule, now)}
    return {}


def _uses(experiment: Experiment) -> list[dict[str, Any]]:
    uses = ExperimentMetric.objects.filter(experiment=experiment).select_related("metric")
    return [
        {
            "metric": use.metric,
            "role": use.role,
            "tolerance": "" if use.tolerance is None else share_text(use.tolerance),
        }
        for use in uses.order_by("position")
    ]


def shown_evidence(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """A snapshot of results as _evidence.html shows it."""
    return {
        "rows": evidence_rows(evidence),
        "players": evidence["players"],
        "left_out": sum(evidence["left_out"].values()),
        "is_trusted": evidence["sample_ratio"]["trusted"],
        "phase": evidence["phase"],
    }


# --- Acts -----------------------------------------------------------------------------------------


def _url(request: HtmxHttpRequest, experiment: Experiment) -> str:
    return environment_url(request, "experiment_detail", experiment.key)


def _ask(
    request: HtmxHttpRequest, experiment: Experiment, confirm: Callable[[str], Confirm],
    act: Callable[[], AuditEntry | None], text: str,
) -> HttpResponse:  # fmt: skip
    """Ask, then act. `confirm` gets the error."""
    error = ""
    if request.method == "POST" and not asks_everyone(request):
        try:
            entry = act()
        except ValidationError as problem:
            error = " ".join(problem.messages)
        else:
            gone = not Experiment.objects.filter(pk=experiment.pk).exists()
            url = environment_url(request, "experiment_list") if gone else _url(request, experiment)
            return changed(request, url, entry, text)
    return render_confirm(request, confirm(error))


@staff_view(Role.LIVE_OPS, "GET", "POST")
def experiment_start(request: HtmxHttpRequest, key: str) -> HttpResponse:
    experiment = _experiment(request, key)
    problems = list(experiments.why_not_started(experiment).values())
    return _ask(
        request,
        experiment,
        lambda error: Confirm(
            title=f"Start {key}",
            button="" if problems else f"Start in {request.environment.slug}",
            cancel_url=_url(request, experiment),
            text=" ".join(problems)
            or f"Players of {experiment.flag.key} are recorded from their next evaluation on. What "
            "they get does not change.",
            error=error,
        ),
        lambda: experiments.experiment_start(
            experiment, actor=actor_of(request), reason=reason_of(request)
        ),
        f"{key} is running.",
    )


@staff_view(Role.LIVE_OPS, "GET", "POST")
def experiment_stop(request: HtmxHttpRequest, key: str) -> HttpResponse:
    experiment = _experiment(request, key)
    return _ask(
        request,
        experiment,
        lambda error: Confirm(
            title=f"Stop {key}",
            button=f"Stop in {request.environment.slug}",
            cancel_url=_url(request, experiment),
            text="No more players are recorded. The flag does not change, and the results stay. "
            "You can decide later.",
            tone="danger",
            error=error,
        ),
        lambda: experiments.experiment_stop(
            experiment, actor=actor_of(request), reason=reason_of(request)
        ),
        f"{key} is stopped. Its flag did not change.",
    )


@staff_view(Role.LIVE_OPS, "GET", "POST")
def experiment_leave(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """Free the players that an ended experiment has of its group."""
    experiment = _experiment(request, key)
    return _ask(
        request,
        experiment,
        lambda error: _leave_confirm(request, experiment, error),
        lambda: experiments.experiment_leave(
            experiment, actor=actor_of(request), reason=reason_of(request)
        ),
        f"The players of {key} are free.",
    )


def _leave_confirm(request: HtmxHttpRequest, experiment: Experiment, error: str) -> Confirm:
    flag, group = experiment.flag, experiment.group
    shown, button = DialogImpact(), ""
    if group is None or not is_limited(experiment):
        text = "Its rule is not limited to the players of a group."
    elif experiment.state == ExperimentState.RUNNING:
        text = "It runs with these players. Stop it first."
    elif flag.problem:
        text = f"The flag {flag.key} cannot be read. {flag.problem}"
    else:
        text = (
            f"The rule of {flag.key} takes all players again, not only those that the experiment "
            f"has in {group.name}. Other experiments of the group can have them then."
        )
        button = f"Free in {request.environment.slug}"
        shown = dialog_impact(request, flag, flag.spec.with_group(experiment.rule_id, None))
    return Confirm(
        title=f"Free the players of {experiment.key}",
        button=button,
        cancel_url=_url(request, experiment),
        text=text,
        figures=shown.html,
        second_button=shown.second_button,
        error=error,
    )


@staff_view(Role.LIVE_OPS, "GET", "POST")
def experiment_delete(request: HtmxHttpRequest, key: str) -> HttpResponse:
    experiment = _experiment(request, key)
    return _ask(
        request,
        experiment,
        lambda error: Confirm(
            title=f"Delete {key}",
            button=f"Delete {key}",
            cancel_url=_url(request, experiment),
            text="Only drafts can be deleted.",
            tone="danger",
            error=error,
        ),
        lambda: experiments.experiment_delete(
            experiment, actor=actor_of(request), reason=reason_of(request)
        ),
        f"Deleted the draft {key}.",
    )


@staff_view(Role.LIVE_OPS, "GET", "POST")
def experiment_extend(request: HtmxHttpRequest, key: str) -> HttpResponse:
    experiment = _experiment(request, key)
    initial = {
        "planned_players": experiment.planned_players,
        "planned_end": experiment.planned_end,
    }
    form = ExtendForm(request.POST or None, initial=initial)
    if form.is_bound and form.is_valid():
        try:
            entry = experiments.experiment_extend(
                experiment, **form.cleaned_data, actor=actor_of(request), reason=reason_of(request)
            )
        except ValidationError as problem:
            add_errors(form, problem)
        else:
            return changed(request, _url(request, experiment), entry, f"{key} has a new plan.")
    return render_confirm(
        request,
        Confirm(
            title=f"Extend {key}",
            button=f"Save to {request.environment.slug}",
            cancel_url=_url(request, experiment),
            text="The intervals hold at any time, so you can run it as long as you want.",
            form=form,
        ),
    )


# --- Decide ---------------------------------------------------------------------------------------


@staff_view(Role.LIVE_OPS, "GET", "POST")
def experiment_decide(request: HtmxHttpRequest, key: str) -> HttpResponse:
    """Ship a variant, with what the guard of the environment needs, or stop without one."""
    experiment = _experiment(request, key)
    variants = experiments.variants_of(experiment)
    evidence = evidence_of(experiment)
    ask_url = f"{request.path}?from={experiment.flag.revision}"
    posted = request.POST if "decision" in request.POST else None
    form = DecideForm(ask_url, variants, posted, initial={"decision": _first(request, variants)})
    variant = form.variant if form.is_valid() else None
    asks = "ask" in request.POST or asks_everyone(request)
    preview = _preview(request, experiment, variant) if variant is not None and asks else ""
    if posted is None and not preview and (first := _first(request, variants)):
        preview = _preview(request, experiment, first.removeprefix("ship "))
    if request.htmx.target == PREVIEW:
        return HttpResponse(preview)
    error = ""
    if variant is not None and not asks and not is_review(request):
        try:
            entries = experiments.experiment_decide(
                experiment,
                variant=variant,
                evidence=evidence,
                base_revision=_base(request, experiment),
                actor=actor_of(request),
                reason=reason_of(request),
            )
        except Conflict as conflict:
            return _conflict(request, experiment, conflict)
        except ValidationError as problem:
            error = " ".join(problem.messages)
        else:
            text = f"{experiment.flag.key} serves {variant} to everyone." if variant else (
                f"{key} is decided. Its flag did not change."
            )  # fmt: skip
            return changed_together(request, _url(request, experiment), entries, text)
    is_open = experiment.state in (ExperimentState.RUNNING, ExperimentState.STOPPED)
    context = {"evidence": shown_evidence(evidence), "request": request}
    return render_confirm(
        request,
        Confirm(
            title=f"Decide {key}",
            button=f"Decide in {request.environment.slug}" if is_open else "",
            cancel_url=_url(request, experiment),
            text="" if is_open else f"{key} is {experiment.state}. Only one that ran is decided.",
            figures=render_to_string("flags/results/_evidence.html", context),
            form=form if is_open else None,
            preview=preview if is_open else None,
            second_button=(
                EVERYONE_BUTTON if is_open and takes_a_sample(request.environment.pk) else ("", "")
            ),
            error=error,
        ),
    )


def _first(request: HtmxHttpRequest, variants: Sequence[str]) -> str:
    """What the dialog begins with: the variant of the link, else to stop."""
    asked = request.GET.get("ship", "")
    return f"ship {asked}" if asked in variants else "stop"


def _preview(request: HtmxHttpRequest, experiment: Experiment, variant: str) -> SafeString:
    """Who switches if the variant is shipped, here and in the flags that depend on this one."""
    if variant in ("", "stop"):
        return format_html("<p>{}</p>", "The flag does not change.")
    flag = experiment.flag
    try:
        draft = experiments.shipped(flag.spec, experiment.rule_id, variant)
    except (DocumentError, ValidationError):
        return SafeString("")
    found, html = dialog_impact(request, flag, draft)
    affected = affected_flags(request, flag, found, only_changed=True) if found else []
    others = render_to_string("components/_affected.html", {"affected": affected})
    return format_html("{}{}", html, others)


def _base(request: HtmxHttpRequest, experiment: Experiment) -> int:
    """The flag's revision when the dialog was opened."""
    text = request.GET.get("from", "")
    return int(text) if text.isdecimal() and len(text) < 10 else experiment.flag.revision


def _conflict(request: HtmxHttpRequest, experiment: Experiment, conflict: Conflict) -> HttpResponse:
    """The flag was changed since the dialog was opened."""
    url = f"{request.path}?from={conflict.current}"
    return render_conflict(
        request,
        conflict,
        cancel_url=_url(request, experiment),
        fields=posted_again(request),
        save_url=url,
        review_url=url,
    )

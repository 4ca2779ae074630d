"""The fields that guard a rollout, in the dialog of a percentage and in the review of rules."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from django import forms
from django.db import transaction
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from flags.dashboard.shortcuts import done
from flags.engine.document import FlagDocument, Rule
from flags.models import ExperimentState, Flag, Metric, MetricDirection, OnBreach
from flags.results.measured import rule_of
from flags.results.rollouts import (
    GuardPlan,
    guard_metrics,
    latest_rollout,
    plan_of,
    rollout_guard,
    why_not_guarded,
)
from flags.results.statistics import MIN_PLAYERS
from flags.services import flag_update
from ilara_admin.core.audit import Actor
from ilara_admin.models import AuditAction, AuditEntry
from ilara_admin.web.access import environment_url
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast

PREFIX = "guard"
TOLERANCE = Decimal(5)
MAX_TOLERANCE = 1000


class RolloutGuardForm(forms.Form):
    """Whether and how a rollout is guarded. `tolerance` is in percent."""

    # Posted if the fields were shown: else what runs is left alone.
    shown = forms.BooleanField(required=False, initial=True, widget=forms.HiddenInput)
    is_guarded = forms.BooleanField(
        label="Guard this rollout",
        required=False,
        help_text="Each minute, players with the new variant are compared with the others.",
    )
    metrics = forms.MultipleChoiceField(
        label="Guard metrics",
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one metric."},
    )
    tolerance = forms.DecimalField(
        label="Worst tolerable change, %",
        min_value=0,
        max_value=MAX_TOLERANCE,
        decimal_places=2,
        initial=TOLERANCE,
        widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
        error_messages={"required": "Give the worst tolerable change, such as 5."},
    )
    min_players = forms.IntegerField(
        label="Players per variant, at least",
        min_value=MIN_PLAYERS,
        max_value=1_000_000_000,
        initial=MIN_PLAYERS,
    )
    on_breach = forms.ChoiceField(
        label="On a breach",
        choices=OnBreach,
        initial=OnBreach.STEP_BACK,
        help_text="When a guard metric is surely worse than tolerable.",
    )
    use_required_attribute = False  # the fields count only if it is guarded

    def __init__(self, metrics: Sequence[Metric], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.has_metrics = bool(metrics)
        field = self.fields["metrics"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(metric.key, _label(metric)) for metric in metrics]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not data.get("is_guarded"):
            self.errors.clear()  # of fields that do not count
            return data
        return data

    @property
    def plan(self) -> GuardPlan | None:
        """None if it is not guarded. The form must be valid."""
        data = self.cleaned_data
        if not data["is_guarded"]:
            return None
        worst = float(data["tolerance"]) / 100
        return GuardPlan(
            dict.fromkeys(data["metrics"], worst), data["min_players"], OnBreach(data["on_breach"])
        )


def _label(metric: Metric) -> str:
    better = MetricDirection(metric.direction).label.lower()
    named = metric.key if metric.name == metric.key else f"{metric.name} ({metric.key})"
    return f"{named}: {better}"


def guard_form(
    request: HtmxHttpRequest, flag: Flag, rule_id: str, prefix: str = PREFIX
) -> RolloutGuardForm:
    """The form as posted, if it was shown, else with the guards of the rule's last rollout."""
    initial: dict[str, Any] = {}
    if (last := latest_rollout(flag, rule_id)) is not None:
        plan = plan_of(last)
        initial = {
            "is_guarded": last.state == ExperimentState.RUNNING,
            "metrics": list(plan.metrics),
            "min_players": plan.min_players,
            "on_breach": plan.on_breach,
        }
        if plan.metrics:
            initial["tolerance"] = Decimal(str(round(100 * max(plan.metrics.values()), 2)))
    posted = request.POST if f"{prefix}-shown" in request.POST else None
    return RolloutGuardForm(
        guard_metrics(request.environment), posted, prefix=prefix, initial=initial
    )


def render_guard(
    request: HtmxHttpRequest, form: RolloutGuardForm, flag: Flag, rule_id: str
) -> SafeString:
    """The fields, or why a change of the rule cannot be guarded."""
    context = {
        "guard": form,
        "why_not": why_not_guarded(flag, rule_id, flag.spec),
    }
    return render_to_string("flags/_guard_fields.html", context, request)


# --- The review of rules --------------------------------------------------------------------------


class ReviewedGuard(NamedTuple):
    """The fields of a rule whose percentage a draft changes. `why_not` as of why_not_guarded."""

    rule_id: str
    number: int
    guard: RolloutGuardForm
    why_not: str


def reviewed_guards(
    request: HtmxHttpRequest, flag: Flag, draft: FlagDocument
) -> list[ReviewedGuard]:
    """Of the rules whose percentage or schedule the draft changes, and that do not just serve
    everyone."""
    found = []
    for number, rule in enumerate(draft.rules, start=1):
        old = rule_of(flag.spec, rule.id)
        same = old is not None and _share(old) == _share(rule)
        if same or rule.split is not None or _share(rule) == _share(EVERYONE):
            continue
        form = guard_form(request, flag, rule.id, f"{PREFIX}-{rule.id}")
        why_not = why_not_guarded(flag, rule.id, draft)
        found.append(ReviewedGuard(rule.id, number, form, why_not))
    return found


EVERYONE = Rule("")


def _share(rule: Rule) -> tuple[object, ...]:
    return rule.rollout, rule.steps, rule.ramp


# --- Saving ---------------------------------------------------------------------------------------


@transaction.atomic
def guarded_save(
    flag: Flag, guards: Mapping[str, RolloutGuardForm], *, document: FlagDocument,
    base_revision: int, actor: Actor, reason: str,
) -> list[AuditEntry]:  # fmt: skip
    """Save a document with the guards of its rules, by id. The forms must be valid, or not bound:
    then they were not shown. Raises as rollout_guard does."""
    posted = {rule_id: form for rule_id, form in guards.items() if form.is_bound}
    if not posted:
        _, entry = flag_update(
            flag, document=document, base_revision=base_revision, actor=actor, reason=reason
        )
        return [entry] if entry else []
    entries: list[AuditEntry] = []
    for rule_id, form in posted.items():
        assert form.is_valid()
        entries += rollout_guard(
            flag, rule_id, form.plan, document=document, base_revision=base_revision,
            actor=actor, reason=reason,
        )  # fmt: skip
        flag.refresh_from_db()
        base_revision = flag.revision
    return entries


def guarded_done(
    request: HtmxHttpRequest, flag: Flag, entries: Sequence[AuditEntry], text: str
) -> HttpResponse:
    """As `done`. Undo takes back the change of the flag; its guards go on."""
    started = any(entry.action == AuditAction.EXPERIMENT_STARTED for entry in entries)
    text += " It is guarded." if started else ""
    changed = next((entry for entry in entries if entry.object_type == "flag"), None)
    if changed or not entries:
        return done(request, flag, changed, text)
    response = redirect_to(request, environment_url(request, "flag_detail", flag.key))
    return with_toast(request, response, text)

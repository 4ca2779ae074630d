"""The fields that guard a rollout, in the dialog of a percentage and in the review of rules."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from flags.engine.document import FlagDocument
from flags.models import ExperimentState, Flag, Metric, MetricDirection, OnBreach
from flags.results.breach import MIN_PLAYERS
from flags.results.rollouts import (
    GuardPlan,
    guard_metrics,
    latest_rollout,
    plan_of,
    why_not_guarded,
)
from ilara_admin.web.htmx import HtmxHttpRequest

PREFIX = "guard"
TOLERANCE = Decimal(5)
MAX_TOLERANCE = 1000


class GuardForm(forms.Form):
    """Whether and how a rollout is guarded. `tolerance` is in percent."""

    is_guarded = forms.BooleanField(
        label="Guard this rollout",
        required=False,
        help_text="Players with the new value are compared with the others each minute.",
    )
    metrics = forms.MultipleChoiceField(
        label="Guard metrics", required=False, widget=forms.CheckboxSelectMultiple
    )
    tolerance = forms.DecimalField(
        label="Worst tolerable change, %",
        min_value=0,
        max_value=MAX_TOLERANCE,
        decimal_places=2,
        initial=TOLERANCE,
        required=False,
        widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
    )
    min_players = forms.IntegerField(
        label="Players per variant, at least",
        min_value=MIN_PLAYERS,
        max_value=1_000_000_000,
        initial=MIN_PLAYERS,
        required=False,
    )
    on_breach = forms.ChoiceField(
        label="On a breach", choices=OnBreach, initial=OnBreach.STEP_BACK, required=False
    )

    def __init__(self, metrics: Sequence[Metric], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["metrics"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(metric.key, _label(metric)) for metric in metrics]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not data.get("is_guarded"):
            self.errors.clear()  # of fields that do not count
            return data
        for name, problem in (
            ("metrics", "Choose at least one metric."),
            ("tolerance", "Give the worst tolerable change, such as 5."),
            ("min_players", f"Give a number of players from {MIN_PLAYERS} on."),
            ("on_breach", "Choose what happens."),
        ):
            if data.get(name) in (None, "", []) and not self.has_error(name):
                self.add_error(name, ValidationError(problem))
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
    request: HtmxHttpRequest, flag: Flag, rule_id: str, posted: Mapping[str, Any] | None,
    prefix: str = PREFIX,
) -> GuardForm:  # fmt: skip
    """The form as posted, else with the guards of the rule's last rollout; checked while it runs or
    if it was the last one's choice."""
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
    metrics = guard_metrics(request.environment)
    return GuardForm(metrics, posted, prefix=prefix, initial=initial)


def render_guard(
    request: HtmxHttpRequest, form: GuardForm, flag: Flag, rule_id: str, draft: FlagDocument
) -> SafeString:
    """The fields, or why the change cannot be guarded."""
    context = {
        "guard": form,
        "why_not": why_not_guarded(flag, rule_id, draft),
        "has_metrics": bool(form["metrics"].field.choices),
    }
    return render_to_string("flags/_guard_fields.html", context, request)

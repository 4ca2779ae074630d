"""The forms of the experiment pages."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from flags.dashboard.forms import KEY_VALIDATOR, percent_field
from flags.models import ExperimentKind, MetricRole
from flags.results.experiments import MAX_HYPOTHESIS, MAX_PLAYERS
from flags.results.measured_by import STATES
from ilara_admin.core.changes import MAX_REASON
from ilara_admin.web.confirm import PREVIEW
from ilara_admin.web.filters import FilterForm
from ilara_admin.web.forms import SeenForm
from ilara_admin.web.suggestions import SuggestedChoiceField, Suggestions


class ExperimentFilterForm(FilterForm):
    q = forms.CharField(
        label="Search", required=False, widget=forms.TextInput(attrs={"type": "search"})
    )
    state = forms.ChoiceField(
        required=False, choices=[("", "Any"), *((str(key), text) for key, text in STATES.items())]
    )
    kind = forms.ChoiceField(required=False, choices=[("", "Any"), *ExperimentKind.choices])
    flag = forms.CharField(label="Flag", required=False, widget=forms.HiddenInput)


class MeasuredFlagForm(forms.Form):
    """Which flag a new experiment measures."""

    flag = SuggestedChoiceField(
        help_text="The flag needs a rule with a split, or with a percentage between 0 and 100."
    )

    def __init__(self, flags: Suggestions, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["flag"]
        assert isinstance(field, SuggestedChoiceField)
        field.suggest(flags, empty=("", "Choose a flag"))


def _players_field(**options: Any) -> forms.IntegerField:
    return forms.IntegerField(
        label="Planned players",
        required=False,
        min_value=1,
        max_value=MAX_PLAYERS,
        help_text="In all variants together. The page shows the progress; nothing stops by itself.",
        **options,
    )


def _end_field() -> forms.DateField:
    return forms.DateField(
        label="Planned end",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
    )


class ExperimentForm(SeenForm):
    key = forms.CharField(
        max_length=128,
        validators=[KEY_VALIDATOR],
        help_text="The id in the API, such as <code>lower-price</code>. It cannot change.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )
    name = forms.CharField(max_length=200, required=False)
    hypothesis = forms.CharField(
        required=False,
        max_length=MAX_HYPOTHESIS,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="What you expect, and why: a lower price doubles the players who pay.",
    )
    owner = forms.CharField(
        max_length=200, required=False, help_text="The person or team to contact."
    )
    rule_id = forms.ChoiceField(label="Rule")
    control = forms.ChoiceField(
        help_text="The variant that the others are compared with. If the rule has a percentage, "
        "the variant that players outside it get."
    )
    planned_players = _players_field()
    planned_end = _end_field()
    effect = percent_field("Smallest effect to find, %", required=False)
    rate = percent_field(
        "Rate now, %", required=False,
        help_text="Of a primary metric that is a share of players and has no earlier results.",
    )  # fmt: skip
    reason = forms.CharField(
        required=False,
        max_length=MAX_REASON,
        help_text="Stored in the audit log.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(
        self, key: str, now: Mapping[str, Any], data: Mapping[str, Any] | None = None,
        initial: Mapping[str, Any] | None = None, *, rules: Sequence[tuple[str, str]],
        variants: Sequence[str], fixed: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(key, now, data, initial)
        self._choose("rule_id", rules)
        self._choose("control", [(variant, variant) for variant in variants])
        for name in fixed:
            self.fields[name].disabled = True

    def _choose(self, name: str, choices: Sequence[tuple[str, str]]) -> None:
        """What is chosen stays selectable, also if the flag no longer has it."""
        field, chosen = self.fields[name], self.initial.get(name)
        assert isinstance(field, forms.ChoiceField)
        gone = [(chosen, f"{chosen} (removed)")] if chosen else []
        known = any(value == chosen for value, _ in choices)
        field.choices = [*choices, *([] if known else gone)]

    @property
    def wanted(self) -> dict[str, Any]:
        """The fields of experiments.fields_of that the form sets."""
        names = ("name", "hypothesis", "owner", "rule_id", "control", "planned_players")
        end = self.cleaned_data["planned_end"]
        found = {name: self.cleaned_data[name] for name in names}
        return {**found, "planned_end": end.isoformat() if end else None}


class MetricUseForm(forms.Form):
    """A metric of an experiment."""

    metric = SuggestedChoiceField()
    role = forms.ChoiceField(
        choices=[
            (MetricRole.PRIMARY, "Primary"),
            (MetricRole.SECONDARY, "Secondary"),
            (MetricRole.GUARD, "Guard"),
        ]
    )
    tolerance = percent_field("Tolerance, %", required=False)

    def __init__(self, *args: Any, metrics: Suggestions, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["metric"]
        assert isinstance(field, SuggestedChoiceField)
        field.suggest(metrics, empty=("", "Choose a metric"))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        is_guard = data.get("role") == MetricRole.GUARD
        if is_guard and data.get("tolerance") is None and "tolerance" not in self.errors:
            self.add_error("tolerance", "Give the worst change that a guard tolerates.")
        return data

    @property
    def use(self) -> dict[str, Any]:
        """As MetricUse, in fields_of."""
        data, tolerance = self.cleaned_data, self.cleaned_data.get("tolerance")
        is_guard = data["role"] == MetricRole.GUARD
        share = float(tolerance) / 100 if is_guard and tolerance is not None else None
        return {"metric": data["metric"], "role": data["role"], "tolerance": share}


class ExtendForm(forms.Form):
    """A new plan."""

    planned_players = _players_field()
    planned_end = _end_field()


class DecideForm(forms.Form):
    """What becomes of an experiment. While it is chosen, the dialog shows who switches."""

    decision = forms.ChoiceField(
        help_text="Shipping serves the variant to all players that match the rule."
    )

    def __init__(
        self, preview_url: str, variants: Sequence[str], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["decision"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            *((f"ship {variant}", f"Ship {variant}") for variant in variants),
            ("stop", "Stop without shipping"),
        ]
        field.widget.attrs |= {
            "hx-post": preview_url,
            "hx-vals": '{"ask": "1"}',
            "hx-trigger": "change",
            "hx-target": f"#{PREVIEW}",
            "hx-swap": "innerHTML",
            "hx-sync": "this:replace",
        }

    @property
    def variant(self) -> str:
        """The variant to ship, "" for none."""
        verb, _, variant = str(self.cleaned_data["decision"]).partition(" ")
        return variant if verb == "ship" else ""

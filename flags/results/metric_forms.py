"""The form of a metric without its conditions, and the filter of the list."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.validators import RegexValidator

from flags.models import Metric, MetricDirection, MetricKind
from flags.results.metric_definition import (
    APPLIES,
    DEFINITION,
    LEAST_PERCENTILE,
    MAX_WINDOW,
    NOTHING,
    SHARES,
    only_applying,
    problems,
)
from flags.results.metrics import TEXTS, definition_of, fields_of
from ilara_admin.core.changes import MAX_REASON
from ilara_admin.core.names import name_problem
from ilara_admin.web.filters import FilterForm
from ilara_admin.web.forms import SeenForm
from ilara_admin.web.sorting import Column, sort_field
from ilara_admin.web.suggestions import SuggestedChoiceField
from segments.keys import KEY, KEY_FORM

COLUMNS = {
    "key": Column("Key", ["key"]),
    "owner": Column("Owner", ["owner", "key"]),
    "used": Column("Used by", ["used", "key"], newest_first=True),
    "changed": Column("Changed", ["updated_at", "key"], newest_first=True),
}
PLAIN = {"autocapitalize": "none", "spellcheck": "false", "autocomplete": "off"}


class MetricFilterForm(FilterForm):
    q = forms.CharField(
        label="Search", required=False, widget=forms.TextInput(attrs={"type": "search"})
    )
    state = forms.ChoiceField(required=False, choices=[("", "In use"), ("archived", "Archived")])
    kind = forms.ChoiceField(
        label="Measures", required=False, choices=[("", "Anything"), *MetricKind.choices]
    )
    owner = SuggestedChoiceField(required=False)
    sort = sort_field(COLUMNS)


class MetricForm(SeenForm):
    """Fields that the chosen kind does not have are not shown, and ignored. `applies` are the names
    of those that it has."""

    kind = forms.ChoiceField(label="Measures", choices=MetricKind.choices)
    event = forms.CharField(
        required=False,
        max_length=128,
        help_text=" ",
        widget=forms.TextInput(attrs={**PLAIN, "list": "rule-events"}),
    )
    property = forms.CharField(
        required=False,
        max_length=128,
        help_text=" ",
        widget=forms.TextInput(attrs={**PLAIN, "list": "metric-properties"}),
    )
    window_days = forms.IntegerField(
        label="Window in days",
        required=False,
        min_value=1,
        max_value=MAX_WINDOW,
        help_text="Only what happens within this many days after the exposure counts, and only "
        "players whose window is over. The exposure is when a player first gets a variant of the "
        "experiment. Empty: everything since the exposure.",
    )
    percentile = forms.FloatField(
        label="Cap at percentile",
        required=False,
        min_value=LEAST_PERCENTILE,
        max_value=99.99,
        help_text="Higher values are set to the value at this percentile, such as 99, so that a "
        "few players do not decide. Empty: no cap.",
        widget=forms.NumberInput(attrs={"step": "any"}),
    )
    direction = forms.ChoiceField(choices=MetricDirection.choices)
    unit = forms.CharField(
        required=False, max_length=20, help_text="Such as coins or seconds.",
        widget=forms.TextInput(attrs=PLAIN),
    )  # fmt: skip
    key = forms.CharField(
        max_length=128,
        validators=[RegexValidator(rf"^{KEY.pattern}\Z", KEY_FORM)],
        help_text="Such as <code>level-completions</code>. It cannot be changed.",
        widget=forms.TextInput(attrs=PLAIN),
    )
    name = forms.CharField(max_length=200, required=False)
    owner = forms.CharField(
        max_length=200, required=False, help_text="The person or team to contact."
    )
    description = forms.CharField(
        max_length=500, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    reason = forms.CharField(
        max_length=MAX_REASON, required=False, help_text="Stored in the audit log."
    )

    def __init__(
        self,
        metric: Metric | None,
        data: Mapping[str, Any] | None = None,
        shown: Mapping[str, Any] | None = None,
    ) -> None:
        """`shown` is typed but not to be checked yet."""
        now = fields_of(metric) if metric else {}
        stored = {"key": metric.key, **definition_of(metric)} if metric else {}
        super().__init__(metric.key if metric else "", now, data, {**stored, **(shown or {})})
        if shown is not None:
            self.initial["seen"] = shown.get("seen", "")
        self.fields["key"].disabled = metric is not None
        kind = str(self["kind"].value() or "")
        self.chosen_kind = kind if kind in APPLIES else MetricKind.COUNT.value
        has_unit = self.chosen_kind not in (*SHARES, MetricKind.REVENUE)
        self.applies = (*APPLIES[self.chosen_kind], *(["unit"] if has_unit else []))
        for name, text in problems({**NOTHING, "kind": self.chosen_kind}).items():
            self.fields[name].required = True
            self.fields[name].error_messages["required"] = text
        if self.chosen_kind == MetricKind.RETENTION:
            window = self.fields["window_days"]
            window.label = "Day"
            window.help_text = "Such as 1 or 7: the UTC day that many days after the exposure."

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name and (problem := name_problem(name)):
            raise forms.ValidationError(f"The name {problem}.")
        return name

    def definition(self, conditions: Any) -> dict[str, Any]:
        """The typed definition, which may be wrong; what is not valid is left out."""
        data = {**dict.fromkeys(DEFINITION), **getattr(self, "cleaned_data", {})}
        typed = {name: data[name] or "" for name in ("event", "property")}
        return only_applying({**data, **typed, "kind": self.chosen_kind, "conditions": conditions})

    def wanted(self, conditions: Any) -> dict[str, Any]:
        """The fields of metrics.fields_of."""
        texts = {name: self.cleaned_data[name] for name in TEXTS}
        if "unit" not in self.applies:
            texts["unit"] = ""
        return {
            **texts,
            "name": texts["name"] or self.cleaned_data["key"],
            "definition": self.definition(conditions),
            "direction": self.cleaned_data["direction"],
        }

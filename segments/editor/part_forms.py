"""The controls of the rule editor: one form per kind of part."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django import forms

from ilara_admin.web.suggestions import Suggestions
from segments.editor.draft import NEVER, PartKind, document_of, kind_of
from segments.language.operators import OPERATORS, ValueKind
from segments.language.parser import MAX_EVENTS, RuleError, parse
from segments.language.values import UNITS

GROUPS = [("AND", "all of these"), ("OR", "any of these"), ("NOT", "none of these")]
MEMBERSHIP = [("in", "is in any of"), ("not_in", "is in none of")]
TIMES = [(">=", "at least"), ("<=", "at most"), (NEVER, "never")]
PLAIN = {"autocapitalize": "none", "spellcheck": "false", "autocomplete": "off"}
OFFERED = {
    "Any value": ("==", "!=", "in", "not_in", "is_set", "is_not_set"),
    "Number": (">", ">=", "<", "<="),
    "Text": ("contains", "not_contains", "starts_with", "ends_with", "matches", "not_matches"),
    "List": ("contains_any", "contains_all"),
    "Time": ("within_last", "not_within_last", "before", "after"),
    "Version": ("semver_eq", "semver_gt", "semver_gte", "semver_lt", "semver_lte"),
}
NOT_OF_PROPERTIES = ("matches", "not_matches")


def _choices(*but: str) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        (name, [(key, OPERATORS[key].words) for key in keys if key not in but])
        for name, keys in OFFERED.items()
    ]


class OperatorSelect(forms.Select):
    """A select that hides operators the field does not support; ilara.js shows them again when the
    field changes. A selected one stays visible, so that it can be corrected."""

    offered: ValueKind = ValueKind.ANY

    def create_option(
        self, name: str, value: Any, label: Any, selected: bool, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        option = super().create_option(name, value, label, selected, *args, **kwargs)
        operator = OPERATORS[str(value)]
        option["attrs"]["data-kinds"] = "|".join(sorted(operator.kinds))
        option["attrs"]["data-takes"] = operator.takes
        if self.offered not in operator.kinds and not selected:
            option["attrs"] |= {"hidden": True, "disabled": True}
        return option


class PartForm(forms.Form):
    """`controls` maps the last name in the path of a RuleError to a control."""

    kind: ClassVar[PartKind]
    controls: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *args: Any, segments: Suggestions, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepare(segments)

    def prepare(self, segments: Suggestions) -> None:
        """Adapt the choices to the typed values."""

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not self.errors:
            self.check()
        return data

    def check(self) -> None:
        """Validate the part as the only condition of a rule."""
        try:
            parse({"operator": "AND", "conditions": [self.sample()]})
        except RuleError as error:
            self.fault(error.path.partition(".")[2], error.message)

    def sample(self) -> Any:
        return self.document([])

    def document(self, parts: Sequence[Any]) -> Any:
        return document_of(self.kind, self.cleaned_data, parts)

    def fault(self, place: str, message: str) -> None:
        """Add an error to the control that `place` names, else to the form."""
        self.add_error(self.controls.get(place.rpartition(".")[2]), message)


class GroupForm(PartForm):
    kind: ClassVar[PartKind] = "group"
    controls: ClassVar = {"operator": "operator"}
    operator = forms.ChoiceField(label="A player matches", choices=GROUPS)

    def check(self) -> None:
        """Nothing: a group is validated together with its parts."""


class WhereForm(GroupForm):
    """A whole rule over the properties of an event."""

    kind: ClassVar[PartKind] = "where"
    operator = forms.ChoiceField(label="Events with", choices=GROUPS)


class ConditionForm(PartForm):
    kind: ClassVar[PartKind] = "field"
    controls: ClassVar = {"field": "field", "operator": "operator", "value": "value"}
    field = forms.CharField(
        widget=forms.TextInput(
            attrs={**PLAIN, "list": "rule-fields", "placeholder": "Field or attribute"}
        ),
    )
    operator = forms.ChoiceField(choices=_choices(), widget=OperatorSelect)
    value = forms.CharField(
        required=False, widget=forms.TextInput(attrs={**PLAIN, "placeholder": "Value"})
    )

    def prepare(self, segments: Suggestions) -> None:
        widget = self.fields["operator"].widget
        assert isinstance(widget, OperatorSelect)
        name = str(self["field"].value() or "")
        widget.offered = kind_of(self.kind, name)
        if self.kind == "field":
            self.fields["value"].widget.attrs["list"] = f"{self.prefix}-values"

    def check(self) -> None:
        takes = OPERATORS[self.cleaned_data["operator"]].takes
        if takes != "nothing" and not self.cleaned_data["value"]:
            self.add_error("value", "Enter a value.")
        else:
            super().check()


class PropertyForm(ConditionForm):
    """A condition on a property of an event."""

    kind: ClassVar[PartKind] = "property"

    def prepare(self, segments: Suggestions) -> None:
        self.fields["field"].label = "Property"
        self.fields["field"].widget.attrs["placeholder"] = "Property"
        self.fields["field"].widget.attrs["list"] = "rule-properties"
        operator = self.fields["operator"]
        assert isinstance(operator, forms.ChoiceField)
        operator.choices = _choices(*NOT_OF_PROPERTIES)
        super().prepare(segments)

    def sample(self) -> Any:
        where = {"operator": "AND", "conditions": [self.document([])]}
        return {"event": "any", "operator": ">=", "value": 1, "within": "1d", "where": where}


class ChosenSegments(forms.CheckboxSelectMultiple):
    """The chosen segments as checkboxes, and a text input that adds another one."""

    template_name = "segments/_chosen.html"

    def __init__(self, segments: Suggestions) -> None:
        super().__init__()
        self.segments = segments

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        id_ = context["widget"]["attrs"].get("id", "")
        more = self.segments.input("Add a segment").render(
            name, "", {"id": self.id_for_label(id_), "aria-label": "Add a segment"}
        )
        return {**context, "more": more}

    def id_for_label(self, id_: str, index: Any = None) -> str:
        return f"{id_}_more" if index is None else super().id_for_label(id_, index)


class SegmentsForm(PartForm):
    kind: ClassVar[PartKind] = "segment"
    controls: ClassVar = {"operator": "operator", "value": "segments"}
    operator = forms.ChoiceField(choices=MEMBERSHIP)
    segments = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one segment."},
    )

    def prepare(self, segments: Suggestions) -> None:
        """Selected keys come first, in their order, because checkboxes post in page order."""
        chosen = list(dict.fromkeys(self["segments"].value() or ()))
        field = self.fields["segments"]
        assert isinstance(field, forms.MultipleChoiceField)
        known = segments.choices
        shown = [(key, key if key in known else f"{key} (deleted)") for key in chosen]
        field.choices = shown + [(key, key) for key in known if key not in set(chosen)]
        if segments.are_many:
            field.widget = ChosenSegments(segments)
            field.widget.choices = shown


class EventForm(PartForm):
    kind: ClassVar[PartKind] = "event"
    controls: ClassVar = {
        "event": "event", "operator": "operator", "value": "value", "within": "number",
    }  # fmt: skip
    event = forms.CharField(
        max_length=128,
        widget=forms.TextInput(attrs={**PLAIN, "list": "rule-events", "placeholder": "Event"}),
    )
    operator = forms.ChoiceField(label="How often", choices=TIMES)
    value = forms.IntegerField(label="Times", required=False, min_value=0, max_value=MAX_EVENTS)
    number = forms.IntegerField(label="Within the last", min_value=1, max_value=99_999)
    unit = forms.ChoiceField(label="Unit of time", choices=list(UNITS.items()))

    def check(self) -> None:
        if self.cleaned_data["operator"] != NEVER and self.cleaned_data["value"] is None:
            self.add_error("value", "Enter a number of times.")
        else:
            super().check()


class JsonForm(PartForm):
    """A part as JSON, or with `whole` the entire rule."""

    kind: ClassVar[PartKind] = "json"
    whole = False
    json = forms.CharField(
        label="JSON",
        widget=forms.Textarea(attrs={"rows": 6, "class": "mono", "spellcheck": "false"}),
    )

    def clean_json(self) -> Any:
        try:
            return json.loads(self.cleaned_data["json"])
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, column {error.colno}"
            raise forms.ValidationError(f"Invalid JSON: {error.msg}, {place}.") from None
        except (ValueError, RecursionError):
            raise forms.ValidationError("Invalid JSON.") from None

    def check(self) -> None:
        if not self.whole:
            super().check()

    def document(self, parts: Sequence[Any]) -> Any:
        return self.cleaned_data["json"]

    def fault(self, place: str, message: str) -> None:
        text = f"{place}: {message}" if place else message
        # A name in the JSON may contain a lone surrogate, which cannot be encoded.
        self.add_error("json", text.encode(errors="replace").decode())


FORMS: Mapping[PartKind, type[PartForm]] = {
    form.kind: form
    for form in (
        GroupForm, WhereForm, ConditionForm, PropertyForm, SegmentsForm, EventForm, JsonForm,
    )
}  # fmt: skip

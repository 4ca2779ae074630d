"""The forms of the segment pages, and their way to a rule document and back."""

import json
import re
from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

from segments.keys import KEY, KEY_FORM
from segments.operators import OPERATORS
from segments.rules import RuleError, parse

# An item of a list as staff type it: text in quotes may hold commas.
ITEM = re.compile(r'\s*("(?:[^"\\]|\\.)*"(?=\s*(?:,|$))|[^,]+)')
# What these operators take is text, and 40 is not a number there.
AS_TYPED = ("text", "pattern", "duration", "moment", "version")
GROUPS = [("AND", "All of these"), ("OR", "Any of these"), ("NOT", "None of these")]


def checked_rule(document: Any) -> Any:
    """The rule document as it is, or ValidationError saying where it is wrong."""
    if document is not None:
        try:
            parse(document)
        except RuleError as error:
            raise ValidationError(str(error)) from None
    return document


class OptionalJSONField(forms.JSONField):
    """A JSON field whose empty value is drawn as nothing instead of `null`."""

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)


class SegmentForm(forms.Form):
    key = forms.CharField(
        max_length=128,
        validators=[RegexValidator(rf"^{KEY.pattern}\Z", KEY_FORM)],
        help_text="Its id in the API, such as <code>beta-testers</code>. It cannot change.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )
    name = forms.CharField(max_length=200, required=False)
    description = forms.CharField(
        max_length=500, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    operator = forms.ChoiceField(label="A player matches", choices=GROUPS, initial="AND")
    document = OptionalJSONField(
        label="Rule (JSON)",
        required=False,
        widget=forms.Textarea(attrs={"rows": 12, "class": "mono", "spellcheck": "false"}),
        help_text="Groups may nest. It replaces the conditions above.",
    )
    reason = forms.CharField(max_length=500, required=False, help_text="Kept in the audit log.")
    base = forms.DateTimeField(required=False, widget=forms.HiddenInput)

    def clean_document(self) -> Any:
        return checked_rule(self.cleaned_data["document"])


class ConditionForm(forms.Form):
    field = forms.CharField(
        max_length=128,
        widget=forms.TextInput(
            attrs={"list": "fields", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )
    operator = forms.ChoiceField(
        choices=[(key, operator.words) for key, operator in OPERATORS.items()]
    )
    value = forms.CharField()

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        operator = OPERATORS.get(data.get("operator", ""))
        if operator and operator.takes == "nothing":
            self.errors.pop("value", None)
        elif "value" not in data:
            return data
        if "field" in data and "operator" in data:
            try:
                parse({"operator": "AND", "conditions": [self.condition(data)]})
            except RuleError as error:
                name = error.path.rpartition(".")[2]
                self.add_error(name if name in self.fields else None, error.message)
        return data

    @staticmethod
    def condition(data: dict[str, Any]) -> dict[str, Any]:
        condition = {"field": data["field"], "operator": data["operator"]}
        if OPERATORS[data["operator"]].takes != "nothing":
            condition["value"] = parse_typed(data["operator"], data.get("value", ""))
        return condition


def parse_typed(operator: str, text: str) -> Any:
    """A value as staff type it. `40`, `true` and `"40"` in quotes are a number, a truth value and
    text; the items of a list are separated by commas."""
    takes = OPERATORS[operator].takes
    if takes == "list":
        return [_scalar(part.strip()) for part in ITEM.findall(text) if part.strip()]
    return text if takes in AS_TYPED else _scalar(text)


def _scalar(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str | bool | int | float) else text


def as_typed(value: Any) -> str:
    """The other way: what parse_typed would read as this value."""
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(as_typed(item) for item in value)
    if isinstance(value, str) and value.strip() and _scalar(value) == value and "," not in value:
        return value
    return json.dumps(value, ensure_ascii=False)


def condition_rows(rule: Any) -> list[dict[str, str]] | None:
    """The rows of a rule, or None if it has groups inside or a value that typing cannot give, like
    text that ends in a space: such a rule is edited as JSON."""
    if any("conditions" in item or "event" in item for item in rule["conditions"]):
        return None
    rows = []
    for item in rule["conditions"]:
        operator, value = item["operator"], item.get("value")
        takes = OPERATORS[operator].takes
        text = value if takes in AS_TYPED else as_typed(value)
        # A field of a form drops the space around what it is given.
        if takes != "nothing" and json.dumps(parse_typed(operator, text.strip())) != json.dumps(
            value
        ):
            return None
        rows.append({"field": item["field"], "operator": operator, "value": text})
    return rows


def rule_document(operator: str, rows: Sequence[ConditionForm]) -> dict[str, Any]:
    conditions = [row.condition(row.cleaned_data) for row in rows]
    return {"operator": operator, "conditions": conditions}

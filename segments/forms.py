"""The form of a segment, apart from its rule, and rules as JSON for other forms."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

from ilara_admin.web.filters import FilterForm
from segments.keys import KEY, KEY_FORM
from segments.language.parser import RuleError, parse


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


class SegmentFilterForm(FilterForm):
    q = forms.CharField(
        label="Search", required=False, widget=forms.TextInput(attrs={"type": "search"})
    )


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
    reason = forms.CharField(max_length=500, required=False, help_text="Kept in the audit log.")
    base = forms.DateTimeField(required=False, widget=forms.HiddenInput)

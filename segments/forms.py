"""The segment form without its rule, and the filter of the list."""

from django import forms
from django.core.validators import RegexValidator

from ilara_admin.web.filters import FilterForm
from ilara_admin.web.sorting import Column, sort_field
from segments.keys import KEY, KEY_FORM

COLUMNS = {
    "key": Column("Key", ["key"]),
    "size": Column("Size", ["known_size", "key"], newest_first=True),
    "changed": Column("Changed", ["updated_at", "key"], newest_first=True),
}


class SegmentFilterForm(FilterForm):
    q = forms.CharField(
        label="Search", required=False, widget=forms.TextInput(attrs={"type": "search"})
    )
    sort = sort_field(COLUMNS)


class PlayerSegmentsForm(FilterForm):
    """The segments of one player, from the place `start` on. `show` are those that the player is
    in, or is not in; a search finds both."""

    segment = forms.CharField(
        label="Find a segment",
        required=False,
        max_length=128,
        widget=forms.TextInput(attrs={"type": "search", "autocomplete": "off"}),
    )
    show = forms.ChoiceField(
        label="",
        required=False,
        choices=[("in", "In"), ("out", "Not in")],
        widget=forms.HiddenInput,
    )
    start = forms.IntegerField(label="", required=False, min_value=0, widget=forms.HiddenInput)


class SegmentForm(forms.Form):
    key = forms.CharField(
        max_length=128,
        validators=[RegexValidator(rf"^{KEY.pattern}\Z", KEY_FORM)],
        help_text="The id in the API, such as <code>beta-testers</code>. It cannot be changed.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )
    name = forms.CharField(max_length=200, required=False)
    description = forms.CharField(
        max_length=500, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    reason = forms.CharField(max_length=500, required=False, help_text="Stored in the audit log.")
    base = forms.DateTimeField(required=False, widget=forms.HiddenInput)

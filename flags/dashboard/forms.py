"""The forms of the flag pages and their conversion to and from a flag document."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

from flags.details import Details, Link, links_text, tags_text, typed_links, typed_tags
from flags.engine.document import FlagDocument, Prerequisite, ValueType, Variant
from flags.engine.sentences import value_text
from flags.models import Flag, FlagQuerySet
from ilara_admin.core.changes import MAX_REASON
from ilara_admin.core.names import name_problem
from ilara_admin.core.path_error import PathError
from ilara_admin.models import Environment
from ilara_admin.web.confirm import PREVIEW
from ilara_admin.web.filters import FilterForm
from ilara_admin.web.forms import SeenForm
from ilara_admin.web.suggestions import SuggestedChoiceField, Suggestions
from segments.keys import KEY, KEY_FORM

KEY_VALIDATOR = RegexValidator(rf"^{KEY.pattern}\Z", KEY_FORM)


def percent_field(label: str, **options: Any) -> forms.DecimalField:
    return forms.DecimalField(
        label=label,
        min_value=0,
        max_value=100,
        decimal_places=3,
        widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
        **options,
    )


class PlayerFlagsForm(FilterForm):
    """The flags of one player, from the place `start` on."""

    flag = forms.CharField(
        label="Find a flag",
        required=False,
        max_length=128,
        widget=forms.TextInput(attrs={"type": "search", "autocomplete": "off"}),
    )
    start = forms.IntegerField(label="", required=False, min_value=0, widget=forms.HiddenInput)


class TagsInput(forms.TextInput):
    """Suggests the tags `in_use`, after each comma."""

    template_name = "components/_tags.html"
    in_use: Sequence[str] = ()

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        listed = {"list": f"id_{name}_in_use", "data-tags": True, "autocomplete": "off"}
        context = super().get_context(name, value, {**(attrs or {}), **listed})
        context["widget"]["in_use"] = self.in_use
        return context


class DetailsFields(forms.Form):
    """The details of a flag that a new one can have, with tags as text."""

    name = forms.CharField(max_length=200, required=False)
    description = forms.CharField(
        max_length=500, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    owner = forms.CharField(
        max_length=200, required=False, help_text="The person or team to contact."
    )
    expected_end = forms.DateField(
        label="Expected end",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="When the game should stop using it. Leave empty for a permanent flag.",
    )
    tags = forms.CharField(
        required=False, widget=TagsInput, help_text="Separated by commas: economy, season-3."
    )

    def suggest_tags(self, in_use: Sequence[str]) -> None:
        widget = self.fields["tags"].widget
        assert isinstance(widget, TagsInput)
        widget.in_use = in_use

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name and (problem := name_problem(name)):
            raise ValidationError(f"The name {problem}.")
        return name

    def clean_tags(self) -> list[str]:
        return _typed(typed_tags, self.cleaned_data["tags"])


def _typed[T](read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except PathError as error:
        raise ValidationError(error.message) from None


class DetailsForm(SeenForm, DetailsFields):
    """Only changed details are written, so that two people can change different ones."""

    links = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="One per line, a label and an address: <code>Ticket https://example.com/12</code>",
    )
    reason = forms.CharField(
        required=False,
        max_length=MAX_REASON,
        help_text="Stored in the history and the audit log.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, flag: Flag, data: Mapping[str, Any] | None = None) -> None:
        as_text = {"tags": tags_text(flag.tags), "links": links_text(flag.links)}
        super().__init__(f"flag:{flag.pk}", flag.details, data, as_text)
        self.order_fields([*DetailsFields.base_fields, "links", "reason", "seen"])

    def clean_links(self) -> list[Link]:
        return _typed(typed_links, self.cleaned_data["links"])

    @property
    def details(self) -> Details:
        found = {name: self.cleaned_data[name] for name in (*DetailsFields.base_fields, "links")}
        end = found["expected_end"]
        return {**found, "expected_end": end.isoformat() if end else ""}


class FlagNewForm(DetailsFields):
    key = forms.CharField(
        max_length=128,
        validators=[KEY_VALIDATOR],
        help_text="The key that games use, such as <code>new_tutorial</code>. It cannot change.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )
    value_type = forms.ChoiceField(
        label="Value",
        choices=[
            (ValueType.BOOLEAN, "On or off"),
            (ValueType.STRING, "Text"),
            (ValueType.NUMBER, "Number"),
            (ValueType.JSON, "JSON"),
        ],
        help_text="Other types than on or off start with one variant. Add more on the next page.",
    )
    value = forms.CharField(
        label="First value",
        required=False,
        help_text="The value of the first variant, <code>default</code>. Not for on or off.",
    )
    environments = forms.MultipleChoiceField(
        label="Create in",
        widget=forms.CheckboxSelectMultiple,
        help_text="It is off everywhere until you switch it on.",
    )

    def __init__(self, environments: Sequence[Environment], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["environments"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(item.slug, item.slug) for item in environments]
        field.initial = [item.slug for item in environments]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        value_type = ValueType(data.get("value_type", ValueType.BOOLEAN))
        if value_type is not ValueType.BOOLEAN:
            try:
                data["value"] = parse_value(value_type, data.get("value", ""))
            except ValidationError as error:
                self.add_error("value", error)
        return data

    def document(self) -> FlagDocument:
        data = self.cleaned_data
        value_type = ValueType(data["value_type"])
        variants: tuple[Variant, ...] = (Variant("enabled", True), Variant("disabled", False))
        if value_type is not ValueType.BOOLEAN:
            variants = (Variant("default", data["value"]),)
        last = variants[-1].key
        return FlagDocument(value_type=value_type, variants=variants, default=last, off=last)


def parse_value(value_type: ValueType, text: str) -> Any:
    """Parse a typed value: text is taken literally, other types as JSON."""
    if value_type is ValueType.STRING:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if value_type is ValueType.NUMBER and type(value) in (int, float):
        return value
    if value_type is ValueType.JSON and isinstance(value, dict | list):
        return value
    if value_type is ValueType.BOOLEAN and isinstance(value, bool):
        return value
    wanted = {ValueType.NUMBER: "a number", ValueType.BOOLEAN: "true or false"}
    raise ValidationError(f"Give {wanted.get(value_type, 'a JSON object or list')}.")


def value_as_typed(value_type: ValueType, value: Any) -> str:
    if value is None:
        return ""
    if value_type is ValueType.STRING:
        return str(value)
    return json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, dict) else None)


class VariantForm(forms.Form):
    key = forms.CharField(max_length=128, validators=[KEY_VALIDATOR])
    value = forms.CharField(required=False, strip=False)
    no_value = forms.BooleanField(
        label="No value", required=False, help_text="Games use the default in their code."
    )
    name = forms.CharField(max_length=200, required=False)

    def __init__(self, *args: Any, value_type: ValueType, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.value_type = value_type
        if value_type is ValueType.JSON:
            self.fields["value"].widget = forms.Textarea(attrs={"rows": 3, "class": "mono"})
        if value_type is ValueType.BOOLEAN:
            del self.fields["no_value"]
            for name in ("key", "value"):
                self.fields[name].disabled = True

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        try:
            typed = data.get("value", "")
            data["value"] = None if data.get("no_value") else parse_value(self.value_type, typed)
        except ValidationError as error:
            self.add_error("value", error)
        return data

    def variant(self) -> Variant:
        data = self.cleaned_data
        return Variant(data["key"], data["value"], data["name"])


class ServingForm(forms.Form):
    default = forms.ChoiceField(label="Otherwise serve", help_text="When no rule matches.")
    off = forms.ChoiceField(label="When off serve")

    def __init__(self, keys: Sequence[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("default", "off"):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = [(key, key) for key in keys]


class PrerequisiteForm(forms.Form):
    """A variant that another flag must serve, as `<flag> <variant>`: neither has a space."""

    gives = SuggestedChoiceField(label="Only if")

    def __init__(self, *args: Any, variants: Suggestions, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["gives"]
        assert isinstance(field, SuggestedChoiceField)
        field.suggest(variants, empty=("", "Choose a flag"))


def prerequisite_choices(others: FlagQuerySet, chosen: FlagDocument) -> dict[str, str]:
    """The choices of PrerequisiteForm, with their labels."""
    served = [(flag, variant) for flag, keys in others.variant_keys() for variant in keys]
    # Current prerequisites stay selectable, even if their flag is archived.
    served += [(item.flag, variant) for item in chosen.prerequisites for variant in item.variants]
    return {f"{flag} {variant}": f"{flag} serves {variant}" for flag, variant in served}


def prerequisites_of(chosen: Sequence[str]) -> tuple[Prerequisite, ...]:
    """Variants of one flag are alternatives; all flags are required."""
    variants: dict[str, list[str]] = {}
    for choice in dict.fromkeys(chosen):
        flag, _, variant = choice.partition(" ")
        variants.setdefault(flag, []).append(variant)
    return tuple(Prerequisite(flag, tuple(keys)) for flag, keys in variants.items())


class CloneForm(forms.Form):
    key = forms.CharField(
        max_length=128,
        validators=[KEY_VALIDATOR],
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )
    name = forms.CharField(max_length=200, required=False)
    same_players = forms.BooleanField(
        label="Same players",
        required=False,
        help_text="Also copies the salt: equal percentages then include the same players. "
        "Otherwise the two flags select players independently.",
    )


SHADOW_DAYS = {0: "Now", 7: "After 7 days", 14: "After 14 days", 30: "After 30 days",
               90: "After 90 days"}  # fmt: skip


class ArchiveForm(forms.Form):
    """When to archive a flag, in days."""

    days = forms.TypedChoiceField(
        label="When",
        choices=list(SHADOW_DAYS.items()),
        coerce=int,
        help_text="Until then the flag serves as before, and its page shows who still asks for it.",
    )


class RolloutForm(forms.Form):
    """A percentage. While it is typed, the dialog shows which players would switch."""

    rollout = percent_field("Percentage")

    def __init__(self, preview_url: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["rollout"].widget.attrs |= {
            "hx-post": preview_url,
            "hx-vals": '{"ask": "1"}',
            "hx-trigger": "input changed delay:300ms",
            "hx-target": f"#{PREVIEW}",
            "hx-swap": "innerHTML",
            "hx-sync": "this:replace",
        }


RULES_DECIDE = "*rules*"  # not a valid variant key
EXPIRIES = {0: "Until removed", 1: "1 hour", 24: "1 day", 168: "7 days", 720: "30 days"}


class OverrideForm(forms.Form):
    variant = forms.ChoiceField(label="Value")
    hours = forms.TypedChoiceField(label="For", choices=list(EXPIRIES.items()), coerce=int)

    def __init__(self, document: FlagDocument, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["variant"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(RULES_DECIDE, "No override: use the rules")] + [
            (item.key, f"{item.key}: {value_text(item.value)[:60]}") for item in document.variants
        ]

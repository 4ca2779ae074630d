"""The forms of the flag pages, and their way to a flag document and back."""

import json
import secrets
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

from flags.bucketing import reweight, weights_of
from flags.document import EVERYBODY, FlagDocument, Rule, ValueType, Variant
from ilara_admin.models import Environment
from segments.forms import OptionalJSONField, checked_rule
from segments.models import Segment
from segments.services import KEY, KEY_FORM

# Neither is a key: keys begin with a letter or a digit.
SPLIT = "*split*"
EVERYBODY_CHOICE = "*everybody*"
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


def thousandths(percent: Decimal) -> int:
    return int(percent * 1000)


class FlagFilterForm(forms.Form):
    q = forms.CharField(
        label="Search", required=False, widget=forms.TextInput(attrs={"type": "search"})
    )
    state = forms.ChoiceField(
        label="State", required=False, choices=[("", "Any"), ("on", "On"), ("off", "Off")]
    )
    segment = forms.CharField(label="Segment", required=False, widget=forms.HiddenInput)
    show = forms.CharField(required=False, widget=forms.HiddenInput)


class AboutForm(forms.Form):
    """What the flag says of itself to staff."""

    name = forms.CharField(max_length=200, required=False)
    description = forms.CharField(
        max_length=500, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    owner = forms.CharField(max_length=200, required=False, help_text="Whom to ask about it.")
    expected_end = forms.DateField(
        label="Expected end",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="When it should be gone from the game. Empty: it is there to stay.",
    )

    @property
    def about(self) -> dict[str, str]:
        """In the form of Flag.about."""
        end = self.cleaned_data["expected_end"]
        return {**self.cleaned_data, "expected_end": end.isoformat() if end else ""}


class FlagNewForm(AboutForm):
    key = forms.CharField(
        max_length=128,
        validators=[KEY_VALIDATOR],
        help_text="What the game asks for, such as <code>new_tutorial</code>. It cannot change.",
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
        help_text="Values other than on or off begin with one variant; add more on the next page.",
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
    """A value as staff type it: text as it stands, numbers and JSON as JSON."""
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
    if value_type is ValueType.STRING:
        return str(value)
    return json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, dict) else None)


class VariantForm(forms.Form):
    key = forms.CharField(max_length=128, validators=[KEY_VALIDATOR])
    value = forms.CharField(required=False, strip=False)
    name = forms.CharField(max_length=200, required=False)

    def __init__(self, *args: Any, value_type: ValueType, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.value_type = value_type
        if value_type is ValueType.JSON:
            self.fields["value"].widget = forms.Textarea(attrs={"rows": 3, "class": "mono"})
        if value_type is ValueType.BOOLEAN:
            for name in ("key", "value"):
                self.fields[name].disabled = True

    def clean_value(self) -> Any:
        return parse_value(self.value_type, self.cleaned_data["value"])

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


class RuleForm(forms.Form):
    """One rule. The weights count only when a split is served."""

    id = forms.CharField(required=False, widget=forms.HiddenInput)
    segment = forms.ChoiceField(label="Who")
    conditions = OptionalJSONField(
        label="And conditions (JSON)",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono", "spellcheck": "false"}),
    )
    serve = forms.ChoiceField(label="Gets")
    rollout = percent_field("Percentage", initial=100)

    def __init__(
        self,
        *args: Any,
        segments: Sequence[Segment],
        document: FlagDocument,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.document = document
        self.keys = [variant.key for variant in document.variants]
        segment, serve = self.fields["segment"], self.fields["serve"]
        assert isinstance(segment, forms.ChoiceField)
        assert isinstance(serve, forms.ChoiceField)
        segment.choices = [(EVERYBODY_CHOICE, "Everybody")] + [
            (item.key, item.key) for item in segments
        ]
        serve.choices = [(key, key) for key in self.keys]
        if len(self.keys) > 1:
            serve.choices = [*serve.choices, (SPLIT, "A split")]
        for index, key in enumerate(self.keys):
            self.fields[f"weight_{index}"] = percent_field(f"{key}, %")

    @property
    def weight_fields(self) -> list[forms.BoundField]:
        return [self[f"weight_{index}"] for index in range(len(self.keys))]

    @property
    def old(self) -> Rule | None:
        rule_id = self.data.get(self.add_prefix("id")) or self.initial.get("id")
        return next((rule for rule in self.document.rules if rule.id == rule_id), None)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        for index in range(len(self.keys)):
            # A weight left empty is 0, and without a split nobody asks for weights.
            if data.get("serve") != SPLIT or self.has_error(f"weight_{index}", "required"):
                self.errors.pop(f"weight_{index}", None)
        if data.get("serve") == SPLIT and not self.errors:
            weights = self._weights(data)
            if sum(weights.values()) != EVERYBODY:
                total = Decimal(sum(weights.values())) / 1000
                self.add_error("serve", f"The weights must add up to 100 %; they make {total} %.")
        return data

    def clean_conditions(self) -> Any:
        return checked_rule(self.cleaned_data["conditions"])

    def _weights(self, data: dict[str, Any]) -> dict[str, int]:
        return {
            key: thousandths(data.get(f"weight_{index}") or Decimal(0))
            for index, key in enumerate(self.keys)
        }

    def rule(self) -> Rule:
        data, old = self.cleaned_data, self.old
        split = None
        if data["serve"] == SPLIT:
            slices = old.split if old and old.split else ()
            split = reweight(slices, self._weights(data))
        return Rule(
            id=old.id if old else secrets.token_hex(4),
            name=old.name if old else "",
            segment=None if data["segment"] == EVERYBODY_CHOICE else data["segment"],
            conditions=data["conditions"] or None,
            variant=None if split else data["serve"],
            split=split,
            rollout=thousandths(data["rollout"]),
        )


def rule_initial(rule: Rule, document: FlagDocument) -> dict[str, Any]:
    weights = weights_of(rule.split) if rule.split else {}
    initial: dict[str, Any] = {
        "id": rule.id,
        "segment": rule.segment or EVERYBODY_CHOICE,
        "conditions": rule.conditions,
        "serve": SPLIT if rule.split else rule.variant,
        "rollout": as_percent(rule.rollout),
    }
    for index, variant in enumerate(document.variants):
        if weights.get(variant.key):
            initial[f"weight_{index}"] = as_percent(weights[variant.key])
    return initial


def as_percent(amount: int) -> Decimal:
    """12500 as Decimal("12.5"), without trailing zeros."""
    return Decimal(f"{Decimal(amount) / 1000:f}")


class RolloutForm(forms.Form):
    rollout = percent_field("Percentage")


RULES_DECIDE = "*rules*"  # no variant's key
EXPIRIES = {0: "Until taken back", 1: "1 hour", 24: "1 day", 168: "7 days", 720: "30 days"}


class OverrideForm(forms.Form):
    variant = forms.ChoiceField(label="Value")
    hours = forms.TypedChoiceField(label="For", choices=list(EXPIRIES.items()), coerce=int)

    def __init__(self, document: FlagDocument, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["variant"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(RULES_DECIDE, "What the rules say")] + [
            (item.key, f"{item.key}: {json.dumps(item.value, ensure_ascii=False)[:60]}")
            for item in document.variants
        ]

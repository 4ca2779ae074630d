"""A form field for a date and time in the user's time zone that keeps the exact instant."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from ilara_admin.core.local_times import (
    NotOneTime,
    Typed,
    choice_text,
    choices_for,
    clock_text,
    resolve,
    typed_time,
)

EXACT = "_exact"  # the end of the name of the control that holds the instant


def _posted(data: Mapping[str, Any], name: str) -> Typed:
    return Typed(data.get(name) or "", data.get(name + EXACT) or "")


class MomentInput(forms.TextInput):
    """The local time, and beside it the instant: hidden, or a choice where the local time does not
    tell which."""

    input_type = "datetime-local"
    template_name = "components/_moment.html"
    field_label = ""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Typed:
        return _posted(data, name)

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return name not in data

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        typed = value or Typed("")
        context = super().get_context(name, typed.local, attrs)
        zone = timezone.get_current_timezone()
        context["widget"] |= {
            "exact_name": name + EXACT,
            "exact": typed.exact,
            "field_label": self.field_label,
            "described_by": context["widget"]["attrs"].get("aria-describedby", ""),
            "choices": [
                (each.isoformat(), choice_text(each), chosen)
                for each, chosen in choices_for(typed, zone)
            ],
        }
        return context


class MomentField(forms.Field):
    """Cleans to an aware datetime, or None. A local time that occurs twice or not at all is refused
    until one of its two meanings is chosen."""

    widget = MomentInput

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        assert isinstance(widget, MomentInput)
        widget.field_label = str(self.label or "")
        return super().widget_attrs(widget)

    def prepare_value(self, value: Any) -> Typed | None:
        if isinstance(value, Typed):
            return value if value.local.strip() else None
        return typed_time(value, timezone.get_current_timezone()) if value else None

    def to_python(self, value: Typed | None) -> Any:
        try:
            return resolve(value or Typed(""), timezone.get_current_timezone())
        except NotOneTime as problem:
            first, second = map(clock_text, problem.choices)
            raise ValidationError(f"{problem} Choose {first} or {second}.") from None
        except ValueError:
            raise ValidationError("Give a date and a time, such as 2026-12-01 09:00.") from None


def with_instants(fields: Mapping[str, forms.Field], initial: Mapping[str, Any]) -> dict[str, Any]:
    """The initial values of a form, taken from posted ones, with each time and its instant as one
    value."""
    found = dict(initial)
    for name, field in fields.items():
        if isinstance(field, MomentField) and isinstance(initial.get(name), str):
            found[name] = _posted(initial, name)
    return found

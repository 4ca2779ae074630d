"""Choices among the objects of an environment, of which there may be hundreds.

Up to MAX_LISTED are listed in each field, as Django does. More are suggested while staff type: all
fields of a page share one <datalist>, so that the page does not grow with every field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

from django import forms
from django.utils.safestring import SafeString, mark_safe

MAX_LISTED = 30


@dataclass(frozen=True)
class Suggestions:
    """`choices` maps values to labels; `id` is that of the <datalist>."""

    id: str
    choices: Mapping[str, str]

    @property
    def are_many(self) -> bool:
        return len(self.choices) > MAX_LISTED

    @cached_property
    def datalist(self) -> SafeString:
        """For the page, outside of its loop over fields; empty if the fields list the choices."""
        if not self.are_many:
            return SafeString("")
        # Escaped here: format_html would take most of the time of a page with a thousand.
        options = (
            f'<option value="{escape(value)}">{escape(label) if label != value else ""}</option>'
            for value, label in self.choices.items()
        )
        return mark_safe(f'<datalist id="{self.id}">{"".join(options)}</datalist>')  # noqa: S308 - see above

    def input(self, placeholder: str) -> forms.TextInput:
        attrs = {"autocapitalize": "none", "spellcheck": "false", "autocomplete": "off"}
        return forms.TextInput({**attrs, "list": self.id, "placeholder": placeholder})


class SuggestedChoiceField(forms.ChoiceField):
    """One of some suggestions or `empty`, a value and its label, which an empty input means."""

    empty: tuple[str, str] = ("", "")

    def suggest(self, suggestions: Suggestions, empty: tuple[str, str]) -> None:
        self.empty = empty
        self.choices = [empty, *suggestions.choices.items()]
        if suggestions.are_many:
            self.widget = suggestions.input(empty[1])

    def prepare_value(self, value: Any) -> Any:
        typed = isinstance(self.widget, forms.TextInput)
        return "" if typed and value == self.empty[0] else value

    def to_python(self, value: Any) -> str:
        return super().to_python(value).strip() or self.empty[0]

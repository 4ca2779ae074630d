"""The metadata of a flag as lines of text: `team = growth`."""

import json

from django import forms
from django.core.exceptions import ValidationError

from flags.engine.document import DocumentError, MetadataValue, check_metadata


def parse_metadata(text: str) -> dict[str, MetadataValue]:
    """One pair per line, `key = value`. true, false and numbers are read as such, all else is text;
    a text that looks like one of these, or like JSON, is in quotes. Raises ValidationError."""
    found: dict[str, MetadataValue] = {}
    faults = []
    for line in filter(None, map(str.strip, text.splitlines())):
        key, equals, typed = (part.strip() for part in line.partition("="))
        try:
            if not equals:
                raise ValidationError(f"“{line[:60]}”: write it like team = growth.")
            if key in found:
                raise ValidationError(f"“{key[:60]}” is there twice.")
            found[key] = _value(typed, line)
            check_metadata({key: found[key]})
        except DocumentError as fault:
            faults.append(ValidationError(f"“{line[:60]}”: {fault.message}"))
        except ValidationError as fault:
            faults.append(fault)
    if faults:
        raise ValidationError(faults)
    try:
        check_metadata(found)
    except DocumentError as fault:
        raise ValidationError(fault.message) from None
    return found


def _value(typed: str, line: str) -> MetadataValue:
    try:
        value = json.loads(typed)
    except ValueError:
        if typed.startswith('"'):
            raise ValidationError(f"“{line[:60]}”: close the quotes.") from None
        return typed
    if isinstance(value, bool | int | float | str):
        return value
    return typed


def metadata_as_typed(metadata: dict[str, MetadataValue]) -> str:
    """The text that parse_metadata reads as this metadata."""
    return "\n".join(f"{key} = {_typed(value)}" for key, value in sorted(metadata.items()))


def _typed(value: MetadataValue) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    one_line = value.splitlines() == [value]
    try:
        plain = one_line and _value(value.strip(), "") == value
    except ValidationError:
        plain = False
    return value if plain else json.dumps(value, ensure_ascii=not one_line)


class MetadataForm(forms.Form):
    metadata = forms.CharField(
        required=False,
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono", "spellcheck": "false"}),
        help_text="For games with OpenFeature, one pair per line, such as "
        "<code>team = growth</code>. true, false and numbers are not texts, unless in quotes: "
        '<code>build = "12"</code>.',
    )

    def clean_metadata(self) -> dict[str, MetadataValue]:
        return parse_metadata(self.cleaned_data["metadata"])

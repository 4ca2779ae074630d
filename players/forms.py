"""Forms about players: the filters of the list, and the correction of one."""

from collections.abc import Mapping
from typing import Any

import msgspec
from django import forms
from django.core import signing

from ilara_admin.api.bodies import check_value, to_struct
from ilara_admin.api.errors import ApiError
from ilara_admin.core.json_equality import identical
from ilara_admin.web.filters import FilterForm
from players.labels import STAGES
from players.lifecycle import Stage
from players.models import MAX_NOTE, Player
from players.schemas import PlayerPatch

# Ids and names are typed as they are: nobody completes, corrects or capitalises them.
ID_INPUT = {
    "class": "mono",
    "autocomplete": "off",
    "autocapitalize": "none",
    "spellcheck": "false",
}
PAYING = {"yes": True, "no": False}


class PlayerFilterForm(FilterForm):
    q = forms.CharField(
        label="External id",
        required=False,
        max_length=255,
        strip=False,
        widget=forms.TextInput(
            attrs={
                "type": "search",
                **ID_INPUT,
                "placeholder": "Whole, or how it starts",
                "enterkeyhint": "search",
            }
        ),
    )
    stage = forms.ChoiceField(
        required=False,
        choices=[("", "Any stage"), *((stage, STAGES[stage].label) for stage in Stage)],
    )
    payer = forms.ChoiceField(
        required=False,
        choices=[("", "Everybody"), ("yes", "Payers"), ("no", "Not payers")],
    )


class PlayerForm(forms.Form):
    """The form posts back what it was filled with, so that only what staff changed is written:
    the game may have changed the rest meanwhile."""

    email = forms.CharField(
        label="E-mail",
        required=False,
        max_length=254,
        strip=False,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "autofocus": True}
        ),
    )
    device_id = forms.CharField(
        label="Device id",
        required=False,
        max_length=255,
        strip=False,
        widget=forms.TextInput(
            attrs={"class": "mono", "autocomplete": "off", "spellcheck": "false"}
        ),
    )
    attributes = forms.CharField(
        required=False,
        strip=False,
        help_text="A JSON object. Attributes that you leave out are removed.",
        widget=forms.Textarea(attrs={"class": "mono", "rows": 8, "spellcheck": "false"}),
    )
    reason = forms.CharField(
        required=False,
        max_length=500,
        help_text="Kept in the audit log.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    original = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)

    def __init__(self, player: Player, data: Mapping[str, Any] | None = None) -> None:
        text = msgspec.json.format(msgspec.json.encode(player.attributes), indent=2).decode()
        now = {
            "email": player.email,
            "device_id": player.device_id,
            "attributes": player.attributes,
        }
        self.salt = f"player-form:{player.pk}"
        original = signing.dumps(now, salt=self.salt, compress=True)
        super().__init__(data, initial={**now, "attributes": text, "original": original})

    def clean_attributes(self) -> dict[str, Any]:
        text = self.cleaned_data["attributes"].strip() or "{}"
        try:
            value = msgspec.json.decode(text)
        except RecursionError:
            raise forms.ValidationError("This nests too deeply.") from None
        except msgspec.DecodeError as error:
            raise forms.ValidationError(_readable(str(error), text)) from None
        if not isinstance(value, dict):
            raise forms.ValidationError('Attributes are an object, like {"level": 42}.')
        empty = [name for name, each in value.items() if each is None]
        if empty:
            raise forms.ValidationError(
                f"An attribute cannot be null. Leave {empty[0]} out to remove it."
            )
        return value

    def clean_original(self) -> dict[str, Any]:
        try:
            original: dict[str, Any] = signing.loads(self.cleaned_data["original"], salt=self.salt)
        except signing.BadSignature:
            raise forms.ValidationError("This form is too old. Open it again.") from None
        return original

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if not self.errors:
            try:
                given["patch"] = _patch(given)
            except ApiError as error:
                field = (error.field or "").partition(".")[0]
                message = f"{error.message[:1].upper()}{error.message[1:]}."
                self.add_error(field if field in self.fields else None, message)
        return given


class NoteForm(forms.Form):
    text = forms.CharField(
        label="Note",
        max_length=MAX_NOTE,
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text=f"Up to {MAX_NOTE:,} characters.",
    )


class AliasForm(forms.Form):
    external_id = forms.CharField(
        label="External id",
        max_length=255,
        strip=False,
        widget=forms.TextInput(attrs=ID_INPUT),
        help_text="Such as the guest's id from before there was an account. Capitals count.",
    )
    reason = forms.CharField(
        required=False,
        max_length=500,
        help_text="Kept in the audit log.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


def _patch(given: Mapping[str, Any]) -> PlayerPatch:
    """What differs from what the form was filled with, held to the limits of a PATCH."""
    original = given["original"]
    changes: dict[str, Any] = {}
    for name in ("email", "device_id"):
        if given[name] != (original[name] or ""):
            changes[name] = given[name] or None
    old, new = original["attributes"], given["attributes"]
    attributes = {name: value for name, value in new.items() if not identical(old.get(name), value)}
    attributes.update({name: None for name in old if name not in new})
    if attributes:
        changes["attributes"] = attributes
    for name, value in changes.items():
        check_value(value, name, level=2)
    return to_struct(changes, PlayerPatch)


def _readable(error: str, text: str) -> str:
    """ "Line 3: expected ',' or '}'", out of a message that counts bytes."""
    problem, _, place = error.removeprefix("JSON is malformed: ").partition(" (byte ")
    if not place:
        return f"This is not valid JSON: {problem}."
    line = text.encode()[: int(place.rstrip(")"))].count(b"\n") + 1
    return f"This is not valid JSON. Line {line}: {problem}."

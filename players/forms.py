"""Forms about players: editing, notes, linked ids."""

from collections.abc import Mapping
from typing import Any

from django import forms

from ilara_admin.api.bodies import checked_value, to_struct
from ilara_admin.api.errors import ApiError
from ilara_admin.web.forms import SeenForm
from players.attribute_types import patch_of, read_json, typed
from players.models import MAX_NOTE, Player
from players.schemas import PlayerPatch
from players.services import editable_fields

# No completion, correction or capitalisation by the browser.
ID_INPUT = {
    "class": "mono",
    "autocomplete": "off",
    "autocapitalize": "none",
    "spellcheck": "false",
}


class PlayerForm(SeenForm):
    """Edits a player. Only changed fields are written: the game may change the others."""

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
        help_text="Stored in the audit log.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, player: Player, data: Mapping[str, Any] | None = None) -> None:
        text = typed(player.attributes)
        now = editable_fields(player)
        super().__init__(f"player:{player.pk}", now, data, initial={"attributes": text})

    def clean_attributes(self) -> dict[str, Any]:
        text = self.cleaned_data["attributes"].strip() or "{}"
        try:
            value = read_json(text)
        except ValueError as error:
            raise forms.ValidationError(f"The text {error}.") from None
        if not isinstance(value, dict):
            raise forms.ValidationError('Attributes must be an object, like {"level": 42}.')
        empty = [name for name, each in value.items() if each is None]
        if empty:
            raise forms.ValidationError(
                f"An attribute cannot be null. Leave {empty[0]} out to remove it."
            )
        return value

    def clean_seen(self) -> dict[str, Any]:
        seen = super().clean_seen()
        if seen is None:
            raise forms.ValidationError("This form is incomplete. Open it again.")
        return seen

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
        help_text="Such as the guest id from before the account. Case-sensitive.",
    )
    reason = forms.CharField(
        required=False,
        max_length=500,
        help_text="Stored in the audit log.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


def _patch(given: Mapping[str, Any]) -> PlayerPatch:
    """The changed fields, checked against the limits of a PATCH."""
    original = given["seen"]
    changes: dict[str, Any] = {}
    for name in ("email", "device_id"):
        if given[name] != (original[name] or ""):
            changes[name] = given[name] or None
    if attributes := patch_of(original["attributes"], given["attributes"]):
        changes["attributes"] = attributes
    checked = {name: checked_value(value, name, level=2) for name, value in changes.items()}
    return to_struct(checked, PlayerPatch)

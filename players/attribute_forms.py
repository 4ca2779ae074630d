"""Forms for the attributes of a player: one in a dialog, or all of them. Only changed attributes
are written: the game may change the others."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django import forms
from django.http import QueryDict

from ilara_admin.api.bodies import check_key, checked_value, to_struct
from ilara_admin.api.errors import ApiError
from ilara_admin.core.text import isolated
from ilara_admin.core.times import EXAMPLE
from ilara_admin.web.forms import SeenForm
from ilara_admin.web.formsets import typed_rows
from players.attribute_types import (
    LABELS,
    WORDS,
    AttributeType,
    keeps,
    parse,
    patch_of,
    type_of,
    typed,
)
from players.models import Player
from players.schemas import PlayerPatch

PREFIX = "attribute"
MAX_ROWS = 220  # a player has up to 200 attributes
REMOVE = "removes"  # the button of the dialog; a control named remove would hide form.remove()
NAMES = "attribute-names"  # the id of the <datalist>
AS_TYPED = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class CheckedLater(forms.CharField):
    """A text that `read` checks with the other fields of the attribute; white space is kept."""

    def __init__(self, label: str, **options: Any) -> None:
        super().__init__(label=label, strip=False, **options)

    def validate(self, value: str) -> None:
        pass


def name_field() -> forms.CharField:
    widget = forms.TextInput({**AS_TYPED, "class": "mono", "list": NAMES})
    return CheckedLater("Name", widget=widget)


def type_field() -> forms.ChoiceField:
    choices = [(str(kind), label) for kind, label in LABELS.items()]
    return forms.ChoiceField(label="Type", choices=choices, initial=str(AttributeType.TEXT))


def value_field() -> forms.CharField:
    return CheckedLater("Value")


def reason_field() -> forms.CharField:
    return forms.CharField(
        label="Reason",
        required=False,
        max_length=500,
        help_text="Stored in the audit log.",
        widget=forms.TextInput({"autocomplete": "off"}),
    )


def value_widget(kind: str, text: str) -> forms.Widget:
    """The control for a value of the type. Without JavaScript a control of the former type may post
    the text, so each accepts what the others hold."""
    attrs = {**AS_TYPED, "class": "mono"}
    match kind:
        case AttributeType.YES_NO:
            choices = [("true", "Yes"), ("false", "No")]
            return forms.Select(choices=choices if text in WORDS else [("", "Choose"), *choices])
        case AttributeType.LIST | AttributeType.OBJECT:
            return forms.Textarea({**attrs, "rows": 4})
        case AttributeType.NUMBER:
            return forms.TextInput({**attrs, "inputmode": "decimal"})
        case AttributeType.TIME:
            return forms.TextInput({**attrs, "placeholder": EXAMPLE})
    # A text input would drop the line breaks.
    if "\n" in text or "\r" in text:
        return forms.Textarea({**attrs, "rows": 2})
    return forms.TextInput(attrs)


def fit_controls(form: forms.Form) -> None:
    """Give the value the control of the type that is chosen."""
    kind, text = str(form["type"].value() or ""), str(form["value"].value() or "")
    form.fields["value"].widget = value_widget(kind, text)


def refresh_on_change(form: forms.Form, names: Sequence[str], url: str) -> None:
    """With JavaScript, a change of these fields shows the form again with the fitting control."""
    for name in names:
        form.fields[name].widget.attrs |= {
            "hx-post": url,
            "hx-vals": json.dumps({"row": name}),
            "hx-trigger": "change",
        }


def initial_of(name: str, value: Any) -> dict[str, str]:
    return {"name": name, "type": str(type_of(value)), "value": typed(value)}


def as_posted(name: str) -> str:
    """A name as a text input posts it: without line breaks, which it cannot hold."""
    return name.replace("\r", "").replace("\n", "")


def read(form: forms.Form, old: Mapping[str, Any], was: str | None) -> tuple[str, Any]:
    """The name and value of a valid form; errors go to its fields. `old` are the attributes as the
    form showed them, `was` is the name that the form showed, None for a new attribute."""
    given = form.cleaned_data
    name, text, kind = given["name"], given["value"], AttributeType(given["type"])
    name = was if was is not None and name == as_posted(was) else name.strip()
    try:
        check_key(name, "name")
    except ApiError as error:
        form.add_error("name", f"{error.message}.")
        return name, None
    if was is not None and keeps(text, kind, old[was]):
        return name, old[was]
    try:
        # In the body of a PATCH, attributes are at level 2.
        return name, checked_value(parse(text, kind), isolated(name), level=3)
    except ApiError as error:
        form.add_error("value", f"{error.message}.")
    except ValueError as error:
        form.add_error("value", f"“{isolated(name)}” {error}.")
    return name, None


def add_patch(form: forms.Form, patch: dict[str, Any]) -> None:
    """Set `patch` in the form's cleaned data, checked as a whole."""
    try:
        form.cleaned_data["patch"] = to_struct({"attributes": patch} if patch else {}, PlayerPatch)
    except ApiError as error:
        form.add_error(None, f"{error.message[:1].upper()}{error.message[1:]}.")


# --- One attribute --------------------------------------------------------------------------------


class AttributeForm(SeenForm):
    """One attribute of a player; a new one if `was` is None. The value comes first, as it is what
    changes most often."""

    value = value_field()
    name = name_field()
    type = type_field()
    reason = reason_field()
    use_required_attribute = False  # a text may be empty

    def __init__(
        self, player: Player, was: str | None, data: Mapping[str, Any] | None = None,
        initial: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.player, self.was = player, was
        shown, values = {}, {}
        if was is not None and was in player.attributes:  # it may have been removed meanwhile
            shown = {was: player.attributes[was]}
            values = initial_of(was, player.attributes[was])
        super().__init__(f"attribute:{player.pk}", {"attributes": shown}, data, values)
        self.initial.update(initial or {})
        if was is None:
            self.order_fields(["name", "type", "value"])
        fit_controls(self)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if self.errors:
            return given
        if given["seen"] is None:
            raise forms.ValidationError("This form is incomplete. Open it again.")
        old = given["seen"]["attributes"]
        was = self.was if self.was in old else None
        if REMOVE in self.data and was is not None:
            add_patch(self, {was: None})
            return given
        name, value = read(self, old, was)
        if name != self.was and name in self.player.attributes and name not in old:
            self.add_error(
                "name", f"“{isolated(name)}” exists already. Edit it, or choose another name."
            )
        if not self.errors:
            add_patch(self, patch_of({was: old[was]} if was else {}, {name: value}))
        return given


# --- All attributes -------------------------------------------------------------------------------


class AttributeRow(forms.Form):
    """A row of the form for all attributes. `was` is the name it showed as JSON, which no control
    changes; empty for a new attribute."""

    was = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)
    name = name_field()
    type = type_field()
    value = value_field()
    remove = forms.BooleanField(label="Remove", required=False)
    use_required_attribute = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shown = _name_in(str(self["was"].value() or ""))
        fit_controls(self)
        if self.shown is None:
            del self.fields["remove"]

    @property
    def legend(self) -> str:
        return "New attribute" if self.shown is None else isolated(self.shown)

    @property
    def is_blank(self) -> bool:
        """A row for a new attribute in which nothing was typed."""
        return self.shown is None and not (self["name"].value() or self["value"].value())

    def has_changed(self) -> bool:
        return True  # Django skips the checks of unchanged forms


def _name_in(text: str) -> str | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, str) else None


class RowFault(NamedTuple):
    """An error of a row: the id of the control, and the attribute."""

    id: str
    where: str
    message: str


class AttributesForm(SeenForm):
    """The rows of all attributes, `rows`, and the reason. An attribute without a row stays as it
    is."""

    reason = reason_field()

    def __init__(self, player: Player, data: QueryDict | None = None) -> None:
        self.faults: list[RowFault] = []
        now = {"attributes": player.attributes}
        super().__init__(f"attributes:{player.pk}", now, data)
        if data is None:
            self.rows = [
                AttributeRow(
                    prefix=f"{PREFIX}-{place}",
                    initial={"was": json.dumps(name), **initial_of(name, value)},
                )
                for place, (name, value) in enumerate(sorted(player.attributes.items()))
            ]
        else:
            count = len(typed_rows(data, PREFIX, MAX_ROWS))
            self.rows = [AttributeRow(data, prefix=f"{PREFIX}-{each}") for each in range(count)]

    def retyped(self, data: QueryDict) -> None:
        """Show the posted rows again, unchecked, and add one if its button was pressed."""
        rows: list[dict[str, Any]] = typed_rows(data, PREFIX, MAX_ROWS)
        if data.get("row") == "add" and len(rows) < MAX_ROWS:
            rows.append({})
        self.rows = [
            AttributeRow(prefix=f"{PREFIX}-{place}", initial=row) for place, row in enumerate(rows)
        ]
        self.initial.update(reason=data.get("reason", ""), seen=data.get("seen", ""))

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if self.errors:
            return given
        if given["seen"] is None:
            raise forms.ValidationError("This form is incomplete. Open it again.")
        old, new = given["seen"]["attributes"], dict(given["seen"]["attributes"])
        filled = [row for row in self.rows if not row.is_blank]
        for row in filled:
            if row.shown in old:
                del new[row.shown]
        names: set[str] = set()
        for row in filled:
            if row.is_valid() and not row.cleaned_data.get("remove"):
                name, value = read(row, old, row.shown if row.shown in old else None)
                if name in names or name in new.keys() - names:
                    row.add_error("name", f"“{isolated(name)}” exists already. Rename one of them.")
                names.add(name)
                new[name] = value
        self.faults = [
            RowFault(row[field].id_for_label, row.legend, str(message))
            for row in filled
            for field, messages in row.errors.items()
            for message in messages
        ]
        if not self.faults:
            add_patch(self, patch_of(old, new))
        return given

    def is_valid(self) -> bool:
        return super().is_valid() and not self.faults

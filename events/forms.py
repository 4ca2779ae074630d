"""The forms of the event pages: filters, and what staff say of a name."""

import uuid

from django import forms

from events.log_reader import Filter
from events.models import DESCRIPTION_CHARACTERS
from events.timeline import Kind
from ilara_admin.models import Environment
from ilara_admin.web.filters import FilterForm
from players.aliases import player_id_of


class TailForm(FilterForm):
    cursors = ("since", "paused")

    name = forms.CharField(
        label="Event name", required=False, max_length=128, widget=forms.TextInput(
            attrs={"autocapitalize": "none", "spellcheck": "false"}
        )
    )  # fmt: skip
    player = forms.CharField(
        label="Player, by external id or player id",
        required=False,
        max_length=255,
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )

    def filter(self, environment: Environment) -> Filter:
        """What to show. A player who is not registered matches nothing, and that is right."""
        player = self.value("player")
        return Filter(
            self.value("name") or None, _player_id(environment, player) if player else None
        )


def _player_id(environment: Environment, text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        return player_id_of(environment, text)


SEARCH = {"type": "search", "autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}


class NamesForm(FilterForm):
    q = forms.CharField(
        label="Name",
        required=False,
        max_length=128,
        widget=forms.TextInput(attrs={**SEARCH, "class": "mono", "placeholder": "A part of it"}),
    )


class RejectedForm(FilterForm):
    name = forms.CharField(
        label="Event name",
        required=False,
        max_length=255,
        widget=forms.TextInput(attrs={**SEARCH, "class": "mono", "placeholder": "The whole name"}),
    )


class TimelineFilterForm(FilterForm):
    kind = forms.ChoiceField(
        label="Show",
        required=False,
        choices=[
            ("", "Everything"),
            ("session", "Sessions"),
            ("purchase", "Purchases"),
            ("event", "Events"),
        ],
    )
    event = forms.CharField(
        label="Event name",
        required=False,
        max_length=128,
        strip=False,
        widget=forms.TextInput(
            attrs={
                **SEARCH,
                "class": "mono",
                "placeholder": "level_completed",
            }
        ),
    )

    @property
    def wanted(self) -> Kind | None:
        """The one kind asked for; the name of an event asks for events."""
        if self.value("event"):
            return Kind.EVENT
        return Kind[self.value("kind").upper()] if self.value("kind") else None


class DescriptionForm(forms.Form):
    description = forms.CharField(
        label="When the game sends it, and what it means",
        required=False,
        max_length=DESCRIPTION_CHARACTERS,
        widget=forms.Textarea(attrs={"rows": 3}),
    )

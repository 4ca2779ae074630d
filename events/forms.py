"""Forms of the event pages: filters, and the description of a name."""

from django import forms

from events.log_reader import Filter
from events.models import DESCRIPTION_CHARACTERS
from events.timeline import TimelineFilter, TimelineKind
from ilara_admin.models import Environment
from ilara_admin.web.filters import FilterForm
from ilara_admin.web.forms import SeenForm
from players.aliases import player_id_named


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
        """The filter to apply. An unregistered player matches nothing."""
        player = self.value("player")
        return Filter(
            self.value("name") or None, player_id_named(environment, player) if player else None
        )


SEARCH = {"type": "search", "autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}


class NamesForm(FilterForm):
    q = forms.CharField(
        label="Name",
        required=False,
        max_length=128,
        widget=forms.TextInput(attrs={**SEARCH, "class": "mono", "placeholder": "Part of a name"}),
    )


class RejectedForm(FilterForm):
    name = forms.CharField(
        label="Event name",
        required=False,
        max_length=255,
        widget=forms.TextInput(attrs={**SEARCH, "class": "mono", "placeholder": "Exact name"}),
    )


MOMENT = forms.DateTimeInput(attrs={"type": "datetime-local"})


class TimelineFilterForm(FilterForm):
    kind = forms.ChoiceField(
        label="Show",
        required=False,
        choices=[
            ("", "Everything"),
            ("session", "Sessions"),
            ("purchase", "Purchases"),
            ("event", "Events"),
            ("staff", "Staff actions"),
        ],
    )
    event = forms.CharField(
        label="Event name",
        required=False,
        max_length=128,
        strip=False,
        widget=forms.TextInput(
            attrs={**SEARCH, "class": "mono", "placeholder": "level_completed"},
        ),
    )
    text = forms.CharField(
        label="Text in properties",
        required=False,
        max_length=128,
        widget=forms.TextInput(attrs={**SEARCH, "class": "mono", "placeholder": "sword_7"}),
    )
    since = forms.DateTimeField(label="From", required=False, widget=MOMENT)
    until = forms.DateTimeField(label="To", required=False, widget=MOMENT)

    @property
    def wanted(self) -> TimelineFilter:
        kind = self.value("kind")
        return TimelineFilter(
            TimelineKind[kind.upper()] if kind else None,
            self.value("event"),
            self.value("text"),
            self.cleaned_data.get("since"),
            self.cleaned_data.get("until"),
        )

    @property
    def narrows(self) -> bool:
        """Whether one of the fields that seldom matter is in use."""
        return any(self.cleaned_data.get(name) for name in ("text", "since", "until"))


class DescriptionForm(SeenForm):
    description = forms.CharField(
        label="When the game sends it, and what it means",
        required=False,
        max_length=DESCRIPTION_CHARACTERS,
        widget=forms.Textarea(attrs={"rows": 3}),
    )

"""Forms of the event pages: filters, and the description of a name."""

from django import forms

from events.log_reader import Filter
from events.models import DESCRIPTION_CHARACTERS, OWNER_CHARACTERS
from events.timeline import TimelineKind
from ilara_admin.models import Environment
from ilara_admin.web.filters import FilterForm
from ilara_admin.web.forms import SeenForm
from ilara_admin.web.sorting import Column, sort_field
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


NAME_COLUMNS = {
    "name": Column("Event", ["name"]),
    "state": Column("State", ["state", "name"]),
    "day": Column("Last 24 hours", ["recent", "name"], newest_first=True),
    "total": Column("Total", ["count", "name"], newest_first=True),
    "seen": Column("Last seen", ["last_seen_at", "name"], newest_first=True),
}


class NamesForm(FilterForm):
    q = forms.CharField(
        label="Search",
        required=False,
        max_length=128,
        widget=forms.TextInput(attrs={**SEARCH, "placeholder": "Name, description or owner"}),
    )
    sort = sort_field(NAME_COLUMNS)


class RejectedForm(FilterForm):
    name = forms.CharField(
        label="Event name",
        required=False,
        max_length=255,
        widget=forms.TextInput(attrs={**SEARCH, "class": "mono", "placeholder": "Exact name"}),
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
    def wanted(self) -> TimelineKind | None:
        """The kind to show. An event name implies events."""
        if self.value("event"):
            return TimelineKind.EVENT
        return TimelineKind[self.value("kind").upper()] if self.value("kind") else None


class DescriptionForm(SeenForm):
    description = forms.CharField(
        label="When the game sends it, and what it means",
        required=False,
        max_length=DESCRIPTION_CHARACTERS,
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    owner = forms.CharField(
        required=False,
        max_length=OWNER_CHARACTERS,
        help_text="The team or person to ask.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

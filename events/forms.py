"""Forms of the event pages: filters, and the description of a name."""

from collections.abc import Iterator
from typing import cast
from urllib.parse import urlencode

from django import forms
from django.utils import timezone

from events.log_reader import Filter
from events.models import DESCRIPTION_CHARACTERS, OWNER_CHARACTERS
from events.properties import (
    MAX_VALUE_CHARACTERS,
    OPERATOR_WORDS,
    PropertyFilter,
    PropertyOperator,
)
from events.search import ALL_TIME, TimeRange
from events.timeline import TimelineFilter, TimelineKind
from ilara_admin.core.local_times import line_text
from ilara_admin.core.text import isolated
from ilara_admin.models import Environment, Role
from ilara_admin.web.access import sees_personal
from ilara_admin.web.filters import Chip, FilterForm, address
from ilara_admin.web.forms import SeenForm
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.moment_field import EXACT, MomentField
from ilara_admin.web.sorting import Column, sort_field
from players.aliases import player_id_named

SEARCH = {"type": "search", "autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}


class TailForm(FilterForm):
    """The filters of live and of past events. A time range means past events. `problems` are what
    is wrong with the filters; then nothing is shown, because the reader would take events for
    filtered that are not."""

    cursors = ("since", "paused", "before", "mode")

    name = forms.CharField(
        label="Event name", required=False, max_length=128, widget=forms.TextInput(SEARCH)
    )
    player = forms.CharField(
        label="Player",
        required=False,
        max_length=255,
        widget=forms.TextInput({**SEARCH, "placeholder": "External id or player id"}),
    )
    prop = forms.CharField(
        label="Property", required=False, max_length=128, widget=forms.TextInput(SEARCH)
    )
    operator = forms.ChoiceField(
        label="Comparison", required=False, choices=list(OPERATOR_WORDS.items())
    )
    operand = forms.CharField(
        label="Value",
        required=False,
        max_length=MAX_VALUE_CHARACTERS,
        widget=forms.TextInput(SEARCH),
    )
    start = MomentField(label="From", required=False)
    end = MomentField(label="To", required=False)

    @property
    def span(self) -> TimeRange:
        return TimeRange(self.cleaned_data.get("start"), self.cleaned_data.get("end"))

    @property
    def is_past(self) -> bool:
        return self.span != ALL_TIME

    @property
    def where(self) -> PropertyFilter | None:
        name = self.value("prop")
        if not name:
            return None
        operator = PropertyOperator(self.value("operator") or PropertyOperator.EXISTS)
        return PropertyFilter(name, operator, self.value("operand"), not sees_personal(self.staff))

    @property
    def problems(self) -> list[str]:
        found = [str(error) for errors in self.errors.values() for error in errors]
        start, end = self.span
        if start and end and start >= end:
            found.append("“To” must be later than “From”.")
        if where := self.where:
            if not sees_personal(self.staff):
                found += self._personal_problems(where)
            found += [where.problem] if where.problem else []
        return found

    def _personal_problems(self, where: PropertyFilter) -> Iterator[str]:
        """Comparing would tell a viewer what the masks hide."""
        role = Role.SUPPORT.label.lower()
        if where.name in self.staff.environment.personal_properties:
            yield (
                f"“{isolated(where.name)}” is personal data, which you see masked, so you cannot "
                f"filter by it. This needs the role {role}."
            )
        elif "@" in where.value:
            yield (
                "You see e-mail addresses masked, so you cannot filter by one. "
                f"This needs the role {role}."
            )

    @property
    def staff(self) -> HtmxHttpRequest:
        return cast(HtmxHttpRequest, self.request)

    def filter(self, environment: Environment) -> Filter:
        """The filter to apply. An unregistered player matches nothing."""
        player = self.value("player")
        return Filter(
            self.value("name") or None,
            player_id_named(environment, player) if player else None,
            self.where,
        )

    @property
    def chips(self) -> list[Chip]:
        parts = {
            "name": ("Event name", self.value("name")),
            "player": ("Player", self.value("player")),
            "prop": ("Property", self.where.words if self.where else ""),
            "start": ("From", self._moment("start")),
            "end": ("To", self._moment("end")),
        }
        return [
            Chip(label, text, self._without(name)) for name, (label, text) in parts.items() if text
        ]

    def _moment(self, name: str) -> str:
        at = self.cleaned_data.get(name)
        return line_text(at, timezone.get_current_timezone()) if at else ""

    def _without(self, name: str) -> str:
        others = ("operator", "operand") if name == "prop" else (name + EXACT,)
        return address(self.request, **dict.fromkeys((name, *others, *self.cursors), ""))

    @property
    def query(self) -> str:
        """The filters alone, for the URLs of the stream and of the other states of the page."""
        return self._query(*self.data)

    @property
    def live_query(self) -> str:
        """The same without the time range."""
        return self._query("name", "player", "prop", "operator", "operand")

    def _query(self, *names: str) -> str:
        unused = () if self.value("prop") else ("operator", "operand")
        return urlencode({n: self.data[n] for n in names if self.data[n] and n not in unused})


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
            ("exposure", "Experiments"),
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
    owner = forms.CharField(
        required=False,
        max_length=OWNER_CHARACTERS,
        help_text="The team or person to ask.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

"""The form with the filters of the player list."""

from collections.abc import Iterable
from datetime import datetime, time, timedelta
from typing import Any

from django import forms
from django.utils import timezone

from ilara_admin.pages.player_filters import (
    CHOSEN,
    FIRST_YEAR,
    LAST_YEAR,
    MAX_DAYS,
    PARTS,
    PAYING,
    SLOTS,
    SORTS,
    TESTS,
    AttributeTest,
    Filters,
    condition_problem,
)
from ilara_admin.web.filters import Chip, FilterForm, address
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.sorting import sort_field
from ilara_admin.web.suggestions import SuggestedChoiceField
from players.forms import ID_INPUT
from players.labels import STAGES
from players.lifecycle import Stage
from players.personal import MASK


class PlayerListForm(FilterForm):
    """`masked` forbids comparisons that would reveal personal data, see condition_problem.
    `problems` are the filters that are not applied, as sentences."""

    q = forms.CharField(
        label="External id",
        required=False,
        max_length=255,
        strip=False,
        widget=forms.TextInput(
            attrs={
                "type": "search",
                **ID_INPUT,
                "placeholder": "Complete id or prefix",
                "enterkeyhint": "search",
            }
        ),
    )
    segment = SuggestedChoiceField(required=False)
    stage = forms.ChoiceField(
        required=False,
        choices=[("", "Any stage"), *((stage, STAGES[stage].label) for stage in Stage)],
    )
    payer = forms.ChoiceField(
        required=False,
        choices=[("", "Everyone"), ("yes", "Payers"), ("no", "Not payers")],
    )
    country = forms.CharField(
        required=False,
        max_length=200,
        widget=forms.TextInput(
            attrs={"list": "countries", "autocomplete": "off", "spellcheck": "false"}
        ),
    )
    within = forms.IntegerField(
        label="Seen in the last days", required=False, min_value=1, max_value=MAX_DAYS
    )
    since = forms.DateField(
        label="Seen from",
        required=False,
        input_formats=["%Y-%m-%d"],
        widget=forms.DateInput(attrs={"type": "date"}),
    )
    until = forms.DateField(
        label="Seen to",
        required=False,
        input_formats=["%Y-%m-%d"],
        widget=forms.DateInput(attrs={"type": "date"}),
    )
    sort = sort_field(SORTS)
    columns = forms.CharField(label="", required=False, widget=forms.HiddenInput)

    def __init__(self, request: HtmxHttpRequest, segments: Iterable[str], *, masked: bool) -> None:
        super().__init__(request, {"segment": segments})
        personal = request.environment.personal_attributes
        self.problems = [
            f"{self[name].label}: {' '.join(map(str, errors))}"
            for name, errors in self.errors.items()
            if name not in CHOSEN
        ]
        self.conditions: list[AttributeTest] = []
        self._slots: list[tuple[AttributeTest, str]] = []
        if country := self.value("country"):
            self.conditions.append(AttributeTest("country", "is", country))
        for slot in SLOTS:
            name, test, value = (self.value(f"{part}{slot}") for part in PARTS)
            condition = AttributeTest(name, test or "is", "" if test == "set" else value)
            if not name and not value:
                continue
            if problem := condition_problem(condition, personal, masked=masked):
                self.problems.append(f"{name or 'Attribute'}: {problem}")
            else:
                self.conditions.append(condition)
                self._slots.append((condition, slot))

    @property
    def filters(self) -> Filters:
        """Invalid values are left out; `problems` names them."""
        given, zone = self.cleaned_data, timezone.get_current_timezone()
        since, until = given.get("since"), given.get("until")
        stage, payer = self.value("stage"), self.value("payer")
        return Filters(
            prefix=self.value("q"),
            segment=self.value("segment"),
            stage=Stage(stage) if stage else None,
            payer=PAYING.get(payer),
            conditions=tuple(self.conditions),
            since=datetime.combine(since, time(), zone) if since else None,
            until=datetime.combine(until + timedelta(days=1), time(), zone) if until else None,
            within=given.get("within"),
        )

    @property
    def chips(self) -> list[Chip]:
        found = super().chips
        for condition, slot in self._slots:
            dropped = [f"{part}{slot}" for part in PARTS]
            url = address(self.request, **dict.fromkeys((*dropped, *self.cursors), ""))
            found.append(Chip(condition.name, condition.words, url))
        return found

    @property
    def slots(self) -> list[list[forms.BoundField]]:
        return [[self[f"{part}{slot}"] for part in PARTS] for slot in SLOTS]

    @property
    def has_more(self) -> bool:
        """Whether one of the filters is active that the form does not show at first."""
        given = self.cleaned_data
        return bool(self._slots or any(given.get(name) for name in ("within", "since", "until")))

    def _text(self, name: str) -> str:
        return str(super()._text(name))

    def words(self, personal: Iterable[str]) -> str:
        """The active filters for the audit log, which viewers read: personal values are masked."""
        hidden = {each.name.lower() for each in self.conditions if each.top in personal}
        return "; ".join(
            f"{chip.label}: {MASK if chip.label.lower() in hidden else chip.value}"
            for chip in self.chips
        )

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        for name in ("since", "until"):
            day = given.get(name)
            if day and not FIRST_YEAR <= day.year <= LAST_YEAR:
                self.add_error(name, f"Give a year from {FIRST_YEAR} to {LAST_YEAR}.")
        return given


def _text_field(label: str, **attrs: str) -> forms.CharField:
    attrs |= {"aria-label": label, "autocomplete": "off", "spellcheck": "false"}
    return forms.CharField(
        label="", required=False, max_length=255, widget=forms.TextInput(attrs=attrs)
    )


for _slot in SLOTS:
    _number = f" {_slot}" if _slot else ""
    PlayerListForm.base_fields.update(
        {
            f"attribute{_slot}": _text_field(
                f"Attribute{_number}", list="attributes", placeholder="Attribute"
            ),
            f"test{_slot}": forms.ChoiceField(
                label="",
                required=False,
                choices=[("", "is"), *((key, text) for key, text in TESTS.items() if key != "is")],
                widget=forms.Select(attrs={"aria-label": f"Test of attribute{_number}"}),
            ),
            f"value{_slot}": _text_field(f"Value{_number}", placeholder="Value"),
        }
    )

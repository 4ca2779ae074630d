"""The filters of the list of players, and the rule that they stand for.

The filters are conditions of the rule language of segments, so that a list and a segment with the
same conditions have the same players.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from django import forms
from django.utils import timezone

from ilara_admin.pages.player_columns import attribute_problem
from ilara_admin.web.filters import Chip, FilterForm, address
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.sorting import sort_field
from ilara_admin.web.suggestions import SuggestedChoiceField
from players.forms import ID_INPUT
from players.labels import STAGES
from players.lifecycle import Stage, Thresholds
from players.personal import MASK
from segments.editor.draft import parse_typed
from segments.language.parser import ATTRIBUTES, RuleError, attribute_path, parse
from segments.player_search import Scope

# Attribute conditions: their parameters, and the endings that number them.
PARTS = ("attribute", "test", "value")
SLOTS = ("", "2", "3")
CHOSEN = ("segment", "stage", "payer", "sort")  # an unknown value finds the same as none
TESTS = {"is": "is", "least": "is at least", "most": "is at most", "set": "is set"}
OPERATORS = {"least": ">=", "most": "<="}
PAYING = {"yes": True, "no": False}
SORTS = ("id", "seen", "first")
FIRST_YEAR, LAST_YEAR = 1970, 9998
MAX_DAYS = 3_650


class AttributeTest(NamedTuple):
    """A test of an attribute. `name` is as rules write it."""

    name: str
    test: str
    value: str

    @property
    def words(self) -> str:
        return TESTS[self.test] if self.test == "set" else f"{TESTS[self.test]} {self.value}"

    @property
    def top(self) -> str:
        """The attribute that holds the value."""
        return attribute_path(self.name)[0]


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list is filtered by. Moments are aware; `until` is not included."""

    prefix: str = ""
    segment: str = ""
    stage: Stage | None = None
    payer: bool | None = None
    conditions: tuple[AttributeTest, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    within: int | None = None  # days


def document_of(filters: Filters) -> dict[str, Any] | None:
    """The rule as a document; None if there is no condition."""
    found: list[dict[str, Any]] = []
    if filters.prefix:
        found.append(_condition("external_id", "starts_with", filters.prefix))
    if filters.segment:
        found.append(_condition("segment", "in", [filters.segment]))
    if filters.stage:
        found.append(_condition("lifecycle_stage", "==", str(filters.stage)))
    if filters.payer is not None:
        found.append(_condition("is_payer", "==", filters.payer))
    if filters.since:
        before = _condition("last_seen_at", "before", filters.since.isoformat())
        found.append({"operator": "NOT", "conditions": [before]})
    if filters.until:
        found.append(_condition("last_seen_at", "before", filters.until.isoformat()))
    if filters.within:
        found.append(_condition("last_seen_at", "within_last", f"{filters.within}d"))
    found += map(attribute_condition, filters.conditions)
    return {"operator": "AND", "conditions": found} if found else None


def _condition(name: str, operator: str, value: Any) -> dict[str, Any]:
    return {"field": name, "operator": operator, "value": value}


def attribute_condition(condition: AttributeTest) -> dict[str, Any]:
    """`is 42` finds the number and the text: staff cannot know which of them a game sends."""
    name = ATTRIBUTES + condition.name.removeprefix(ATTRIBUTES)
    if condition.test == "set":
        return {"field": name, "operator": "is_set"}
    if condition.test == "is":
        typed = parse_typed("==", condition.value)
        values = [typed] if typed == condition.value else [typed, condition.value]
        return _condition(name, "in", values)
    operator = OPERATORS[condition.test]
    return _condition(name, operator, parse_typed(operator, condition.value))


def condition_problem(condition: AttributeTest, personal: Iterable[str], *, masked: bool) -> str:
    """Why the condition cannot be used, as a sentence, or ""."""
    if problem := attribute_problem(condition.name):
        return problem
    if condition.test != "set" and not condition.value:
        return "Give a value to compare with."
    if masked and condition.test in OPERATORS and condition.top in personal:
        return "It is personal data, which your role may compare for equality only."
    try:
        parse({"operator": "AND", "conditions": [attribute_condition(condition)]})
    except RuleError as error:
        if condition.test in OPERATORS:
            return f"“{TESTS[condition.test]}” needs a number, such as 40."
        return error.message
    return ""


def scope_of(filters: Filters, thresholds: Thresholds, now: datetime) -> Scope:
    """What the filters say about the external id, the day last active and the first one."""

    def ago(days: int) -> date:
        return _utc_day(now - timedelta(days=days))

    since = [_utc_day(filters.since)] if filters.since else []
    until = [_utc_day(filters.until)] if filters.until else []
    if filters.within:
        since.append(ago(filters.within))
    match filters.stage:
        case Stage.CHURNED:
            until.append(ago(thresholds.churned_days))
        case Stage.AT_RISK:
            since.append(ago(thresholds.churned_days))
            until.append(ago(thresholds.at_risk_days))
        case Stage():
            since.append(ago(thresholds.at_risk_days))
    fresh = now - timedelta(days=thresholds.new_days)
    return Scope(
        filters.prefix,
        max(since, default=None),
        min(until, default=None),
        first_after=fresh if filters.stage is Stage.NEW else None,
        returned_after=fresh if filters.stage is Stage.REACTIVATED else None,
    )


def _utc_day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


# --- The form -------------------------------------------------------------------------------------


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
            f"{self[name].label}: {' '.join(errors)}"
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

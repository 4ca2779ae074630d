"""The filters of the list of players, and the rule that they stand for.

The filters are conditions of the rule language of segments, so that a list and a segment with the
same conditions have the same players.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from ilara_admin.pages.player_columns import attribute_problem
from players.lifecycle import Stage, Thresholds
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

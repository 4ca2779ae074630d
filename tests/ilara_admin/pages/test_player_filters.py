"""The filters of the list of players as rules, and what of them an index serves."""

from datetime import UTC, date, datetime, timedelta

import pytest

from ilara_admin.pages.player_filters import (
    AttributeTest,
    Filters,
    attribute_condition,
    condition_problem,
    document_of,
    scope_of,
)
from players.lifecycle import Stage, Thresholds
from segments.language.parser import parse
from segments.player_search import Scope

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
FRESH = NOW - timedelta(days=7)


def test_no_filter__is_no_rule() -> None:
    assert document_of(Filters()) is None


def test_every_filter__is_a_condition_of_a_valid_rule() -> None:
    filters = Filters(
        prefix="p_",
        segment="whales",
        stage=Stage.AT_RISK,
        payer=False,
        conditions=(AttributeTest("stats.wins", "least", "3"), AttributeTest("email", "set", "")),
        since=FRESH,
        until=NOW,
        within=30,
    )
    document = document_of(filters)
    assert document
    assert len(parse(document).conditions) == 9
    # An attribute, although there is a built-in field of that name.
    assert document["conditions"][-1] == {"field": "attributes.email", "operator": "is_set"}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("PT", ["PT"]),
        ("42", [42, "42"]),
        ("true", [True, "true"]),
        ('"42"', ["42", '"42"']),
        ("a, b", ["a, b"]),
    ],
)
def test_is__finds_a_value_of_any_type_that_reads_so(value: str, found: list[object]) -> None:
    assert attribute_condition(AttributeTest("level", "is", value))["value"] == found


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        (AttributeTest("level", "is", "1"), ""),
        (AttributeTest("level", "set", ""), ""),
        (AttributeTest("level", "least", "-1.5"), ""),
        (AttributeTest("level", "is", ""), "Give a value"),
        (AttributeTest("level", "least", "high"), "“is at least” needs a number"),
        (AttributeTest("a..b", "set", ""), "no empty part"),
        (AttributeTest("", "is", "1"), "no empty part"),
        (AttributeTest("level", "is", "x\0"), "without NUL"),
        (AttributeTest("birthday", "is", "1"), ""),
        (AttributeTest("birthday", "set", ""), ""),
        (AttributeTest("birthday", "most", "1"), "equality only"),
        (AttributeTest("birthday.year", "least", "1"), "equality only"),
    ],
)
def test_problem__names_the_fix(condition: AttributeTest, problem: str) -> None:
    found = condition_problem(condition, ["birthday"], masked=True)
    assert (problem in found) if problem else found == ""


def test_personal_data__may_be_compared_by_those_who_see_it() -> None:
    assert (
        condition_problem(AttributeTest("birthday", "most", "1"), ["birthday"], masked=False) == ""
    )


@pytest.mark.parametrize(
    ("filters", "scope"),
    [
        (Filters(prefix="p"), Scope("p")),
        (Filters(stage=Stage.CHURNED), Scope(until=date(2026, 4, 20))),
        (Filters(stage=Stage.AT_RISK), Scope(since=date(2026, 4, 20), until=date(2026, 5, 13))),
        (Filters(stage=Stage.ACTIVE), Scope(since=date(2026, 5, 13))),
        (Filters(stage=Stage.NEW), Scope(since=date(2026, 5, 13), first_after=FRESH)),
        (Filters(stage=Stage.REACTIVATED), Scope(since=date(2026, 5, 13), returned_after=FRESH)),
        (Filters(within=2, stage=Stage.ACTIVE), Scope(since=date(2026, 5, 18))),
        (
            Filters(since=datetime(2026, 5, 1, tzinfo=UTC), until=NOW),
            Scope(since=date(2026, 5, 1), until=date(2026, 5, 20)),
        ),
    ],
)
def test_scope__is_what_the_filters_say_of_an_index(filters: Filters, scope: Scope) -> None:
    assert scope_of(filters, Thresholds(), NOW) == scope

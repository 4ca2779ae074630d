"""Flags in words: rules, flags, differences of documents and of fields as the audit log stores
them."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from flags.engine.change_words import differences, field_differences
from flags.engine.document import (
    FlagDocument,
    Prerequisite,
    Ramp,
    Rule,
    RuleGroup,
    ScheduleStep,
    Slice,
    boolean_document,
    encode_document,
)
from flags.engine.sentences import sentence, summary
from ilara_admin.core.diff import Change

AT = datetime(2026, 11, 28, 12, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def step(text: str, rollout: int) -> ScheduleStep:
    return ScheduleStep(at(text), rollout * 1000)


def ramp(start: str, end: str, from_: int = 50, to: int = 100) -> Ramp:
    return Ramp(from_=from_ * 1000, to=to * 1000, start=at(start), end=at(end))


LAST = step("2026-12-04", 100)
MANY = (*(step(f"2026-12-0{day}", 10 * day) for day in (1, 2, 3)), LAST)
HALVES = (Slice("A", 0, 50_000), Slice("B", 50_000, 100_000))
THREE = (Slice("A", 0, 50_000), Slice("B", 50_000, 80_000), Slice("C", 80_000, 100_000))
LEVELS: dict[str, Any] = {
    "operator": "AND",
    "conditions": [
        {"field": "level", "operator": ">=", "value": 40},
        {"event": "buy", "operator": ">=", "value": 2, "within": "7d"},
    ],
}
EVERYONE: dict[str, Any] = {"variant": "B"}
GROUP = RuleGroup(key="economy", salt="s", start=10_000, end=30_000)
TESTERS: dict[str, Any] = {"segment": "testers", "variant": "B"}
NEW = {"variant": "B", "conditions": LEVELS}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # Fixed percentages and audiences.
        (EVERYONE, "everyone gets B"),
        ({**EVERYONE, "group": GROUP}, "players in 10 % to 30 % of the group economy get B"),
        (
            {**TESTERS, "rollout": 50_000, "group": GROUP},
            "50 % of testers in 10 % to 30 % of the group economy get B",
        ),
        (EVERYONE | {"rollout": 12_500}, "12.5 % of players get B"),
        (EVERYONE | {"rollout": 0}, "0 % of players get B"),
        (TESTERS, "testers get B"),
        (TESTERS | {"rollout": 50_000}, "50 % of testers get B"),
        (NEW, "players where level is at least 40 and did “buy” at least 2 times within the last "
              "7 days get B"),
        (TESTERS | {"conditions": LEVELS, "rollout": 5_000},
         "5 % of testers where level is at least 40 and did “buy” at least 2 times within the "
         "last 7 days get B"),
        # Splits.
        ({"split": HALVES}, "everyone gets A (50 %) or B (50 %)"),
        ({"split": THREE, "segment": "testers", "rollout": 10_000},
         "10 % of testers get A (50 %), B (30 %) or C (20 %)"),
        ({"split": HALVES, "segment": "testers", "ramp": ramp("2026-11-28", "2026-12-04")},
         "54.1 % of testers get A (50 %) or B (50 %), rising to 100 % by 4 Dec"),
        ({"split": HALVES, "rollout": 10_000, "steps": (step("2026-12-01", 30),)},
         "10 % of players get A (50 %) or B (50 %), rising to 30 % on 1 Dec"),
        # Ramps: before, within, after.
        (TESTERS | {"ramp": ramp("2026-11-28T12:00", "2026-12-04")},
         "50 % of testers get B, rising to 100 % by 4 Dec"),
        (TESTERS | {"ramp": ramp("2026-12-01T09:30", "2026-12-04")},
         "50 % of testers get B, rising to 100 % from 1 Dec, 09:30 UTC to 4 Dec"),
        (TESTERS | {"ramp": Ramp(0, 300, at("2026-11-28"), at("2026-12-04"))},
         "0.025 % of testers get B, rising to 0.3 % by 4 Dec"),
        (TESTERS | {"ramp": ramp("2026-11-01", "2026-11-20")}, "testers get B"),
        (TESTERS | {"ramp": ramp("2026-11-28T12:00", "2027-01-02T08:00:30", 80, 20)},
         "80 % of testers get B, falling to 20 % by 2 Jan 2027, 08:00:30 UTC"),
        (EVERYONE | {"ramp": ramp("2026-12-01", "2026-12-04", 100, 0)},
         "everyone gets B, falling to 0 % from 1 Dec to 4 Dec"),
        (TESTERS | {"ramp": ramp("2026-12-01", "2026-12-04", 70, 70)}, "70 % of testers get B"),
        # Steps: one, two, many, past, in both directions.
        (TESTERS | {"rollout": 5_000, "steps": (step("2026-12-01", 50),)},
         "5 % of testers get B, rising to 50 % on 1 Dec"),
        (TESTERS | {"rollout": 5_000, "steps": (step("2026-12-01T09:00", 50), LAST)},
         "5 % of testers get B, rising to 50 % on 1 Dec, 09:00 UTC and 100 % on 4 Dec"),
        (TESTERS | {"rollout": 5_000, "steps": MANY},
         "5 % of testers get B, rising to 100 % by 4 Dec in 4 steps"),
        (TESTERS | {"rollout": 5_000, "steps": (step("2026-11-01", 25), LAST)},
         "25 % of testers get B, rising to 100 % on 4 Dec"),
        (TESTERS | {"rollout": 5_000, "steps": (step("2026-11-01", 25),)}, "25 % of testers get B"),
        (TESTERS | {"rollout": 5_000, "steps": (step("2026-12-01", 50), step("2026-12-04", 0))},
         "5 % of testers get B, changing to 50 % on 1 Dec and 0 % on 4 Dec"),
        # Start and end.
        (EVERYONE | {"start": at("2026-12-01")}, "everyone gets B from 1 Dec"),
        (TESTERS | {"rollout": 5_000, "start": at("2026-12-01"), "end": at("2026-12-24T18:00")},
         "5 % of testers get B from 1 Dec until 24 Dec, 18:00 UTC"),
        (TESTERS | {"start": at("2026-11-01"), "end": at("2026-12-24")},
         "testers get B until 24 Dec, 00:00 UTC"),
        (TESTERS | {"start": at("2026-11-01")}, "testers get B"),
        (TESTERS | {"rollout": 5_000, "end": at("2026-11-20T06:00")},
         "5 % of testers got B until 20 Nov, 06:00 UTC"),
        (EVERYONE | {"end": at("2026-11-20T06:00")}, "everyone got B until 20 Nov, 06:00 UTC"),
        (TESTERS | {"ramp": ramp("2026-12-01", "2026-12-04"), "start": at("2026-12-01")},
         "50 % of testers get B from 1 Dec, rising to 100 % by 4 Dec"),
        (TESTERS | {"ramp": ramp("2026-11-01", "2026-11-04"), "end": at("2026-11-10T06:00")},
         "testers got B until 10 Nov, 06:00 UTC"),
    ],
)  # fmt: skip
def test_rule__is_a_sentence(rule: dict[str, Any], expected: str) -> None:
    assert sentence(Rule(id="r", **rule), AT) == expected


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", "5 % of players get B, rising to 50 % on 31 Dec, 23:30 UTC"),
        ("Europe/Berlin", "5 % of players get B, rising to 50 % on 1 Jan 2027, 00:30"),
        ("America/New_York", "5 % of players get B, rising to 50 % on 31 Dec, 18:30"),
    ],
)
def test_dates__are_in_the_readers_zone(zone: str, expected: str) -> None:
    rule = Rule(id="r", variant="B", rollout=5_000, steps=(step("2026-12-31T23:30", 50),))
    assert sentence(rule, AT.astimezone(ZoneInfo(zone))) == expected


def test_time_that_occurs_twice__has_its_offset() -> None:
    rule = Rule(id="r", variant="B", rollout=5_000, steps=(step("2027-10-31T00:30", 50),))
    assert sentence(rule, AT.astimezone(ZoneInfo("Europe/Berlin"))) == (
        "5 % of players get B, rising to 50 % on 31 Oct 2027, 02:30 UTC+02:00"
    )


ON = boolean_document(enabled=True)
RULE = Rule(id="r", segment="testers", variant="enabled", rollout=5_000)
NEEDS = (Prerequisite("shop", ("on", "new")), Prerequisite("event", ("x",)))


def rules(count: int) -> tuple[Rule, ...]:
    return tuple(
        Rule(id=f"r{number}", segment=f"s{number}", variant="enabled") for number in range(count)
    )


@pytest.mark.parametrize(
    ("document", "archived", "expected"),
    [
        (boolean_document(), False, "off: everyone gets disabled"),
        (boolean_document(rules=(RULE,)), False, "off: everyone gets disabled"),
        (boolean_document(enabled=True, rules=(RULE,)), True, "archived: everyone gets disabled"),
        (ON, False, "everyone gets disabled"),
        (boolean_document(enabled=True, rules=(RULE,)), False,
         "5 % of testers get enabled; otherwise disabled"),
        (boolean_document(enabled=True, rules=rules(3)), False,
         "s0 get enabled; s1 get enabled; s2 get enabled; otherwise disabled"),
        (boolean_document(enabled=True, rules=rules(5)), False,
         "s0 get enabled; s1 get enabled; 3 more rules; otherwise disabled"),
        (msgspec.structs.replace(ON, prerequisites=NEEDS), False,
         "only if shop serves on or new and event serves x: everyone gets disabled"),
    ],
)  # fmt: skip
def test_flag__is_one_line(document: FlagDocument, archived: bool, expected: str) -> None:
    assert summary(document, AT, archived=archived) == expected


LEVEL = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 1}]}
A = Rule(id="a", segment="testers", variant="enabled")
B = Rule(id="b", variant="enabled", rollout=25_000)
C = Rule(id="c", variant="disabled")


def with_rules(*rules: Rule, **fields: Any) -> FlagDocument:
    return msgspec.structs.replace(boolean_document(rules=rules), **fields)


def labels(before: FlagDocument, after: FlagDocument) -> list[str]:
    return [change.label for change in differences(before, after, AT)]


REORDERS = [
    ((A, B), (msgspec.structs.replace(A, conditions=LEVEL), B)),
    ((A, B), (C, A, B)),
    ((A, B), (A, C, B)),
    ((A, B, C), (A, C)),
    ((A, B), (B,)),
    ((A, B), (C, B)),
    ((A,), (msgspec.structs.replace(A, segment=None), B)),
]


@pytest.mark.parametrize(("before", "after"), REORDERS)
def test_other_change_of_rules__is_no_reorder(
    before: tuple[Rule, ...], after: tuple[Rule, ...]
) -> None:
    assert "Order of rules" not in labels(with_rules(*before), with_rules(*after))
    assert labels(with_rules(*before), with_rules(*after))


@pytest.mark.parametrize(
    ("before", "after", "old", "new"),
    [
        ((A, B), (B, A), "testers; everyone", "everyone; testers"),
        ((A, B), (B, C, A), "testers; everyone", "everyone; testers"),
        ((A, C, B), (B, A), "testers; everyone", "everyone; testers"),
        (
            (B, C),
            (C, B),
            "25 % of players get enabled; everyone gets disabled",
            "everyone gets disabled; 25 % of players get enabled",
        ),
        ((C, msgspec.structs.replace(C, id="d")), (msgspec.structs.replace(C, id="d"), C),
         "rule 1; rule 2", "rule 2; rule 1"),
    ],
)  # fmt: skip
def test_reorder__shows_the_order_of_the_rules_that_stay(
    before: tuple[Rule, ...], after: tuple[Rule, ...], old: str, new: str
) -> None:
    found = differences(with_rules(*before), with_rules(*after), AT)
    assert found[-1] == Change("Order of rules", old, new)


def test_fields_of_the_audit_log__have_the_labels_of_the_history() -> None:
    before = with_rules(A, B, C)
    after = with_rules(
        C,
        msgspec.structs.replace(B, rollout=50_000),
        enabled=True,
        prerequisites=(Prerequisite("shop", ("on",)),),
        default="enabled",
        off="enabled",
    )
    sides = encode_document(before), encode_document(after)
    old, new = (
        {name: value for name, value in side.items() if value != other[name]}
        for side, other in (sides, sides[::-1])
    )
    found = field_differences(old, new, AT)
    assert sorted(map(repr, found)) == sorted(map(repr, differences(before, after, AT)))
    assert Change("Rule 2", "25 % of players get enabled", "50 % of players get enabled") in found
    assert Change("Order of rules", "25 % of players get enabled; everyone gets disabled",
                  "everyone gets disabled; 50 % of players get enabled") in found  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({"enabled": False}, {"enabled": True}, [("State", "off", "on")]),
        ({"archived": False}, {"archived": True}, [("Lists", "in use", "archived")]),
        ({"name": "a", "expected_end": ""}, {"name": "b", "expected_end": "2031-01-01"},
         [("Name", "a", "b"), ("Expected end", "none", "2031-01-01")]),
        ({}, {"enabled": True}, [("State", "", "on")]),
        ({}, {"default": "a"}, [("Otherwise", "", "a")]),
        ({"variant": "a"}, {"variant": "b"}, [("variant", "a", "b")]),
        ({"enabled": 1}, {"enabled": True}, [("enabled", "1", "true")]),
        ({"player": "ann"}, {"player": "ann", "variant": "b", "until": None},
         [("Override", "none", "ann gets b")]),
        ({"player": "ann", "variant": "b", "until": None},
         {"player": "ann", "variant": "c", "until": "2026-12-04T18:00:00+00:00"},
         [("Override", "ann gets b", "ann gets c until 4 Dec, 18:00 UTC")]),
        ({"player": "ann", "variant": "b", "until": None}, {"player": "ann"},
         [("Override", "ann gets b", "none")]),
        ({}, {"prerequisites": []}, []),
        ({"metadata": {"a": 1}}, {"metadata": {"a": True, "b": "x"}},
         [("Metadata a", "1", "true"), ("Metadata b", "none", '"x"')]),
        ({}, {"metadata": {"a": 1}}, [("Metadata a", "none", "1")]),
        ({"rules": [{"id": "r", "odd": 1}]}, {"rules": []},
         [("rules.r", '{"id": "r", "odd": 1}', "")]),
        ({"rules": []}, {"rules": [{"id": "r", "variant": "x"}]},
         [("Rule 1", "none", "everyone gets x")]),
    ],
)  # fmt: skip
def test_field__is_in_the_words_of_the_page(
    before: Any, after: Any, found: list[tuple[str, str, str]]
) -> None:
    assert field_differences(before, after, AT) == [Change(*each) for each in found]


def test_change_that_the_sentence_leaves_out__shows_the_whole_path() -> None:
    """A step in the past, or in the middle of many."""
    steps = (step("2026-11-01", 25), step("2026-11-20", 50))
    rule = Rule(id="r", variant="enabled", rollout=5_000, steps=steps)
    other = msgspec.structs.replace(rule, steps=(step("2026-11-01", 30), steps[1]))
    (found,) = differences(with_rules(rule), with_rules(other), AT)
    assert found.label == "Rule 1, percentage"
    assert found.before == (
        "5 %; 25 % from 1 Nov 2026, 00:00 UTC; 50 % from 20 Nov 2026, 00:00 UTC"
    )
    assert found.after == "5 %; 30 % from 1 Nov 2026, 00:00 UTC; 50 % from 20 Nov 2026, 00:00 UTC"

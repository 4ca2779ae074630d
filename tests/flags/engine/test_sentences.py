"""Differences between flags in words: whole documents, and fields as the audit log stores them."""

from typing import Any

import msgspec
import pytest

from flags.engine.document import (
    FlagDocument,
    Prerequisite,
    Rule,
    boolean_document,
    encode_document,
)
from flags.engine.sentences import differences, field_differences
from ilara_admin.core.diff import Change

LEVEL = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 1}]}
A = Rule(id="a", segment="testers", variant="enabled")
B = Rule(id="b", variant="enabled", rollout=25_000)
C = Rule(id="c", variant="disabled")


def with_rules(*rules: Rule, **fields: Any) -> FlagDocument:
    return msgspec.structs.replace(boolean_document(rules=rules), **fields)


def labels(before: FlagDocument, after: FlagDocument) -> list[str]:
    return [change.label for change in differences(before, after)]


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
        ((A, B), (B, A), "testers, everyone", "everyone, testers"),
        ((A, B), (B, C, A), "testers, everyone", "everyone, testers"),
        ((A, C, B), (B, A), "testers, everyone", "everyone, testers"),
        (
            (B, C),
            (C, B),
            "everyone: enabled to 25 %, everyone: disabled",
            "everyone: disabled, everyone: enabled to 25 %",
        ),
        ((C, msgspec.structs.replace(C, id="d")), (msgspec.structs.replace(C, id="d"), C),
         "rule 1, rule 2", "rule 2, rule 1"),
    ],
)  # fmt: skip
def test_reorder__shows_the_order_of_the_rules_that_stay(
    before: tuple[Rule, ...], after: tuple[Rule, ...], old: str, new: str
) -> None:
    found = differences(with_rules(*before), with_rules(*after))
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
    changed = [
        {name: value for name, value in side.items() if value != other[name]}
        for side, other in (sides, sides[::-1])
    ]
    found = field_differences(*changed)
    assert sorted(map(repr, found)) == sorted(map(repr, differences(before, after)))
    assert Change("Rule 2, percentage", "25 %", "50 %") in found
    assert Change("Order of rules", "everyone: enabled to 25 %, everyone: disabled",
                  "everyone: disabled, everyone: enabled to 50 %") in found  # fmt: skip


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
        ({"rules": [{"id": "r", "odd": 1}]}, {"rules": []},
         [("rules.r", '{"id": "r", "odd": 1}', "")]),
        ({"rules": []}, {"rules": [{"id": "r", "variant": "x"}]},
         [("Rule 1", "none", "everyone: x")]),
    ],
)  # fmt: skip
def test_field__is_in_the_words_of_the_page(
    before: Any, after: Any, found: list[tuple[str, str, str]]
) -> None:
    assert field_differences(before, after) == [Change(*each) for each in found]

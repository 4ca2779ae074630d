"""Why a player is in a segment, or not."""

from datetime import UTC, datetime
from typing import Any

import pytest

from segments.cache import SegmentRow, compile_segments, matchers_of
from segments.language.compiler import Subject
from segments.language.trace import why

HIGH = {"field": "level", "operator": ">=", "value": 5}
VIP = {"field": "vip", "operator": "==", "value": True}
MAIL = {"field": "email", "operator": "ends_with", "value": "@x.example"}


def reason(rule: Any, attributes: dict[str, Any], **options: Any) -> str:
    rows = [
        SegmentRow(1, "a", "", rule),
        SegmentRow(2, "b", "", {"operator": "AND", "conditions": [VIP]}),
    ]
    segments = compile_segments(rows, {})
    fields = {"email": "pia@y.example"}
    subject = Subject(attributes, fields, datetime(2026, 5, 4, tzinfo=UTC), **options)
    return why(segments["a"], subject, matchers_of(segments))


def group(operator: str, *conditions: Any) -> dict[str, Any]:
    return {"operator": operator, "conditions": list(conditions)}


@pytest.mark.parametrize(
    ("rule", "attributes", "text"),
    [
        (group("AND", HIGH), {"level": 7}, "level is at least 5 (actual: 7)."),
        (group("AND", HIGH), {"level": 4}, "level must be at least 5 (actual: 4)."),
        (
            group("AND", HIGH, VIP),
            {"level": 7, "vip": True},
            "level is at least 5 (actual: 7) and vip is true (actual: true).",
        ),
        (group("OR", HIGH, VIP), {"level": 4, "vip": True}, "vip is true (actual: true)."),
        (group("OR", HIGH, VIP), {"level": 5, "vip": True}, "level is at least 5 (actual: 5)."),
        (group("NOT", HIGH), {"level": 4}, "not true: level is at least 5 (actual: 4)."),
        (group("NOT", HIGH), {"level": 5}, "level must not be at least 5 (actual: 5)."),
        (
            group("OR", group("AND", HIGH, VIP), group("AND", HIGH)),
            {"level": 4},
            "level must be at least 5 (actual: 4).",
        ),
        (
            group("AND", {"field": "segment", "operator": "in", "value": ["b"]}),
            {"vip": True},
            "is in the segment “b” (actual: in “b”).",
        ),
        ("broken", {}, "The rule cannot be read, so it matches no players."),
    ],
)
def test_reason__is_the_deciding_conditions_or_the_nearest_miss(
    rule: Any, attributes: dict[str, Any], text: str
) -> None:
    assert reason(rule, attributes) == text


def test_lists__come_before_the_rule() -> None:
    assert reason(group("AND", HIGH), {"level": 1}, lists={1: False}) == "On the include list."
    assert reason(group("AND", HIGH), {"level": 9}, lists={1: True}) == "On the exclude list."


def test_hidden_fields__show_no_value() -> None:
    hidden = frozenset({"email", "level"})
    text = reason(group("AND", MAIL, HIGH), {"level": 4}, hidden=hidden)
    assert text == (
        "email must end with “@x.example” (actual: “p***”) and "
        "level must be at least 5 (actual: “***”)."
    )
    nested = {"field": "level.now", "operator": ">=", "value": 5}
    assert "(actual: “***”)" in reason(group("AND", nested), {"level": {"now": 4}}, hidden=hidden)

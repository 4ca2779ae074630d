"""The definition of a metric: what each kind has, errors that name the fix, and words."""

from datetime import UTC, datetime
from typing import Any

import pytest

from flags.models import MetricKind
from flags.results.metric_definition import (
    APPLIES,
    DEFINITION,
    NOTHING,
    field_differences,
    only_applying,
    ordinal,
    problems,
    sentence,
    unit_of,
)

GEMS = {"operator": "AND", "conditions": [{"field": "item_id", "operator": "==", "value": "gems"}]}
FULL = {
    "event": "purchase", "property": "price", "conditions": GEMS, "window_days": 7,
    "percentile": 99,
}  # fmt: skip


def defined(kind: str, **fields: Any) -> dict[str, Any]:
    return {**NOTHING, "kind": kind, **fields}


def test_every_kind__has_its_fields() -> None:
    assert list(APPLIES) == list(MetricKind)
    assert set(DEFINITION) == {"kind", *NOTHING}


@pytest.mark.parametrize("kind", MetricKind)
def test_full_definition__names_each_field_that_the_kind_lacks(kind: str) -> None:
    extra = set(NOTHING) - set(APPLIES[kind])
    assert problems(defined(kind, **FULL)).keys() == extra
    assert problems(only_applying(defined(kind, **FULL))) == {}


@pytest.mark.parametrize(
    ("kind", "fields", "field", "fix"),
    [
        ("count", {}, "event", "Name the event"),
        ("count", {"event": "x" * 129}, "event", "1 to 128 characters"),
        ("count", {"event": "a\0"}, "event", "Name the event"),
        ("share", {"event": "x", "percentile": 99}, "percentile", "Leave it out"),
        ("sum", {"event": "x"}, "property", "Name a property"),
        ("mean", {"event": "x", "property": "y" * 129}, "property", "1 to 128 characters"),
        ("mean", {"event": "x", "property": "a..b"}, "property", "no empty part"),
        ("revenue", {"event": "x"}, "event", "Leave it out"),
        ("sessions", {"conditions": GEMS}, "conditions", "Leave it out"),
        ("retention", {}, "window_days", "from 1 to 365"),
        ("retention", {"window_days": 0}, "window_days", "from 1 to 365"),
        ("payers", {"window_days": 366}, "window_days", "from 1 to 365"),
        ("payers", {"window_days": True}, "window_days", "from 1 to 365"),
        ("payers", {"window_days": 1.5}, "window_days", "from 1 to 365"),
        ("revenue", {"percentile": 100}, "percentile", "such as 99"),
        ("revenue", {"percentile": 49}, "percentile", "such as 99"),
        ("revenue", {"percentile": float("nan")}, "percentile", "such as 99"),
        ("revenue", {"percentile": "99"}, "percentile", "such as 99"),
        ("count", {"event": "x", "conditions": {}}, "conditions", "operator: Use AND"),
        ("count", {"event": "x", "conditions": []}, "conditions", "A rule is an object"),
        (
            "count",
            {"event": "x", "conditions": {"operator": "AND", "conditions": [
                {"event": "y", "operator": ">=", "value": 1, "within": "1d"}]}},
            "conditions",
            "cannot count events",
        ),
        ("median", {}, "kind", "Use one of: count, share"),
    ],
)  # fmt: skip
def test_wrong_definition__names_the_field_and_the_fix(
    kind: str, fields: dict[str, Any], field: str, fix: str
) -> None:
    found = problems(defined(kind, **fields))
    assert found.keys() == {field}
    assert fix in found[field]


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (
            defined("sum", **FULL),
            "Sum of “price” of “purchase” events whose item_id is “gems”, per player, within 7 "
            "days of exposure, values above the 99th percentile capped",
        ),
        (
            defined("count", event="level_fail"),
            "Number of “level_fail” events, per player, since exposure",
        ),
        (
            defined("share", event="item_buy", window_days=1),
            "Share of players with an “item_buy” event, within 1 day of exposure",
        ),
        (
            defined("mean", event="run", property="score", percentile=99.9),
            "Mean of “score” of “run” events, per player with any, since exposure, values above "
            "the 99.9th percentile capped",
        ),
        (defined("revenue"), "Revenue without refunds, per player, since exposure"),
        (
            defined("payers", window_days=3),
            "Share of players with a purchase that was not refunded, within 3 days of exposure",
        ),
        (defined("sessions"), "Number of sessions, per player, since exposure"),
        (
            defined("retention", window_days=7),
            "Share of players who were active on day 7 after exposure",
        ),
        (
            defined("count", event="x", conditions={"operator": "NO"}),
            "Number of “x” events whose conditions are not valid (operator: Use AND, OR or NOT.), "
            "per player, since exposure",
        ),
    ],
)
def test_sentence(definition: dict[str, Any], words: str) -> None:
    assert sentence(definition) == words


@pytest.mark.parametrize(
    ("number", "text"),
    [(99, "99th"), (99.0, "99th"), (91, "91st"), (92, "92nd"), (93, "93rd"), (99.5, "99.5th")],
)
def test_ordinal(number: float, text: str) -> None:
    assert ordinal(number) == text


@pytest.mark.parametrize(
    ("kind", "unit"), [("share", "%"), ("retention", "%"), ("revenue", "EUR"), ("sum", "coins")]
)
def test_unit(kind: str, unit: str) -> None:
    assert unit_of(kind, "coins", "EUR") == unit


def test_differences__are_in_words() -> None:
    before = {"definition": defined("sessions"), "direction": "up", "owner": "Ada"}
    after = {"definition": defined("revenue"), "direction": "down", "owner": "Bo"}
    found = field_differences(before, after, datetime.now(UTC))
    assert [(each.label, each.before, each.after) for each in found] == [
        (
            "Measures",
            "Number of sessions, per player, since exposure",
            "Revenue without refunds, per player, since exposure",
        ),
        ("Direction", "higher is better", "lower is better"),
        ("Owner", "Ada", "Bo"),
    ]

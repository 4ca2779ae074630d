"""Stored segments that cannot hold: they are told of, and nothing else falls with them."""

import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from django.utils import timezone

from ilara_admin.models import Environment
from segments.cache import CompiledSegment, SegmentRow, compile_segments
from segments.language.compiler import Subject
from segments.lists.services import ids_add
from segments.models import Segment
from segments.services import segment_create
from segments.sizes import count, rule_query
from tests.api_client import SEGMENTS, Api
from tests.factories import ACTOR, make_player

NOW = datetime(2026, 6, 1, tzinfo=UTC)
EVERYBODY = {"field": "no", "operator": "is_not_set"}
UNREADABLE = {"operator": "AND", "conditions": [{"field": "level", "operator": "~", "value": 1}]}


def any_of(*conditions: Any) -> dict[str, Any]:
    return {"operator": "OR", "conditions": list(conditions)}


def among(*keys: str, operator: str = "in") -> dict[str, Any]:
    return {"field": "segment", "operator": operator, "value": list(keys)}


def compiled(**rules: Any) -> dict[str, CompiledSegment]:
    rows = [SegmentRow(number, key, key, rule) for number, (key, rule) in enumerate(rules.items())]
    return compile_segments(rows, {})


def members(segments: dict[str, CompiledSegment], **listed: bool) -> list[str]:
    """The segments that a player without attributes is in. `listed` says of some that the player
    stands on a list."""
    lists = {segments[key].id: excluded for key, excluded in listed.items()}
    subject = Subject({}, {}, NOW, lists)
    return [key for key, segment in segments.items() if segment.matches(subject)]


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


@pytest.mark.parametrize(
    "rule", [UNREADABLE, None, [], {}, 7, "rule", any_of(), {"operator": "AND", "conditions": [[]]}]
)
def test_unreadable_rule__takes_in_nobody_and_is_told_once(
    rule: Any, caplog: pytest.LogCaptureFixture
) -> None:
    segments = compiled(
        a=any_of(EVERYBODY),
        broken=rule,
        c=any_of(among("broken")),
        d=any_of(among("broken", operator="not_in")),
    )
    assert members(segments) == ["a", "d"]
    assert members(segments, broken=False) == ["a", "broken", "c"]
    (line,) = told(caplog)
    assert line.startswith("the segment broken cannot be read and matches nobody: ")


def test_segments_in_a_circle__take_in_nobody_and_are_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    segments = compiled(
        a=any_of(EVERYBODY, among("c")),
        b=any_of(EVERYBODY, among("a")),
        c=any_of(EVERYBODY, among("b")),
        leads_there=any_of(EVERYBODY, among("a")),
        only_there=any_of(among("a")),
        itself=any_of(EVERYBODY, among("itself")),
    )
    assert members(segments) == ["leads_there"]
    assert members(segments, a=False) == ["a", "leads_there", "only_there"]
    assert told(caplog) == [
        "the segments a → c → b → a lead back to themselves and match nobody",
        "the segments itself → itself lead back to themselves and match nobody",
    ]


def test_missing_segment__has_no_members(caplog: pytest.LogCaptureFixture) -> None:
    segments = compiled(
        a=any_of(among("no")), b=any_of(among("no", operator="not_in")), c=any_of(EVERYBODY)
    )
    assert members(segments) == ["b", "c"]
    assert told(caplog) == []


def test_events__are_wanted_by_way_of_other_segments_and_never_of_broken_ones() -> None:
    bought = {"event": "buy", "operator": ">=", "value": 1, "within": "7d"}
    segments = compiled(
        buyers=any_of(bought),
        by_way=any_of(among("buyers")),
        circle=any_of(bought, among("circle")),
        other=any_of(EVERYBODY, among("circle")),
    )
    wanted = {
        key: sorted(each.event for each in segment.event_counts)
        for key, segment in segments.items()
    }
    assert wanted == {"buyers": ["buy"], "by_way": ["buy"], "circle": [], "other": []}


def test_broken_segments__leave_the_api_and_counts_in_force(
    environment: Environment, public_api: Api
) -> None:
    for key in ("broken", "circle"):
        segment_create(
            environment=environment, key=key, name="", rule=any_of(EVERYBODY), actor=ACTOR
        )
    stored = Segment.objects.filter(environment=environment)
    stored.filter(key="broken").update(rule=UNREADABLE)
    stored.filter(key="circle").update(rule=any_of(EVERYBODY, among("circle")))
    player = make_player(environment, attributes={"level": 45})
    found = public_api.get(f"/v1/segments/player/{player.id}").data["segments"]
    assert [segment["id"] for segment in found] == ["beta-testers"]
    ids_add(stored.get(key="broken"), [player.external_id], excluded=False, actor=ACTOR)
    reply = public_api.post(f"{SEGMENTS}/broken/evaluate", {"player_id": str(player.id)})
    assert reply.data["is_member"] is True
    now = timezone.now()
    sizes = {each.key: count(rule_query(environment, each.spec, now, each)) for each in stored}
    assert sizes == {"beta-testers": 1, "broken": 1, "circle": 0}

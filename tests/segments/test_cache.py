"""Invalid stored segments: they are logged and do not affect other segments."""

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
ALL_PLAYERS = {"field": "no", "operator": "is_not_set"}
INVALID = {"operator": "AND", "conditions": [{"field": "level", "operator": "~", "value": 1}]}


def any_of(*conditions: Any) -> dict[str, Any]:
    return {"operator": "OR", "conditions": list(conditions)}


def among(*keys: str, operator: str = "in") -> dict[str, Any]:
    return {"field": "segment", "operator": operator, "value": list(keys)}


def compiled(**rules: Any) -> dict[str, CompiledSegment]:
    rows = [SegmentRow(number, key, key, rule) for number, (key, rule) in enumerate(rules.items())]
    return compile_segments(rows, {})


def members(segments: dict[str, CompiledSegment], **listed: bool) -> list[str]:
    """The segments that a player without attributes is in. `listed` maps segments to the player's
    list: True for exclude, False for include."""
    lists = {segments[key].id: excluded for key, excluded in listed.items()}
    subject = Subject({}, {}, NOW, lists)
    return [key for key, segment in segments.items() if segment.matches(subject)]


def logged_errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


@pytest.mark.parametrize(
    "rule", [INVALID, None, [], {}, 7, "rule", any_of(), {"operator": "AND", "conditions": [[]]}]
)
def test_invalid_rule__matches_no_players_and_is_logged_once(
    rule: Any, caplog: pytest.LogCaptureFixture
) -> None:
    segments = compiled(
        a=any_of(ALL_PLAYERS),
        broken=rule,
        c=any_of(among("broken")),
        d=any_of(among("broken", operator="not_in")),
    )
    assert members(segments) == ["a", "d"]
    assert members(segments, broken=False) == ["a", "broken", "c"]
    (line,) = logged_errors(caplog)
    assert line.startswith("cannot parse segment broken, it matches no players: ")


def test_segments_in_a_cycle__match_no_players_and_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    segments = compiled(
        a=any_of(ALL_PLAYERS, among("c")),
        b=any_of(ALL_PLAYERS, among("a")),
        c=any_of(ALL_PLAYERS, among("b")),
        leads_to_cycle=any_of(ALL_PLAYERS, among("a")),
        only_cycle=any_of(among("a")),
        itself=any_of(ALL_PLAYERS, among("itself")),
    )
    assert members(segments) == ["leads_to_cycle"]
    assert members(segments, a=False) == ["a", "leads_to_cycle", "only_cycle"]
    assert logged_errors(caplog) == [
        "segments form a cycle and match no players: a → c → b → a",
        "segments form a cycle and match no players: itself → itself",
    ]


def test_missing_segment__has_no_members(caplog: pytest.LogCaptureFixture) -> None:
    segments = compiled(
        a=any_of(among("no")), b=any_of(among("no", operator="not_in")), c=any_of(ALL_PLAYERS)
    )
    assert members(segments) == ["b", "c"]
    assert logged_errors(caplog) == []


def test_event_counts__include_those_of_other_segments_but_not_of_invalid_ones() -> None:
    bought = {"event": "buy", "operator": ">=", "value": 1, "within": "7d"}
    segments = compiled(
        buyers=any_of(bought),
        indirect=any_of(among("buyers")),
        cycle=any_of(bought, among("cycle")),
        other=any_of(ALL_PLAYERS, among("cycle")),
    )
    wanted = {
        key: sorted(each.event for each in segment.event_counts)
        for key, segment in segments.items()
    }
    assert wanted == {"buyers": ["buy"], "indirect": ["buy"], "cycle": [], "other": []}


def test_invalid_segments__do_not_break_the_api_or_counts(
    environment: Environment, public_api: Api
) -> None:
    for key in ("broken", "cycle"):
        segment_create(
            environment=environment, key=key, name="", rule=any_of(ALL_PLAYERS), actor=ACTOR
        )
    stored = Segment.objects.filter(environment=environment)
    stored.filter(key="broken").update(rule=INVALID)
    stored.filter(key="cycle").update(rule=any_of(ALL_PLAYERS, among("cycle")))
    player = make_player(environment, attributes={"level": 45})
    found = public_api.get(f"/v1/segments/player/{player.id}").data["segments"]
    assert [segment["id"] for segment in found] == ["beta-testers"]
    ids_add(stored.get(key="broken"), [player.external_id], excluded=False, actor=ACTOR)
    reply = public_api.post(f"{SEGMENTS}/broken/evaluate", {"player_id": str(player.id)})
    assert reply.data["is_member"] is True
    now = timezone.now()
    sizes = {each.key: count(rule_query(environment, each.spec, now, each)) for each in stored}
    assert sizes == {"beta-testers": 1, "broken": 1, "cycle": 0}

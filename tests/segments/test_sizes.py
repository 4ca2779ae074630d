"""Segment sizes: counts, estimates, pages of members, the count job."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from ilara_admin.models import AuditEntry, Environment
from players.models import Player
from segments import sizes, tasks
from segments.language.parser import parse
from segments.lists.services import ids_add
from segments.models import Segment
from segments.services import segment_create, segment_update
from segments.sizes import Estimate, RuleQuery, count, estimate, members, rule_query, total
from segments.tasks import count_sizes, size_count, size_want
from tests.factories import ACTOR, make_environment, make_player

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC)
# The first is evaluated in SQL, the second in Python.
RULES: list[dict[str, Any]] = [
    {"field": "level", "operator": ">=", "value": 3},
    {"field": "name", "operator": "matches", "value": "^b"},
]


def rule(condition: dict[str, Any]) -> dict[str, Any]:
    return {"operator": "AND", "conditions": [condition]}


def query_of(environment: Environment, condition: dict[str, Any], segment: Any = None) -> RuleQuery:
    return rule_query(environment, parse(rule(condition)), NOW, segment)


def fill(environment: Environment, matching: int, others: int) -> list[Player]:
    """Players of whom `matching` match each of RULES."""
    return [
        make_player(
            environment,
            f"p-{number}",
            attributes={"level": 3, "name": "bob"} if number < matching else {"level": 2},
        )
        for number in range(matching + others)
    ]


@pytest.fixture
def elsewhere(environment: Environment) -> Environment:
    """Another environment, whose players must not count."""
    other = make_environment()
    fill(other, 3, 0)
    return other


@pytest.mark.parametrize("condition", RULES)
@pytest.mark.usefixtures("elsewhere")
def test_count_and_estimate__are_exact_if_all_players_fit_in_the_sample(
    environment: Environment, condition: dict[str, Any]
) -> None:
    players = fill(environment, 4, 6)
    query = query_of(environment, condition)
    assert (count(query), total(environment.pk)) == (4, 10)
    found = estimate(query)
    assert (found.matched, found.sampled, found.exact, found.margin) == (4, 10, True, 0)
    assert {each.id for each in found.examples} == {player.id for player in players[:4]}
    assert {player.id for player in members(query).players} == {p.id for p in players[:4]}


@pytest.mark.parametrize("start", ["0" * 32, "f" * 32, "8" * 32])
@pytest.mark.parametrize("condition", RULES)
def test_sample__wraps_around_at_the_highest_id(
    environment: Environment, condition: dict[str, Any], start: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fill(environment, 9, 0)
    for name in ("SAMPLE_SIZE", "SMALL_SAMPLE_SIZE"):
        monkeypatch.setattr(sizes, name, 8)
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(start))
    found = estimate(query_of(environment, condition))
    assert (found.sampled, found.matched, found.exact) == (8, 8, False)
    assert len({each.id for each in found.examples}) == 8


def test_margin_of_a_sample__is_never_zero() -> None:
    assert Estimate(0, 0, True, []).share == 0
    assert Estimate(1_000, 0, False, []).margin == pytest.approx(0.3)
    assert Estimate(10_000, 1_230, False, []).margin == pytest.approx(0.644, abs=0.001)
    assert Estimate(1_000, 500, True, []).margin == 0


@pytest.mark.parametrize("condition", RULES)
def test_member_pages__list_each_member_once_ordered_by_id(
    environment: Environment, condition: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "PAGE_SIZE", 4)
    monkeypatch.setattr(sizes, "CHUNK_SIZE", 6)
    players = fill(environment, 10, 9)
    query, found, after = query_of(environment, condition), [], sizes.LOWEST_ID
    while True:
        page = members(query, after)
        assert len(page.players) <= 4
        found += [player.id for player in page.players]
        if page.after is None:
            break
        after = page.after
    assert found == sorted(player.id for player in players[:10])


def test_search_for_sparse_members__ends_a_page_early(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "CHUNK_SIZE", 2)
    monkeypatch.setattr(sizes, "SEARCH_SECONDS", 0.0)
    fill(environment, 0, 9)
    page = members(query_of(environment, RULES[0]))
    assert (page.players, page.after is None) == ([], False)


def test_lists__count_with_a_rule_and_without_a_valid_one(
    environment: Environment,
) -> None:
    fill(environment, 2, 3)
    segment = make(environment)
    ids_add(segment, ["p-4", "p-0"], excluded=False, actor=ACTOR)
    ids_add(segment, ["p-0"], excluded=True, actor=ACTOR)
    assert count(query_of(environment, RULES[0], segment)) == 2
    without_rule = rule_query(environment, None, NOW, segment)
    assert count(without_rule) == estimate(without_rule).matched == 1
    assert [player.external_id for player in members(without_rule).players] == ["p-4"]
    assert count(rule_query(environment, None, NOW)) == 0


# --- The job ------------------------------------------------------------------------------------


def make(environment: Environment, key: str = "made") -> Segment:
    return segment_create(
        environment=environment, key=key, name="", rule=rule(RULES[0]), actor=ACTOR
    )


def stored(segment: Segment) -> Segment:
    return Segment.objects.get(pk=segment.pk)


def change(segment: Segment, **details: Any) -> None:
    details = {"name": segment.name, "rule": segment.rule, "description": "", **details}
    segment_update(segment, actor=ACTOR, **details)


def jobs(segment: Segment) -> list[dict[str, Any]]:
    found = ProcrastinateJob.objects.filter(task_name=size_count.name).order_by("id")
    return [job.args for job in found if job.args["segment_id"] == segment.pk]


def test_new_segment_or_changed_rule__is_counted_but_a_new_name_is_not(
    environment: Environment,
) -> None:
    fill(environment, 2, 3)
    segment = make(environment)
    assert stored(segment).size_wanted_at
    assert jobs(segment) == [{"segment_id": segment.pk, "wanted": True}]
    size_count(**jobs(segment)[0])
    counted = stored(segment)
    assert (counted.size, counted.sized_among, counted.size_wanted_at) == (2, 5, None)
    assert counted.sized_at
    assert counted.size_share == 40

    change(segment, name="Other")
    assert (stored(segment).size, len(jobs(segment))) == (2, 1)
    change(segment, rule=rule({**RULES[0], "value": 2}))
    changed = stored(segment)
    assert (changed.size, changed.sized_at, len(jobs(segment))) == (None, None, 2)
    size_count(**jobs(segment)[1])
    assert stored(segment).size == 5


def test_rolled_back_segment__is_not_counted(environment: Environment) -> None:
    with transaction.atomic():
        segment = make(environment)
        assert jobs(segment)
        transaction.set_rollback(True)
    assert jobs(segment) == []


def test_count_of_a_rule_replaced_in_the_meantime__is_discarded(environment: Environment) -> None:
    fill(environment, 2, 3)
    segment = make(environment)

    def replaced(query: RuleQuery) -> int:
        change(segment, rule=rule({**RULES[0], "value": 2}))
        return count(query)

    with patch.object(tasks, "count", replaced):
        size_count(segment.pk, wanted=True)
    discarded = stored(segment)
    assert (discarded.size, discarded.sized_at) == (None, None)
    assert discarded.size_wanted_at
    size_count(**jobs(segment)[-1])
    assert stored(segment).size == 5


def test_count_requested_while_another_runs__stays_requested(environment: Environment) -> None:
    segment = make(environment)

    def request_again(query: RuleQuery) -> int:
        later = datetime.now(UTC) + timedelta(seconds=1)
        Segment.objects.filter(pk=segment.pk).update(size_wanted_at=later)
        return count(query)

    with patch.object(tasks, "count", request_again):
        size_count(segment.pk, wanted=True)
    assert stored(segment).sized_at
    assert stored(segment).size_wanted_at


def test_count_that_is_no_longer_requested__is_skipped(environment: Environment) -> None:
    segment = make(environment)
    with patch.object(tasks, "count", wraps=count) as counted:
        size_count(segment.pk, wanted=True)
        size_count(segment.pk, wanted=True)
        assert counted.call_count == 1
        size_count(segment.pk, wanted=False)
        assert counted.call_count == 2
    segment.delete()
    size_count(segment.pk, wanted=False)


def test_count__does_not_change_config_version_and_is_not_audited(environment: Environment) -> None:
    segment = make(environment)
    environment.refresh_from_db()
    before, entries = environment.config_version, AuditEntry.objects.count()
    updated_at = segment.updated_at
    size_want(segment)
    size_count(segment.pk, wanted=True)
    environment.refresh_from_db()
    segment.refresh_from_db()
    assert (environment.config_version, AuditEntry.objects.count()) == (before, entries)
    assert segment.updated_at == updated_at


@pytest.mark.django_db(transaction=True)  # a rejected job aborts the transaction
def test_hourly_count__queues_one_job_per_segment(
    environment: Environment,
) -> None:
    one, other = make(environment, "one"), make(environment, "other")
    Segment.objects.filter(pk=other.pk).update(rule={"operator": "XOR"})
    count_sizes(0)
    count_sizes(0)  # the first jobs are still queued
    for segment in (one, other):
        assert [job["wanted"] for job in jobs(segment)] == [True, False]
        size_count(**jobs(segment)[1])
        segment.refresh_from_db()
        assert (segment.size, segment.size_wanted_at) == (0, None)

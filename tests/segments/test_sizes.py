"""Segment sizes: counts, estimates, pages of members, the count job."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection, transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from ilara_admin.models import AuditEntry, Environment
from players.models import Player
from segments import sizes, tasks
from segments.language.parser import parse
from segments.lists.services import ids_add, ids_remove
from segments.models import Segment
from segments.recounts import OLD_ON_ITS_PAGE, size_want, sizes_look
from segments.services import segment_create, segment_update
from segments.sizes import (
    Estimate,
    RuleQuery,
    count,
    estimate,
    members,
    rule_query,
    total,
    total_lately,
)
from segments.tasks import count_sizes, size_count
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


@pytest.mark.parametrize(("counted", "sampled"), [(0, 8), (8, 8), (9, 4)])
def test_sample__is_small_where_the_segment_was_counted_among_more(
    environment: Environment, counted: int, sampled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(environment, 9, 0)
    monkeypatch.setattr(sizes, "SAMPLE_SIZE", 8)
    monkeypatch.setattr(sizes, "SMALL_SAMPLE_SIZE", 4)
    query = query_of(environment, RULES[0])
    assert estimate(query, counted=counted).sampled == sampled


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
    """The arguments of the segment's jobs that are queued."""
    found = ProcrastinateJob.objects.filter(task_name=size_count.name, status="todo").order_by("id")
    return [job.args for job in found if job.args["segment_id"] == segment.pk]


def start_job(segment: Segment) -> dict[str, Any]:
    """What a worker does before it runs the segment's job; returns the arguments."""
    (args,) = jobs(segment)
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE procrastinate_jobs SET status = 'doing'
               WHERE args = %s::jsonb AND status = 'todo'""",
            [json.dumps(args)],
        )
    return args


def run_job(segment: Segment) -> None:
    size_count(**start_job(segment))


def test_number_of_players__is_that_of_the_newest_count_so_that_a_page_counts_none(
    environment: Environment,
) -> None:
    fill(environment, 2, 3)
    assert total_lately(environment.pk) == 5  # counted, as no segment was
    for number in (1, 2):
        run_job(make(environment, key=f"s{number}"))
        make_player(environment, f"later-{number}")
    assert total_lately(environment.pk) == 6
    assert total(environment.pk) == 7


def test_new_segment_or_changed_rule__is_counted_but_a_new_name_is_not(
    environment: Environment,
) -> None:
    fill(environment, 2, 3)
    segment = make(environment)
    assert stored(segment).size_wanted_at
    assert jobs(segment) == [{"segment_id": segment.pk}]
    run_job(segment)
    counted = stored(segment)
    assert (counted.size, counted.sized_among, counted.size_wanted_at) == (2, 5, None)
    assert counted.sized_at
    assert counted.size_share == 40

    change(segment, name="Other")
    assert (stored(segment).size, jobs(segment)) == (2, [])
    change(segment, rule=rule({**RULES[0], "value": 2}))
    changed = stored(segment)
    assert (changed.size, changed.sized_at, len(jobs(segment))) == (None, None, 1)
    run_job(segment)
    assert stored(segment).size == 5


def test_rolled_back_segment__is_not_counted(environment: Environment) -> None:
    with transaction.atomic():
        segment = make(environment)
        assert jobs(segment)
        transaction.set_rollback(True)
    assert jobs(segment) == []


def test_requests__queue_one_job(environment: Environment) -> None:
    segment = make(environment)
    size_want(segment)
    change(segment, rule=rule({**RULES[0], "value": 2}))
    ids_add(segment, ["p-1"], excluded=False, actor=ACTOR)
    count_sizes(0)
    (job,) = ProcrastinateJob.objects.filter(args__segment_id=segment.pk)
    # The first waits for nothing, so the pause after a change of a list does not delay it.
    assert (job.args["members_changed"], job.scheduled_at) == (True, None)


def test_rule_changed_during_the_count__is_counted_once_more(environment: Environment) -> None:
    fill(environment, 2, 3)
    segment = make(environment)

    def replaced(query: RuleQuery) -> int:
        change(segment, rule=rule({**RULES[0], "value": 2}))
        return count(query)

    with patch.object(tasks, "count", replaced):
        run_job(segment)
    discarded = stored(segment)
    assert (discarded.size, discarded.sized_at) == (None, None)
    assert discarded.size_wanted_at
    run_job(segment)
    assert (stored(segment).size, jobs(segment)) == (5, [])


def test_count_requested_while_another_runs__stays_requested(environment: Environment) -> None:
    segment = make(environment)

    def request_again(query: RuleQuery) -> int:
        later = datetime.now(UTC) + timedelta(seconds=1)
        Segment.objects.filter(pk=segment.pk).update(size_wanted_at=later)
        return count(query)

    with patch.object(tasks, "count", request_again):
        size_count(segment.pk)
    assert stored(segment).sized_at
    assert stored(segment).size_wanted_at


def test_count_that_is_no_longer_requested__is_skipped(environment: Environment) -> None:
    segment = make(environment)
    with patch.object(tasks, "count", wraps=count) as counted:
        size_count(segment.pk)
        size_count(segment.pk)
        assert counted.call_count == 1
    segment.delete()
    size_count(segment.pk)


def test_count__does_not_change_config_version_and_is_not_audited(environment: Environment) -> None:
    segment = make(environment)
    environment.refresh_from_db()
    before, entries = environment.config_version, AuditEntry.objects.count()
    updated_at = segment.updated_at
    size_want(segment)
    size_count(segment.pk)
    environment.refresh_from_db()
    segment.refresh_from_db()
    assert (environment.config_version, AuditEntry.objects.count()) == (before, entries)
    assert segment.updated_at == updated_at


# --- When segments are counted again --------------------------------------------------------------


def referring(environment: Environment, key: str, to: str) -> Segment:
    condition = {"field": "segment", "operator": "in", "value": [to]}
    return segment_create(
        environment=environment, key=key, name="", rule=rule(condition), actor=ACTOR
    )


def test_segments_that_refer_to_a_changed_one__are_counted_too(environment: Environment) -> None:
    fill(environment, 2, 3)
    base, other = make(environment, "base"), make(environment, "other")
    near = referring(environment, "near", "base")
    far = referring(environment, "far", "near")
    all_of_them = (base, near, far, other)
    for segment in all_of_them:
        run_job(segment)
    assert stored(far).size == 2

    change(base, rule=rule({**RULES[0], "value": 2}))
    run_job(base)
    assert [len(jobs(segment)) for segment in all_of_them] == [0, 1, 1, 0]
    run_job(near)
    run_job(far)
    assert [stored(segment).size for segment in all_of_them] == [5, 5, 5, 2]
    assert not any(jobs(segment) for segment in all_of_them)

    ids_add(near, ["p-0"], excluded=True, actor=ACTOR)
    (job,) = ProcrastinateJob.objects.filter(args__segment_id=near.pk, status="todo")
    assert job.scheduled_at, "a list that changes id by id is not counted for each of them"
    run_job(near)
    assert [len(jobs(segment)) for segment in all_of_them] == [0, 0, 1, 0]
    run_job(far)
    assert [stored(segment).size for segment in all_of_them] == [5, 4, 4, 2]


def test_list_change_without_effect__is_not_counted(environment: Environment) -> None:
    segment = make(environment)
    run_job(segment)
    ids_remove(segment, ["p-1"], excluded=False, actor=ACTOR)
    assert jobs(segment) == []


def test_old_size_that_is_looked_at__is_counted_again(environment: Environment) -> None:
    segment = make(environment)
    run_job(segment)
    assert not sizes_look([stored(segment)], OLD_ON_ITS_PAGE)
    assert jobs(segment) == []
    aged(segment, OLD_ON_ITS_PAGE)
    assert sizes_look([stored(segment)], OLD_ON_ITS_PAGE)
    assert jobs(segment) == [{"segment_id": segment.pk}]
    wanted_at = stored(segment).size_wanted_at
    sizes_look([stored(segment)], OLD_ON_ITS_PAGE)
    assert stored(segment).size_wanted_at == wanted_at


def aged(segment: Segment, age: timedelta) -> None:
    moment = datetime.now(UTC) - age - timedelta(seconds=1)
    Segment.objects.filter(pk=segment.pk).update(sized_at=moment)


def test_sizes_of_yesterday__are_counted_a_share_an_hour(environment: Environment) -> None:
    Segment.objects.all().delete()
    segments = [make(environment, f"s-{number}") for number in range(30)]
    for segment in segments:
        run_job(segment)
    count_sizes(0)
    assert not any(jobs(segment) for segment in segments)
    for number, segment in enumerate(segments):
        aged(segment, timedelta(days=2, hours=-number))
    Segment.objects.filter(pk=segments[0].pk).update(rule={"operator": "XOR"})
    count_sizes(0)
    assert [len(jobs(segment)) for segment in segments] == [1, 1, *[0] * 28]
    count_sizes(0)
    assert [len(jobs(segment)) for segment in segments] == [1, 1, 1, 1, *[0] * 26]
    run_job(segments[0])
    assert (stored(segments[0]).size, stored(segments[0]).size_wanted_at) == (0, None)


def test_request_whose_job_was_lost__is_queued_again(environment: Environment) -> None:
    segment = make(environment)
    start_job(segment)
    count_sizes(0)
    assert jobs(segment) == []
    long_ago = datetime.now(UTC) - timedelta(days=1)
    Segment.objects.filter(pk=segment.pk).update(size_wanted_at=long_ago)
    count_sizes(0)
    assert stored(segment).size_wanted_at == long_ago
    run_job(segment)
    assert stored(segment).sized_at

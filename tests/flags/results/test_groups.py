"""Experiments in a group share no players, and the holdout is in none of them."""

from collections import Counter
from typing import Any
from uuid import UUID, uuid5

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from flags.cache import flags_part
from flags.engine.bucketing import GROUP_SEED, bucket
from flags.engine.document import EVERYBODY, Rule, Slice, boolean_document
from flags.engine.evaluation import EvaluationContext, Reason, evaluate
from flags.models import (
    Experiment,
    ExperimentGroup,
    ExperimentState,
    Flag,
    Metric,
    MetricKind,
    MetricRole,
)
from flags.results import groups
from flags.results.experiments import (
    MetricUse,
    experiment_create,
    experiment_decide,
    experiment_delete,
    experiment_leave,
    experiment_start,
    experiment_stop,
    fields_of,
)
from flags.results.group_ranges import gaps, lowest_free, ranges_of
from flags.results.groups import group_assign, group_create, group_delete, group_update
from flags.services import flag_clone, flag_create, flag_restore, flag_update
from ilara_admin.api.environment_cache import at_version
from ilara_admin.core.changes import Conflict, undo
from ilara_admin.models import AuditEntry, Environment
from segments.language.compiler import Subject
from tests.factories import ACTOR, make_metric

IDS = [str(uuid5(UUID(int=0), str(number))) for number in range(20_000)]
HALVES = (Slice("enabled", 0, 50_000), Slice("disabled", 50_000, EVERYBODY))


@pytest.fixture
def group(environment: Environment) -> ExperimentGroup:
    """With a holdout of 10 %."""
    return group_create(environment=environment, key="economy", holdout=10_000, actor=ACTOR)


def make_draft(environment: Environment, key: str, **rule: Any) -> Experiment:
    """A draft on the only rule of a flag of its own, by default a split for everyone."""
    document = boolean_document(enabled=True, rules=(Rule(id="r", **(rule or {"split": HALVES})),))
    flag = flag_create(environment=environment, key=f"{key}-flag", document=document, actor=ACTOR)
    if not Metric.objects.filter(environment=environment).exists():
        make_metric(environment, "revenue", MetricKind.REVENUE)
    return experiment_create(
        flag=flag, rule_id="r", key=key, control="disabled",
        metrics=[MetricUse("revenue", MetricRole.PRIMARY)], actor=ACTOR,
    )  # fmt: skip


def started(experiment: Experiment, group: ExperimentGroup, share: int) -> Experiment:
    group_assign(experiment, group, share, actor=ACTOR)
    experiment_start(experiment, actor=ACTOR)
    return Experiment.objects.select_related("flag", "group").get(pk=experiment.pk)


def range_in(experiment: Experiment) -> tuple[int | None, int | None]:
    experiment.refresh_from_db()
    return experiment.first_bucket, experiment.end_bucket


def limit_of(experiment: Experiment) -> tuple[int, int] | None:
    """The range of the rule as it is stored."""
    (rule,) = Flag.objects.get(pk=experiment.flag_id).spec.rules
    return (rule.group.start, rule.group.end) if rule.group else None


# --- Who gets the rules ---------------------------------------------------------------------------


def test_no_player__is_in_two_experiments_or_in_one_and_the_holdout(
    environment: Environment, group: ExperimentGroup
) -> None:
    """Exact, of 20,000 players; another group is independent."""
    other_group = group_create(environment=environment, key="other", actor=ACTOR)
    half = {"variant": "enabled", "rollout": 50_000}
    for key, of, share, rule in (
        ("a", group, 20_000, {}), ("b", group, 30_000, half), ("c", group, 40_000, {}),
        ("d", other_group, 50_000, {}),
    ):  # fmt: skip
        started(make_draft(environment, key, **rule), of, share)
    flags = flags_part.of(at_version(Environment.objects.get(pk=environment.pk))).by_key
    reached: dict[str, set[str]] = {key: set() for key in "abcd"}
    served = Counter[tuple[str, str]]()
    now = group.created_at
    for player_id in IDS:
        context = EvaluationContext(player_id, Subject({}, {}, now), {}, now)
        for key, players in reached.items():
            decision = evaluate(flags[f"{key}-flag"], context)
            if decision.reason is not Reason.DEFAULT:
                players.add(player_id)
                served[key, decision.variant.key] += 1
    holdout = {each for each in IDS if bucket(group.salt, each, GROUP_SEED) < group.holdout}
    own = [holdout, reached["a"], reached["b"], reached["c"]]
    assert sum(map(len, own)) == len(set().union(*own))
    sizes = [len(each) / len(IDS) for each in (*own, reached["d"])]
    assert sizes == pytest.approx([0.1, 0.2, 0.15, 0.4, 0.5], abs=0.012)
    assert len(reached["a"] & reached["d"]) / len(IDS) == pytest.approx(0.1, abs=0.012)
    # The split is independent of the group.
    assert served["a", "enabled"] / len(reached["a"]) == pytest.approx(0.5, abs=0.03)


# --- Ranges ---------------------------------------------------------------------------------------


def test_assignment__takes_the_lowest_range_that_is_wide_enough(
    environment: Environment, group: ExperimentGroup
) -> None:
    first, second, third, fourth = (make_draft(environment, key) for key in "abcd")
    group_assign(first, group, 20_000, actor=ACTOR)
    group_assign(second, group, 30_000, actor=ACTOR)
    assert (range_in(first), range_in(second)) == ((10_000, 30_000), (30_000, 60_000))
    experiment_delete(first, actor=ACTOR)
    group_assign(third, group, 25_000, actor=ACTOR)
    group_assign(fourth, group, 15_000, actor=ACTOR)
    assert (range_in(third), range_in(fourth)) == ((60_000, 85_000), (10_000, 25_000))
    group_assign(fourth, group, 20_000, actor=ACTOR)  # its own range counts as free
    assert range_in(fourth) == (10_000, 30_000)
    with pytest.raises(ValidationError, match=r"economy has 15 % free in one range"):
        group_assign(make_draft(environment, "e"), group, 16_000, actor=ACTOR)
    group_assign(fourth, None, actor=ACTOR)
    assert range_in(fourth) == (None, None)


@given(st.integers(0, 50), st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=8))
def test_free_ranges__are_what_the_others_leave(
    holdout: int, shares: list[tuple[int, bool]]
) -> None:
    holdout *= 1_000
    owned: list[tuple[int, int]] = []
    for share, is_released in shares:
        if found := lowest_free(holdout, owned, share * 1_000):
            owned.append(found)
        if owned and is_released:
            owned.pop(0)
    parts = sorted([(0, holdout), *owned, *gaps(holdout, owned)])
    position = 0
    for start, end in parts:
        assert start == position
        position = end
    assert position == EVERYBODY


def test_start__limits_the_rule_and_shipping_frees_it(
    environment: Environment, group: ExperimentGroup
) -> None:
    experiment = make_draft(environment, "a")
    group_assign(experiment, group, 20_000, actor=ACTOR)
    assert limit_of(experiment) is None
    experiment_start(experiment, actor=ACTOR)
    assert limit_of(experiment) == (10_000, 30_000)
    experiment.refresh_from_db()
    assert experiment.phase == 1
    experiment_decide(experiment, variant="enabled", evidence={}, actor=ACTOR)
    assert limit_of(experiment) is None
    assert not ranges_of(group)
    assert range_in(experiment) == (10_000, 30_000), "stays readable"


def test_range_of_an_experiment_that_stopped__is_used_until_its_rule_is_free(
    environment: Environment, group: ExperimentGroup
) -> None:
    experiment = started(make_draft(environment, "a"), group, 90_000)
    with pytest.raises(ValidationError, match="Stop it first"):
        experiment_leave(experiment, actor=ACTOR)
    experiment_stop(experiment, actor=ACTOR)
    draft = make_draft(environment, "b")
    with pytest.raises(ValidationError, match="0 % free"):
        group_assign(draft, group, 10_000, actor=ACTOR)
    experiment = Experiment.objects.select_related("flag", "group").get(pk=experiment.pk)
    experiment_leave(experiment, actor=ACTOR)
    assert limit_of(experiment) is None
    group_assign(draft, group, 10_000, actor=ACTOR)
    assert range_in(draft) == (10_000, 20_000)
    # Neither the experiment nor its rule comes back while another has the players.
    revision = Flag.objects.get(pk=experiment.flag_id).revision
    with pytest.raises(ValidationError, match="b has these players of economy now"):
        flag_restore(experiment.flag, number=revision - 1, base_revision=revision, actor=ACTOR)
    stopped = AuditEntry.objects.get(action="experiment.stopped")
    with pytest.raises(ValidationError, match="b has these players of economy now"):
        undo(stopped, actor=ACTOR)


def test_rule_with_buckets_that_no_experiment_has__is_not_saved(
    environment: Environment, group: ExperimentGroup
) -> None:
    experiment = started(make_draft(environment, "a"), group, 20_000)
    flag = Flag.objects.get(pk=experiment.flag_id)
    rule = flag.spec.rules[0]
    assert rule.group
    clone = flag_clone(flag, key="clone", actor=ACTOR)
    assert clone.spec.rules[0].group is None
    with pytest.raises(ValidationError, match="No experiment on this rule has these players"):
        flag_update(
            clone, document=clone.spec.with_group("r", rule.group), base_revision=1, actor=ACTOR
        )


def test_rule_of_a_running_experiment__stays_limited(
    environment: Environment, group: ExperimentGroup
) -> None:
    """Also by an older revision or a copy of another environment, which have no group."""
    experiment = started(make_draft(environment, "a"), group, 20_000)
    flag = Flag.objects.get(pk=experiment.flag_id)
    free = flag.spec.without_groups()
    with pytest.raises(ValidationError, match="the experiment a, which runs"):
        flag_update(flag, document=free, base_revision=flag.revision, actor=ACTOR)
    experiment_stop(experiment, actor=ACTOR)
    flag_update(flag, document=free, base_revision=flag.revision, actor=ACTOR)
    assert not ranges_of(group)


# --- Groups ---------------------------------------------------------------------------------------


def test_holdout__may_not_take_players_of_an_experiment(
    environment: Environment, group: ExperimentGroup
) -> None:
    group_assign(make_draft(environment, "a"), group, 20_000, actor=ACTOR)
    with pytest.raises(ValidationError, match=r"a has the players from 10 % on. Use at most 10 %"):
        group_update(group, {"holdout": 10_001}, actor=ACTOR)
    group_update(group, {"holdout": 5_000}, actor=ACTOR)
    other = make_draft(environment, "b")
    group_assign(other, group, 5_000, actor=ACTOR)
    assert range_in(other) == (5_000, 10_000)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"holdout": EVERYBODY}, "from 0 to below 100"),
        ({"holdout": -1}, "from 0 to below 100"),
        ({"name": "x" * 201}, "200 characters"),
    ],
)
def test_wrong_field_of_a_group__is_refused(
    fields: dict[str, Any], text: str, group: ExperimentGroup
) -> None:
    with pytest.raises(ValidationError, match=text):
        group_update(group, fields, actor=ACTOR)


def test_key_of_a_group__is_unique_and_well_formed(group: ExperimentGroup) -> None:
    for key, text in (("economy", "already a group"), ("+a b", "letters")):
        with pytest.raises(ValidationError, match=text):
            group_create(environment=group.environment, key=key, actor=ACTOR)


def test_two_changes_of_a_group__conflict(group: ExperimentGroup) -> None:
    seen = groups.fields_of(group)
    group_update(group, {"holdout": 20_000}, actor=ACTOR, seen=seen)
    with pytest.raises(Conflict):
        group_update(group, {"holdout": 30_000}, actor=ACTOR, seen=seen)
    assert group_update(group, {"holdout": 20_000}, actor=ACTOR)[1] is None


def test_group_with_experiments__is_not_deleted(
    environment: Environment, group: ExperimentGroup
) -> None:
    group_assign(make_draft(environment, "a"), group, 20_000, actor=ACTOR)
    with pytest.raises(ValidationError, match="has the experiments a"):
        group_delete(group, actor=ACTOR)


# --- Undo -----------------------------------------------------------------------------------------


def test_every_change_of_a_group__can_be_undone(environment: Environment) -> None:
    group = group_create(environment=environment, key="economy", holdout=10_000, actor=ACTOR)
    salt, pk = group.salt, group.pk
    _, changed = group_update(group, {"holdout": 20_000, "name": "Economy"}, actor=ACTOR)
    assert changed
    undo(changed, actor=ACTOR)
    group.refresh_from_db()
    assert groups.fields_of(group) == {"name": "economy", "holdout": 10_000}
    deleted = group_delete(group, actor=ACTOR)
    undo(deleted, actor=ACTOR)
    again = ExperimentGroup.objects.get()
    assert (again.pk, again.salt, again.holdout) == (pk, salt, 10_000)
    created = AuditEntry.objects.filter(action="experiment_group.created").latest("pk")
    undo(created, actor=ACTOR)
    assert not ExperimentGroup.objects.exists()


def test_assignment__can_be_undone_and_a_deleted_draft_gets_its_range_back(
    environment: Environment, group: ExperimentGroup
) -> None:
    experiment = make_draft(environment, "a")
    entry = group_assign(experiment, group, 20_000, actor=ACTOR)
    assert entry
    undo(entry, actor=ACTOR)
    assert range_in(experiment) == (None, None)
    group_assign(experiment, group, 20_000, actor=ACTOR)
    deleted = experiment_delete(Experiment.objects.get(), actor=ACTOR)
    other = make_draft(environment, "b")
    group_assign(other, group, 20_000, actor=ACTOR)
    with pytest.raises(ValidationError, match="b has these players of economy now"):
        undo(deleted, actor=ACTOR)
    group_assign(other, None, actor=ACTOR)
    undo(deleted, actor=ACTOR)
    again = Experiment.objects.get(key="a")
    assert fields_of(again)["group"] == {"key": "economy", "start": 10_000, "end": 30_000}
    assert again.state == ExperimentState.DRAFT

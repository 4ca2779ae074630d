"""Services of metrics: create, change, conflict, archive, delete, and what follows from them."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from events.usage import users_of_events
from flags.models import ExperimentState, Flag, Metric, MetricKind
from flags.results.metrics import (
    fields_of,
    metric_create,
    metric_delete,
    metric_set_archived,
    metric_update,
)
from ilara_admin.core.changes import Conflict, undo
from ilara_admin.models import AuditEntry, Environment
from tests.factories import ACTOR, make_environment, make_experiment, make_metric

COUNT = {"kind": "count", "event": "level_complete"}


@pytest.fixture
def environment(db: None) -> Environment:
    return make_environment()


def create(environment: Environment, **fields: Any) -> Metric:
    given = {"key": "levels", "definition": COUNT, "direction": "up", **fields}
    return metric_create(environment=environment, actor=ACTOR, **given)


def with_definition(metric: Metric, **fields: Any) -> dict[str, Any]:
    return {"definition": {**fields_of(metric)["definition"], **fields}}


def test_create__is_audited_and_requests_do_not_see_it(environment: Environment) -> None:
    environment.refresh_from_db()
    version = environment.config_version
    metric = create(environment, unit="levels", reason="Why")
    entry = AuditEntry.objects.latest("pk")
    assert (entry.action, entry.object_id, entry.reason) == ("metric.created", "levels", "Why")
    assert entry.after == fields_of(metric)
    assert metric.name == "levels"
    environment.refresh_from_db()
    assert environment.config_version == version


@pytest.mark.parametrize(
    ("fields", "field", "fix"),
    [
        ({"key": "a b"}, "key", "letters, digits"),
        ({"direction": "left"}, "direction", "Use one of: up, down"),
        ({"definition": {"kind": "count"}}, "event", "Name the event"),
        ({"unit": "x" * 21}, "unit", "at most 20 characters"),
        ({"owner": "a\0"}, "owner", "without NUL"),
        ({"name": " x"}, "name", "The name"),
    ],
)
def test_wrong_field__is_refused(
    environment: Environment, fields: dict[str, Any], field: str, fix: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        create(environment, **fields)
    assert fix in refused.value.message_dict[field][0]


def test_second_metric_with_a_key__is_refused(environment: Environment) -> None:
    create(environment)
    with pytest.raises(ValidationError, match="already a metric “levels”"):
        create(environment)


def test_changes_of_two_people__conflict_only_in_the_same_field(environment: Environment) -> None:
    metric = create(environment)
    seen = fields_of(metric)
    metric, _ = metric_update(metric, with_definition(metric, window_days=7), actor=ACTOR)
    metric, entry = metric_update(metric, {**seen, "owner": "Ada"}, seen=seen, actor=ACTOR)
    assert entry
    assert entry.after == {"owner": "Ada"}
    assert (metric.window_days, metric.owner, metric.revision) == (7, "Ada", 3)
    with pytest.raises(Conflict) as conflict:
        metric_update(metric, with_definition(metric, percentile=95), seen=seen, actor=ACTOR)
    (theirs,) = conflict.value.theirs
    assert theirs.label == "Measures"
    assert theirs.after.endswith("within 7 days of exposure")


def test_update_without_a_difference__changes_nothing(environment: Environment) -> None:
    metric = create(environment)
    assert metric_update(metric, fields_of(metric), actor=ACTOR)[1] is None


def test_another_definition__rebuilds_running_experiments_only(environment: Environment) -> None:
    metric, flag = (
        create(environment),
        Flag.objects.get(environment=environment, key="new_tutorial"),
    )
    running = make_experiment(flag, "running", metric)
    stopped = make_experiment(flag, "stopped", metric, state=ExperimentState.STOPPED)
    other = make_experiment(flag, "other", make_metric(environment, "s", MetricKind.SESSIONS),
                            rule_id="x")  # fmt: skip
    metric_update(metric, {"owner": "Ada"}, actor=ACTOR)
    running.refresh_from_db()
    assert not running.rebuild
    metric_update(metric, with_definition(metric, percentile=99), actor=ACTOR)
    for experiment in (running, stopped, other):
        experiment.refresh_from_db()
    assert (running.rebuild, stopped.rebuild, other.rebuild) == (True, False, False)


def test_used_metric__cannot_be_deleted(environment: Environment) -> None:
    metric = create(environment)
    created = AuditEntry.objects.latest("pk")
    make_experiment(Flag.objects.get(environment=environment, key="new_tutorial"), "e-1", metric)
    refusal = "used by the experiments e-1"
    with pytest.raises(ValidationError, match=refusal):
        metric_delete(metric, actor=ACTOR)
    with pytest.raises(ValidationError, match=refusal):
        undo(created, actor=ACTOR)


def test_archived_metric__stays_with_its_experiments(environment: Environment) -> None:
    metric = create(environment)
    assert users_of_events(environment, ["level_complete"])["level_complete"][0].key == "levels"
    metric, entry = metric_set_archived(metric, True, actor=ACTOR)
    assert entry
    assert metric.archived_at
    assert metric_set_archived(metric, True, actor=ACTOR)[1] is None
    assert users_of_events(environment, ["level_complete"]) == {"level_complete": []}

"""Writes to experiments: in which state which act is possible, phases, and decisions."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from django.core.exceptions import ValidationError
from django.db import transaction

from flags.engine.bucketing import reweight
from flags.engine.document import (
    FlagDocument,
    Rule,
    Slice,
    ValueType,
    Variant,
    boolean_document,
)
from flags.models import (
    Experiment,
    ExperimentState,
    Flag,
    MetricKind,
    MetricRole,
)
from flags.results.experiments import (
    MetricUse,
    experiment_create,
    experiment_decide,
    experiment_delete,
    experiment_extend,
    experiment_start,
    experiment_stop,
    experiment_update,
    fields_of,
    shipped,
)
from flags.services import (
    flag_create,
    flag_delete,
    flag_set_archived,
    flag_set_enabled,
    flag_update,
)
from ilara_admin.core.audit import Actor, request_id
from ilara_admin.core.change_requests import request_apply, request_approve, request_submit
from ilara_admin.core.changes import Conflict, entries_together, undo, undo_together
from ilara_admin.core.guard import Act, Collected, Confirmation, GuardRequired
from ilara_admin.models import AuditAction, AuditEntry, Environment, Role
from segments.usage import users_of
from tests.factories import ACTOR, make_experiment, make_metric, make_staff

HALVES = (Slice("enabled", 0, 50_000), Slice("disabled", 50_000, 100_000))
SPLIT = Rule(id="split", split=HALVES)
SHARE = Rule(id="share", variant="enabled", rollout=20_000)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
PRIMARY = MetricRole.PRIMARY
EVIDENCE = {"day": "2026-06-01", "metrics": []}


def make_flag(environment: Environment, *rules: Rule, key: str = "shop") -> Flag:
    document = boolean_document(enabled=True, rules=rules or (SPLIT,))
    return flag_create(environment=environment, key=key, document=document, actor=ACTOR)


@pytest.fixture
def flag(environment: Environment) -> Flag:
    return make_flag(environment)


def make_draft(flag: Flag, **fields: Any) -> Experiment:
    make_metric(flag.environment, "revenue", MetricKind.REVENUE)
    make_metric(flag.environment, "sessions", MetricKind.SESSIONS)
    make_metric(flag.environment, "day-7", MetricKind.RETENTION, window_days=7)
    given = {
        "rule_id": flag.document["rules"][0]["id"],
        "control": "disabled",
        "metrics": [MetricUse("revenue", MetricRole.PRIMARY)],
    }
    return experiment_create(flag=flag, actor=ACTOR, **{"key": "bigger", **given, **fields})


def again(experiment: Experiment) -> Experiment:
    return Experiment.objects.select_related("flag__environment__project").get(pk=experiment.pk)


def saved(flag: Flag, change: Callable[[FlagDocument], FlagDocument]) -> None:
    flag = Flag.objects.select_related("environment__project").get(pk=flag.pk)
    flag_update(flag, document=change(flag.spec), base_revision=flag.revision, actor=ACTOR)


def with_rule(**fields: Any) -> Callable[[FlagDocument], FlagDocument]:
    return lambda document: msgspec.structs.replace(
        document, rules=(msgspec.structs.replace(document.rules[0], **fields), *document.rules[1:])
    )


def audited() -> list[str]:
    return list(AuditEntry.objects.order_by("id").values_list("action", flat=True))


def version(environment: Environment) -> int:
    return Environment.objects.get(pk=environment.pk).config_version


# --- Create and change ----------------------------------------------------------------------------


def test_a_draft__has_its_metrics_in_order(flag: Flag) -> None:
    uses = [
        MetricUse("revenue", MetricRole.PRIMARY),
        MetricUse("sessions", MetricRole.GUARD, 0.05),
    ]
    experiment = make_draft(flag, metrics=uses, planned_end=date(2026, 7, 1))
    assert (experiment.state, experiment.phase) == (ExperimentState.DRAFT, 0)
    assert fields_of(again(experiment))["metrics"] == [use._asdict() for use in uses]
    assert audited()[-1] == AuditAction.EXPERIMENT_CREATED


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"key": "not a key"}, "key"),
        ({"metrics": [MetricUse("missing")]}, "metrics"),
        ({"metrics": [MetricUse("revenue")] * 2}, "metrics"),
        ({"metrics": [MetricUse("revenue", PRIMARY), MetricUse("sessions", PRIMARY)]}, "metrics"),
        ({"metrics": [MetricUse("revenue", "guard")]}, "metrics"),
        ({"metrics": [MetricUse("revenue", "guard", -0.1)]}, "metrics"),
        ({"metrics": [MetricUse("revenue", "secondary", 0.1)]}, "metrics"),
        ({"metrics": [MetricUse("day-7", "guard", 0.1)], "kind": "rollout"}, "metrics"),
        ({"planned_players": 0}, "planned_players"),
        ({"population": {"field": "level"}}, "population"),
    ],
)  # fmt: skip
def test_a_draft__names_the_field_that_is_wrong(
    flag: Flag, fields: dict[str, Any], place: str
) -> None:
    with pytest.raises(ValidationError) as error:
        make_draft(flag, **fields)
    assert set(error.value.message_dict) == {place}


def test_a_key__is_unique(flag: Flag) -> None:
    make_draft(flag)
    with pytest.raises(ValidationError, match="already an experiment"):
        experiment_create(flag=flag, rule_id="split", key="bigger", actor=ACTOR)


def test_an_update__conflicts_with_a_newer_one(flag: Flag) -> None:
    experiment = make_draft(flag)
    seen = fields_of(experiment)
    experiment_update(experiment, {"name": "Theirs"}, seen=seen, actor=ACTOR)
    experiment_update(experiment, {"owner": "Ada"}, seen=seen, actor=ACTOR)
    with pytest.raises(Conflict):
        experiment_update(experiment, {"name": "Mine"}, seen=seen, actor=ACTOR)
    assert (again(experiment).name, again(experiment).owner) == ("Theirs", "Ada")


CHANGES: dict[str, dict[str, Any]] = {
    "name": {"name": "New"},
    "plan": {"planned_players": 5_000, "planned_end": "2026-08-01"},
    "secondary": {
        "metrics": [
            MetricUse("revenue", "primary")._asdict(),
            MetricUse("sessions")._asdict(),
        ]
    },
    "primary": {"metrics": [MetricUse("sessions", "primary")._asdict()]},
    "control": {"control": "enabled"},
    "population": {"population": None},
}
IN_STATE = {
    ExperimentState.DRAFT: set(CHANGES),
    ExperimentState.RUNNING: {"name", "plan", "secondary"},
    ExperimentState.STOPPED: {"name"},
    ExperimentState.DECIDED: {"name"},
}
LEVEL = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 1}]}


def brought_to(state: ExperimentState, experiment: Experiment) -> Experiment:
    if state != ExperimentState.DRAFT:
        experiment_start(experiment, actor=ACTOR)
    if state == ExperimentState.STOPPED:
        experiment_stop(experiment, actor=ACTOR)
    if state == ExperimentState.DECIDED:
        experiment_decide(experiment, evidence=EVIDENCE, actor=ACTOR)
    return again(experiment)


@pytest.mark.parametrize("state", ExperimentState)
def test_what_can_change__depends_on_the_state(flag: Flag, state: ExperimentState) -> None:
    experiment = brought_to(state, make_draft(flag, population=LEVEL))
    changed = set()
    for name, fields in CHANGES.items():
        try:
            if experiment_update(experiment, fields, actor=ACTOR):
                changed.add(name)
        except ValidationError:
            pass
    assert changed == IN_STATE[state]


def test_other_metrics_while_it_runs__rebuild_the_results(flag: Flag) -> None:
    experiment = brought_to(ExperimentState.RUNNING, make_draft(flag))
    experiment_update(experiment, {"owner": "Ada"}, actor=ACTOR)
    assert not again(experiment).rebuild
    experiment_update(experiment, CHANGES["secondary"], actor=ACTOR)
    assert again(experiment).rebuild


# --- States ---------------------------------------------------------------------------------------

ACTS: dict[str, Callable[[Experiment], object]] = {
    "start": lambda experiment: experiment_start(experiment, actor=ACTOR),
    "stop": lambda experiment: experiment_stop(experiment, actor=ACTOR),
    "extend": lambda experiment: experiment_extend(
        experiment, planned_players=9_000, planned_end=None, actor=ACTOR
    ),
    "ship": lambda experiment: experiment_decide(
        experiment, variant="enabled", evidence=EVIDENCE, actor=ACTOR
    ),
    "decide to stop": lambda experiment: experiment_decide(
        experiment, evidence=EVIDENCE, actor=ACTOR
    ),
    "delete": lambda experiment: experiment_delete(experiment, actor=ACTOR),
}
POSSIBLE = {
    ExperimentState.DRAFT: {"start", "extend", "delete"},
    ExperimentState.RUNNING: {"stop", "extend", "ship", "decide to stop"},
    ExperimentState.STOPPED: {"ship", "decide to stop"},
    ExperimentState.DECIDED: set(),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("state", ExperimentState)
def test_an_act__is_possible_in_some_states(flag: Flag, state: ExperimentState, act: str) -> None:
    experiment = brought_to(state, make_draft(flag))
    if act in POSSIBLE[state]:
        assert ACTS[act](experiment)
    else:
        before, entries = again(experiment), audited()
        with pytest.raises(ValidationError):
            ACTS[act](experiment)
        assert (again(experiment).state, audited()) == (before.state, entries)


def test_starting__begins_the_first_phase(flag: Flag) -> None:
    experiment, before = make_draft(flag), version(flag.environment)
    experiment_start(experiment, actor=ACTOR, at=NOW)
    found = again(experiment)
    assert (found.state, found.phase, found.phase_at) == ("running", 1, NOW)
    assert (found.started_at, version(flag.environment)) == (NOW, before + 1)


UNMEASURABLE: dict[str, tuple[Rule, str]] = {
    "a variant to everyone": (Rule(id="r", variant="enabled"), "rule_id"),
    "a percentage of 0": (Rule(id="r", variant="enabled", rollout=0), "rule_id"),
    "a split of one": (Rule(id="r", split=(Slice("enabled", 0, 100_000),)), "rule_id"),
    "the control itself": (Rule(id="r", variant="disabled", rollout=20_000), "control"),
}


@pytest.mark.parametrize("name", UNMEASURABLE)
def test_a_rule_without_comparison__cannot_start(environment: Environment, name: str) -> None:
    rule, place = UNMEASURABLE[name]
    experiment = make_draft(make_flag(environment, rule))
    with pytest.raises(ValidationError) as error:
        experiment_start(experiment, actor=ACTOR)
    assert set(error.value.message_dict) == {place}


@pytest.mark.parametrize(
    ("prepare", "place"),
    [
        (lambda flag, experiment: flag_set_enabled(flag, False, actor=ACTOR), "flag"),
        (lambda flag, experiment: flag_set_archived(flag, True, actor=ACTOR), "flag"),
        (lambda flag, experiment: experiment_update(experiment, {"metrics": []}, actor=ACTOR),
         "metrics"),
        (lambda flag, experiment: experiment_update(experiment, {"rule_id": "x"}, actor=ACTOR),
         "rule_id"),
        (lambda flag, experiment: experiment_update(experiment, {"control": "x"}, actor=ACTOR),
         "control"),
        (lambda flag, experiment: make_experiment(flag, "other"), "rule_id"),
    ],
)  # fmt: skip
def test_starting__names_what_is_missing(
    flag: Flag, prepare: Callable[[Flag, Experiment], object], place: str
) -> None:
    experiment = make_draft(flag)
    prepare(flag, experiment)
    with pytest.raises(ValidationError) as error:
        experiment_start(experiment, actor=ACTOR)
    assert set(error.value.message_dict) == {place}


def test_a_measured_flag__cannot_be_deleted(flag: Flag) -> None:
    make_draft(flag)
    with pytest.raises(ValidationError, match="measured by bigger"):
        flag_delete(flag, actor=ACTOR)


def test_a_segment_of_a_population__cannot_be_deleted(flag: Flag) -> None:
    condition = {"field": "segment", "operator": "in", "value": ["beta-testers"]}
    make_draft(flag, population={"operator": "AND", "conditions": [condition]})
    assert ("experiment", "bigger") in users_of(flag.environment, "beta-testers")


# --- Phases ---------------------------------------------------------------------------------------

OTHER_WEIGHTS = reweight(HALVES, {"enabled": 30_000, "disabled": 70_000})
SAVES: dict[str, tuple[Callable[[FlagDocument], FlagDocument], int]] = {
    "split": (with_rule(split=OTHER_WEIGHTS), 2),
    "percentage": (with_rule(rollout=80_000), 2),
    "audience": (with_rule(conditions=LEVEL), 2),
    "start": (with_rule(start=NOW), 2),
    "one variant": (with_rule(split=None, variant="enabled", rollout=50_000), 2),
    "name": (with_rule(name="Renamed"), 1),
    "another rule": (
        lambda document: msgspec.structs.replace(document, rules=(*document.rules, SHARE)), 1,
    ),
    "nothing": (lambda document: document, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", SAVES)
def test_a_changed_rule__begins_a_phase(flag: Flag, name: str) -> None:
    change, phase = SAVES[name]
    experiment = make_experiment(flag, phase_at=NOW, rebuild=True)
    saved(flag, change)
    found = again(experiment)
    assert (found.phase, found.phase_at == NOW, found.rebuild) == (phase, phase == 1, phase == 1)


@pytest.mark.parametrize(("variant", "phase"), [("a", 2), ("c", 1)])
def test_a_changed_value_of_the_rule__begins_a_phase(
    environment: Environment, variant: str, phase: int
) -> None:
    document = FlagDocument(
        value_type=ValueType.NUMBER, variants=tuple(Variant(key, 1) for key in "abc"), default="a",
        off="a", enabled=True,
        rules=(Rule(id="r", split=(Slice("a", 0, 50_000), Slice("b", 50_000, 100_000))),),
    )  # fmt: skip
    flag = flag_create(environment=environment, key="price", document=document, actor=ACTOR)
    experiment = make_experiment(flag)
    variants = tuple(Variant(each.key, 1 + (each.key == variant)) for each in document.variants)
    saved(flag, lambda document: msgspec.structs.replace(document, variants=variants))
    assert again(experiment).phase == phase


def test_a_changed_value_outside_a_percentage__begins_a_phase(environment: Environment) -> None:
    experiment = make_experiment(make_flag(environment, SHARE), control="disabled")
    saved(experiment.flag, lambda each: msgspec.structs.replace(each, default="enabled"))
    assert again(experiment).phase == 2


def test_a_draft__has_no_phases(flag: Flag) -> None:
    experiment = make_draft(flag)
    saved(flag, with_rule(rollout=80_000))
    assert again(experiment).phase == 0


def test_a_removed_rule__stops_the_experiment(flag: Flag) -> None:
    experiment = make_experiment(flag)
    saved(flag, lambda document: msgspec.structs.replace(document, rules=()))
    assert again(experiment).state == ExperimentState.STOPPED
    assert audited()[-2:] == [AuditAction.EXPERIMENT_STOPPED, AuditAction.FLAG_UPDATED]


@pytest.mark.parametrize("act", [flag_set_enabled, flag_set_archived])
def test_a_flag_that_is_off__keeps_its_experiment(flag: Flag, act: Callable[..., object]) -> None:
    experiment = make_experiment(flag)
    act(flag, act is flag_set_archived, actor=ACTOR)
    assert (again(experiment).state, again(experiment).phase) == ("running", 1)


# --- Decide ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "variant", "expected"),
    [
        (SPLIT, "enabled", Rule(id="split", variant="enabled")),
        (SPLIT, "disabled", Rule(id="split", variant="disabled")),
        (SHARE, "enabled", Rule(id="share", variant="enabled")),
        (SHARE, "disabled", Rule(id="share", variant="enabled", rollout=0)),
    ],
)
def test_shipping__serves_the_variant_to_everyone(rule: Rule, variant: str, expected: Rule) -> None:
    document = boolean_document(enabled=True, rules=(rule, Rule(id="last", variant="enabled")))
    found = shipped(document, rule.id, variant)
    assert found.rules == (expected, document.rules[1])


def test_shipping__is_one_revision_and_no_phase(flag: Flag) -> None:
    experiment = make_experiment(flag)
    entries = experiment_decide(
        experiment, variant="enabled", evidence=EVIDENCE, actor=ACTOR, reason="It sells more"
    )
    found = again(experiment)
    assert (found.state, found.phase, found.decision) == ("decided", 1, "ship")
    assert (found.decided_variant, found.decision_reason) == ("enabled", "It sells more")
    assert found.evidence == EVIDENCE
    assert found.flag.spec.rules == (Rule(id="split", variant="enabled"),)
    assert found.flag.revision == flag.revision + 1
    assert [entry.action for entry in entries] == ["experiment.decided", "flag.updated"]


def test_shipping__conflicts_with_a_newer_flag(flag: Flag) -> None:
    experiment = make_experiment(flag)
    saved(flag, with_rule(rollout=80_000))
    with pytest.raises(Conflict):
        experiment_decide(
            experiment, variant="enabled", evidence=EVIDENCE, actor=ACTOR,
            base_revision=flag.revision,
        )  # fmt: skip
    assert again(experiment).state == ExperimentState.RUNNING


@pytest.mark.parametrize("variant", ["blue", ""])
def test_shipping__needs_a_compared_variant_of_a_flag_that_is_on(flag: Flag, variant: str) -> None:
    experiment = make_experiment(flag)
    flag_set_enabled(flag, False, actor=ACTOR)
    with pytest.raises(ValidationError):
        experiment_decide(
            again(experiment), variant=variant or "enabled", evidence=EVIDENCE, actor=ACTOR
        )
    assert again(experiment).state == ExperimentState.RUNNING


def test_undoing_a_decision__undoes_both(flag: Flag) -> None:
    experiment = make_experiment(flag)
    request_id.set("r-1")
    entries = experiment_decide(experiment, variant="enabled", evidence=EVIDENCE, actor=ACTOR)
    request_id.set("")
    undo_together(entries_together(entries[0]), actor=ACTOR)
    found = again(experiment)
    assert (found.state, found.evidence, found.ended_at) == ("running", None, None)
    assert found.flag.spec.rules == (SPLIT,)
    # Players got the shipped variant in between, so what they do from now on is counted anew.
    assert found.phase == 2


def test_undoing_a_stop__goes_on_in_the_phase(flag: Flag) -> None:
    experiment = make_experiment(flag)
    entry = experiment_stop(experiment, actor=ACTOR)
    undo(entry, actor=ACTOR)
    assert (again(experiment).state, again(experiment).phase) == ("running", 1)
    assert again(experiment).rebuild


def test_undoing_a_removed_rule__resumes_the_experiment(flag: Flag) -> None:
    experiment = make_experiment(flag)
    request_id.set("r-2")
    saved(flag, lambda document: msgspec.structs.replace(document, rules=()))
    request_id.set("")
    newest = AuditEntry.objects.order_by("-id")[0]
    undo_together(entries_together(newest), actor=ACTOR)
    assert (again(experiment).state, again(experiment).phase) == ("running", 2)


# --- The guard of environments --------------------------------------------------------------------


@pytest.fixture
def guarded(flag: Flag) -> Flag:
    for act in (Act.RULES, Act.PERCENTAGE):
        flag.environment.guard_approval = [*flag.environment.guard_approval, act]
    flag.environment.save()
    return flag


def collected(act: Callable[[Actor], object], user: Any) -> list[Collected]:
    """What a change would record, as the page of the guard learns it."""
    found: list[Collected] = []
    with transaction.atomic():
        act(Actor.of_user(user, Confirmation(collecting=found)))
        transaction.set_rollback(True)
    return found


@pytest.mark.parametrize("ships", [True, False])
def test_a_guarded_environment__reviews_what_is_shipped(guarded: Flag, ships: bool) -> None:
    """Shipping, and removing the measured rule, wait for a second person."""
    experiment = make_experiment(guarded)
    author = make_staff(Role.LIVE_OPS, "", guarded.environment.project)
    reviewer = make_staff(Role.LIVE_OPS, "", guarded.environment.project)

    def change(actor: Actor) -> object:
        flag = Flag.objects.select_related("environment__project").get(pk=guarded.pk)
        if ships:
            return experiment_decide(
                again(experiment), variant="enabled", evidence=EVIDENCE, actor=actor, reason="Why"
            )
        document = msgspec.structs.replace(flag.spec, rules=())
        return flag_update(flag, document=document, base_revision=flag.revision, actor=actor)

    with pytest.raises(GuardRequired):
        change(Actor.of_user(author))
    assert again(experiment).state == ExperimentState.RUNNING
    items = [each.item for each in collected(change, author)]
    request = request_submit(guarded.environment, items, actor=Actor.of_user(author))
    assert again(experiment).state == ExperimentState.RUNNING
    request_approve(request, actor=Actor.of_user(reviewer), fingerprint=request.fingerprint)
    request_apply(request, actor=Actor.of_user(reviewer), fingerprint=request.fingerprint)
    found = again(experiment)
    if ships:
        assert (found.state, found.evidence, found.decision_reason) == ("decided", EVIDENCE, "Why")
        assert found.flag.spec.rules == (Rule(id="split", variant="enabled"),)
    else:
        assert (found.state, found.flag.spec.rules) == ("stopped", ())


def test_a_decision_to_stop__needs_no_review(guarded: Flag) -> None:
    experiment = make_experiment(guarded)
    user = make_staff(Role.LIVE_OPS, "", guarded.environment.project)
    experiment_decide(experiment, evidence=EVIDENCE, actor=Actor.of_user(user))
    assert again(experiment).state == ExperimentState.DECIDED

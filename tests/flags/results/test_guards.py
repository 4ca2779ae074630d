"""Guards on the real tables: what a breach does, once, and how a rollout ends."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from flags import services
from flags.engine.document import Ramp, Rule, ScheduleStep, Slice, boolean_document
from flags.engine.schedule import rollout_at
from flags.models import (
    Experiment,
    ExperimentDay,
    ExperimentKind,
    ExperimentResult,
    ExperimentState,
    Flag,
    Metric,
    MetricDirection,
    OnBreach,
)
from flags.results.experiments import experiment_stop
from flags.results.guards import guards_check
from flags.results.rollouts import GuardPlan, rollout_guard
from flags.results.statistics import Arm
from ilara_admin.core.changes import undo
from ilara_admin.core.notifications import choices_of
from ilara_admin.models import (
    AuditAction,
    AuditEntry,
    Environment,
    Notification,
    NotificationPlace,
    NotificationRecipient,
    Role,
)
from tests.factories import (
    ACTOR,
    make_environment,
    make_experiment,
    make_freeze,
    make_metric,
    make_staff,
)
from tests.threads import at_once

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
GOOD, BAD = 200, 380  # of 400 players; 200 of the players outside have an event


@pytest.fixture
def flag(environment: Environment) -> Flag:
    """On, with a rule at 10 %."""
    document = boolean_document(enabled=True, rules=(Rule("r", variant="enabled", rollout=10_000),))
    return services.flag_create(
        environment=environment, key="new-shop", document=document, actor=ACTOR
    )


@pytest.fixture
def errors(environment: Environment) -> Metric:
    return make_metric(environment, "errors", event="error", direction=MetricDirection.DOWN)


def raised(flag: Flag, plan: GuardPlan | None, percent: int = 25) -> Experiment:
    """The rollout after a guarded change of the percentage."""
    flag.refresh_from_db()
    document = flag.spec.with_rollout("r", percent * 1000)
    rollout_guard(
        flag, "r", plan, document=document, base_revision=flag.revision, actor=ACTOR, reason="More"
    )
    return Experiment.objects.filter(flag=flag)[0]


def plan_of(on_breach: OnBreach, *metrics: str) -> GuardPlan:
    return GuardPlan(dict.fromkeys(metrics or ("errors",), 0.05), 100, on_breach)


def found(
    rollout: Experiment, metric: Metric, events: int, *, players: int = 400, control: int = 200
) -> None:
    """Store results: of so many players in each arm, how many have an event."""
    sums = {"enabled": events, "disabled": control}
    now = datetime.now(UTC)
    ExperimentResult.objects.update_or_create(
        experiment=rollout, phase=rollout.phase, metric=metric, day=now.date(),
        defaults={
            "computed_at": now,
            "arms": {key: asdict(Arm(players, total, total)) for key, total in sums.items()},
        },
    )  # fmt: skip


def unbalanced(rollout: Experiment) -> None:
    """Store that the sample ratio check fails."""
    now = datetime.now(UTC)
    ExperimentDay.objects.create(
        experiment=rollout, phase=rollout.phase, day=now.date(), computed_at=now, ratio_p=1e-5,
        players={"enabled": 400, "disabled": 300}, left_out={},
    )  # fmt: skip


def check(flag: Flag, at: datetime | None = None) -> int:
    return guards_check(flag.environment, at or datetime.now(UTC))


def state(flag: Flag) -> tuple[bool, int]:
    """Whether it is on, and the percentage of its rule."""
    flag.refresh_from_db()
    return flag.enabled, rollout_at(flag.spec.rules[0], datetime.now(UTC)) // 1000


def entries(*actions: AuditAction) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action__in=actions).order_by("id"))


@pytest.mark.parametrize(
    ("on_breach", "after", "said"),
    [
        (OnBreach.NOTIFY, (True, 25), "Nothing was changed."),
        (OnBreach.HOLD, (True, 25), "The percentage is held at 25 %."),
        (OnBreach.STEP_BACK, (True, 10), "The percentage went back to 10 %."),
        (OnBreach.TURN_OFF, (False, 25), "The flag was turned off."),
    ],
)
@pytest.mark.parametrize("direction", MetricDirection.values)
def test_breach__does_what_the_rollout_says_and_is_recorded(
    flag: Flag, errors: Metric, direction: str, on_breach: OnBreach, after: tuple[bool, int],
    said: str,
) -> None:  # fmt: skip
    """Bad is more of what should be low, or less of what should be high; the other way is good."""
    Metric.objects.filter(pk=errors.pk).update(direction=direction)
    bad, good = (BAD, 50) if direction == MetricDirection.DOWN else (50, BAD)
    rollout = raised(flag, plan_of(on_breach))
    found(rollout, errors, good)
    assert (check(flag), state(flag)) == (0, (True, 25))
    found(rollout, errors, bad)
    assert (check(flag), state(flag)) == (1, after)

    rollout.refresh_from_db()
    goes_on = on_breach == OnBreach.NOTIFY
    assert rollout.state == (ExperimentState.RUNNING if goes_on else ExperimentState.STOPPED)
    assert rollout.breached_at is not None
    assert (rollout.ended_at is None) == goes_on
    (entry,) = entries(AuditAction.EXPERIMENT_BREACHED)
    assert entry.actor_name == "Guard of new-shop-rollout-1"
    fields = entry.after or {}
    change = "rose by 61 % to 131 %" if direction == MetricDirection.DOWN else "fell by"
    assert fields["breach"].startswith(f"errors {change}")
    assert fields["breach"].endswith("(tolerable: 5 %) among 400 and 400 players")
    assert fields["_evidence"][0]["other"]["players"] == 400
    assert fields["_evidence"][0]["lift"]["low"] != 0
    revision = flag.revisions.latest("number")
    is_changed = after != (True, 25)
    assert revision.reason.startswith("Guard metric breached: errors ") == is_changed
    notification = Notification.objects.get(kind="guard_breach")
    assert notification.title == f"new-shop: a guard metric was breached. {said}"
    assert notification.lines == [f"{fields['breach'].capitalize()}."]
    assert notification.path == "flags/new-shop/"
    # Later checks change nothing.
    assert (check(flag), state(flag), Notification.objects.count()) == (0, after, 1)


@pytest.mark.parametrize("on_breach", OnBreach)
def test_breach_while_the_sample_ratio_check_fails__acts_and_says_so(
    flag: Flag, errors: Metric, on_breach: OnBreach
) -> None:
    rollout = raised(flag, plan_of(on_breach))
    found(rollout, errors, BAD)
    unbalanced(rollout)
    assert check(flag) == 1
    doubt = (
        "The sample ratio check failed at that time, so the change may not be the reason: see the "
        "players in the results of new-shop-rollout-1."
    )
    (entry,) = entries(AuditAction.EXPERIMENT_BREACHED)
    fields = entry.after or {}
    assert fields["sample_ratio"] == doubt
    assert entry.reason == f"{fields['breach']}. {doubt}"
    assert Notification.objects.get().lines == [f"{fields['breach'].capitalize()}.", doubt]
    if changed := fields["_entry"]:
        reason = f"Guard metric breached: {entry.reason}"
        assert AuditEntry.objects.get(pk=changed).reason == reason
        assert on_breach == OnBreach.TURN_OFF or flag.revisions.latest("number").reason == reason
    assert bool(changed) == (on_breach in (OnBreach.STEP_BACK, OnBreach.TURN_OFF))


def test_notification__is_on_for_live_ops_and_above(flag: Flag, errors: Metric) -> None:
    people = {role: make_staff(role, "", flag.environment.project) for role in Role}
    found(raised(flag, plan_of(OnBreach.NOTIFY)), errors, BAD)
    check(flag)
    got = NotificationRecipient.objects.filter(user__in=people.values()).values_list("user_id")
    assert {pk for (pk,) in got} == {
        people[role].pk for role in (Role.LIVE_OPS, Role.ADMIN, Role.OWNER)
    }
    choices = choices_of(people[Role.LIVE_OPS], flag.environment.project)
    assert choices["guard_breach", NotificationPlace.PRODUCT]


@pytest.mark.django_db(transaction=True)
def test_two_checks_at_once__respond_once(flag: Flag, errors: Metric) -> None:
    found(raised(flag, plan_of(OnBreach.STEP_BACK)), errors, BAD)
    assert sorted(at_once(lambda _: check(flag), range(3))) == [0, 0, 1]
    assert state(flag) == (True, 10)
    assert len(entries(AuditAction.EXPERIMENT_BREACHED)) == 1
    assert Notification.objects.count() == 1


def test_undo__restores_the_percentage_and_does_not_resume_the_rollout(
    flag: Flag, errors: Metric
) -> None:
    rollout = raised(flag, plan_of(OnBreach.STEP_BACK))
    found(rollout, errors, BAD)
    check(flag)
    (entry,) = entries(AuditAction.EXPERIMENT_BREACHED)
    changed = AuditEntry.objects.get(pk=(entry.after or {})["_entry"])
    assert changed.actor_name == entry.actor_name
    undo(changed, actor=ACTOR)
    assert state(flag) == (True, 25)
    rollout.refresh_from_db()
    assert rollout.state == ExperimentState.STOPPED
    assert check(flag) == 0
    with pytest.raises(ValidationError, match="Undo the change of the flag instead"):
        undo(entry, actor=ACTOR)
    # The next guarded change begins another rollout, which steps back to what the undo restored.
    second = raised(flag, plan_of(OnBreach.STEP_BACK), 50)
    assert (second.key, second.phase) == ("new-shop-rollout-2", 1)
    found(second, errors, BAD)
    assert (check(flag), state(flag)) == (1, (True, 25))


@pytest.mark.parametrize(
    ("parts", "back", "held"),
    [
        ({"ramp": (20, 70)}, 30, 35),
        ({"rollout": 5_000, "steps": (20, 40, 90)}, 20, 40),
    ],
)
@pytest.mark.parametrize("on_breach", [OnBreach.HOLD, OnBreach.STEP_BACK])
def test_breach_during_a_schedule__ends_the_schedule(
    flag: Flag, errors: Metric, on_breach: OnBreach, parts: dict[str, Any], back: int, held: int
) -> None:
    now = datetime.now(UTC)
    if "ramp" in parts:
        low, high = (each * 1000 for each in parts["ramp"])
        parts = {"ramp": Ramp(low, high, now - 3 * HOUR, now + 7 * HOUR)}
    else:
        moments = zip((-2, -1, 9), parts["steps"], strict=True)
        steps = tuple(ScheduleStep(now + hours * HOUR, each * 1000) for hours, each in moments)
        parts = {**parts, "steps": steps}
    rule = Rule("r", variant="enabled", **parts)
    document = boolean_document(enabled=True, rules=(rule,))
    rollout_guard(
        flag, "r", plan_of(on_breach), document=document, base_revision=flag.revision, actor=ACTOR
    )
    found(Experiment.objects.get(), errors, BAD)
    later = now + timedelta(seconds=30)
    assert check(flag, later) == 1
    flag.refresh_from_db()
    (after,) = flag.spec.rules
    assert (after.ramp, after.steps) == (None, ())
    wanted = back if on_breach == OnBreach.STEP_BACK else held
    assert after.rollout // 100 == pytest.approx(wanted * 10, abs=2)


def test_change_of_a_guarded_rule__goes_on_in_a_new_phase(flag: Flag, errors: Metric) -> None:
    first = raised(flag, plan_of(OnBreach.STEP_BACK))
    found(first, errors, BAD)  # too late: the next phase has other players
    second = raised(flag, plan_of(OnBreach.STEP_BACK), 50)
    assert (second.pk, second.phase) == (first.pk, 2)
    assert check(flag) == 0
    found(second, errors, BAD)
    assert (check(flag), state(flag)) == (1, (True, 25))


def test_notify_only__notifies_once_a_phase(flag: Flag, errors: Metric) -> None:
    for percent in (25, 50):
        rollout = raised(flag, plan_of(OnBreach.NOTIFY), percent)
        found(rollout, errors, BAD)
        assert [check(flag), check(flag)] == [1, 0]
    assert Notification.objects.filter(kind="guard_breach").count() == 2
    assert len(entries(AuditAction.EXPERIMENT_BREACHED)) == 2


def test_guard_of_an_experiment__acts_as_well(flag: Flag, errors: Metric) -> None:
    """And a split has several variants that may breach it."""
    split = (Slice("disabled", 0, 50_000), Slice("enabled", 50_000, 100_000))
    document = boolean_document(enabled=True, rules=(Rule("r", split=split),))
    services.flag_update(flag, document=document, base_revision=flag.revision, actor=ACTOR)
    options: Any = {"on_breach": OnBreach.STEP_BACK, "control": "disabled"}
    experiment = make_experiment(flag, "prices", errors, **options)
    experiment.metrics.update(role="guard", tolerance=0.1)
    found(experiment, errors, BAD)
    # Back to the percentage before: there was none for everyone.
    assert (check(flag), state(flag)) == (1, (True, 10))
    experiment.refresh_from_db()
    assert experiment.state == ExperimentState.STOPPED


def test_guard__waits_for_no_approval_and_no_freeze(flag: Flag, errors: Metric) -> None:
    found(raised(flag, plan_of(OnBreach.STEP_BACK)), errors, BAD)
    window = make_freeze(flag.environment)
    window.starts_at = datetime.now(UTC) - HOUR
    window.save()
    Environment.objects.filter(pk=flag.environment_id).update(guard_approval=["percentage"])
    assert (check(flag), state(flag)) == (1, (True, 10))


def test_refused_change__is_tried_again_and_notified_once(
    flag: Flag, errors: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = raised(flag, plan_of(OnBreach.STEP_BACK))
    found(rollout, errors, BAD)

    def refuse(*_: Any) -> None:
        raise ValidationError("The segment “beta” is archived.")

    with monkeypatch.context() as patched:
        patched.setattr(services, "check", refuse)
        assert [check(flag), check(flag), state(flag)] == [1, 0, (True, 25)]
        rollout.refresh_from_db()
        assert rollout.state == ExperimentState.RUNNING
        title = Notification.objects.get(kind="guard_breach").title
        assert "could not be changed: The segment “beta” is archived." in title
    assert (check(flag), state(flag)) == (1, (True, 10))
    assert Notification.objects.count() == 1


def test_unreadable_flag__is_turned_off_or_left(flag: Flag, errors: Metric) -> None:
    found(raised(flag, plan_of(OnBreach.STEP_BACK)), errors, BAD)
    Flag.objects.filter(pk=flag.pk).update(document={"enabled": True, "variants": "?"})
    assert check(flag) == 1
    assert "could not be changed" in Notification.objects.get().title
    Experiment.objects.update(on_breach=OnBreach.TURN_OFF)
    assert check(flag) == 1
    flag.refresh_from_db()
    assert flag.document == {"enabled": False, "variants": "?"}


def test_experiment_without_guards__is_left_alone(flag: Flag, errors: Metric) -> None:
    experiment = make_experiment(flag, "plain", errors, kind=ExperimentKind.EXPERIMENT)
    found(experiment, errors, BAD)
    assert check(flag) == 0
    assert check(Flag.objects.get(environment=make_environment(), key="new-feature")) == 0


def test_stopped_rollout__is_left_alone(flag: Flag, errors: Metric) -> None:
    rollout = raised(flag, plan_of(OnBreach.STEP_BACK))
    found(rollout, errors, BAD)
    experiment_stop(rollout, actor=ACTOR)
    assert (check(flag), state(flag)) == (0, (True, 25))


# --- The good end ---------------------------------------------------------------------------------


def test_rollout_without_a_breach__ends_after_a_day(flag: Flag, errors: Metric) -> None:
    rollout = raised(flag, plan_of(OnBreach.STEP_BACK))
    found(rollout, errors, GOOD)
    now = datetime.now(UTC)
    for hours, ended in ((23, False), (25, True)):
        check(flag, now + hours * HOUR)
        rollout.refresh_from_db()
        assert (rollout.state == ExperimentState.STOPPED) == ended
    (entry,) = entries(AuditAction.EXPERIMENT_STOPPED)
    assert entry.reason == "No guard metric was breached at 25 % for 24 hours."
    assert state(flag) == (True, 25)


def test_rollout_whose_sample_ratio_check_fails__ends_only_as_planned(
    flag: Flag, errors: Metric
) -> None:
    rollout = raised(flag, plan_of(OnBreach.STEP_BACK))
    found(rollout, errors, GOOD)
    unbalanced(rollout)
    now = datetime.now(UTC)
    check(flag, now + 99 * HOUR)
    rollout.refresh_from_db()
    assert rollout.state == ExperimentState.RUNNING
    Experiment.objects.update(planned_end=now.date())
    check(flag, now + 99 * HOUR)
    (entry,) = entries(AuditAction.EXPERIMENT_STOPPED)
    assert entry.reason == "It ended as planned at 25 %, with a failed sample ratio check."


def test_rollout_with_too_few_players__ends_at_its_planned_end(flag: Flag, errors: Metric) -> None:
    rollout = raised(flag, plan_of(OnBreach.STEP_BACK))
    found(rollout, errors, 20, players=40, control=20)
    now = datetime.now(UTC)
    check(flag, now + 99 * HOUR)
    rollout.refresh_from_db()
    assert rollout.state == ExperimentState.RUNNING
    Experiment.objects.update(planned_end=(now + 24 * HOUR).date())
    check(flag, now + 24 * HOUR)
    rollout.refresh_from_db()
    assert rollout.state == ExperimentState.RUNNING
    check(flag, now + 48 * HOUR)
    (entry,) = entries(AuditAction.EXPERIMENT_STOPPED)
    assert entry.reason == "It ended as planned at 25 %, with too few players for a verdict."


def test_rollout_to_everyone__ships(flag: Flag, errors: Metric) -> None:
    rollout = raised(flag, plan_of(OnBreach.STEP_BACK))
    found(rollout, errors, GOOD)
    raised(flag, plan_of(OnBreach.STEP_BACK), 100)
    check(flag)
    rollout.refresh_from_db()
    assert (rollout.state, rollout.decision) == (ExperimentState.DECIDED, "ship")
    assert rollout.decided_variant == "enabled"
    assert rollout.decision_reason.startswith("Complete without a breach")

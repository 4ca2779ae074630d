"""Guards in the dialog of a percentage, in the review of rules, and on the flag's page."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from flags.engine.document import Rule, boolean_document, encode_document
from flags.models import (
    Experiment,
    ExperimentDay,
    ExperimentKind,
    ExperimentResult,
    ExperimentState,
    Flag,
    MetricDirection,
    MetricKind,
    OnBreach,
)
from flags.results.guards import guards_check
from flags.results.statistics import Arm
from flags.services import flag_create, flag_set_enabled
from ilara_admin.core.audit import Actor
from ilara_admin.core.change_requests import request_apply, request_approve
from ilara_admin.models import ChangeRequest, Environment, Role
from tests.factories import ACTOR, make_experiment, make_metric, make_results, make_staff
from tests.pages import message_of

pytestmark = pytest.mark.django_db
CHECKED = re.compile(r'name="guard-(\w+)"[^>]* checked')
GUARDED = {
    "guard-shown": "True",
    "guard-is_guarded": "on",
    "guard-metrics": ["errors"],
    "guard-tolerance": "5",
    "guard-min_players": "100",
    "guard-on_breach": "step_back",
}


@pytest.fixture
def client(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.LIVE_OPS)


@pytest.fixture
def flag(environment: Environment) -> Flag:
    """On, with a rule at 10 %, and two metrics that can guard it and one that cannot."""
    make_metric(environment, "errors", event="error", direction=MetricDirection.DOWN)
    make_metric(environment, "revenue", MetricKind.REVENUE)
    make_metric(environment, "day-1", MetricKind.RETENTION, window_days=1)
    document = boolean_document(enabled=True, rules=(Rule("r", variant="enabled", rollout=10_000),))
    return flag_create(environment=environment, key="new-shop", document=document, actor=ACTOR)


def page(flag: Flag) -> str:
    environment = flag.environment
    return f"/{environment.project.slug}/{environment.slug}/flags/{flag.key}/"


def set_percentage(client: Client, flag: Flag, percent: int, **fields: Any) -> Any:
    return client.post(f"{page(flag)}rules/r/percentage/", {"rollout": percent, **fields})


def breach(flag: Flag) -> None:
    """Errors rise."""
    rollout = Experiment.objects.filter(flag=flag)[0]
    now = datetime.now(UTC)
    arms = {"enabled": Arm(400, 380, 380), "disabled": Arm(410, 200, 200)}
    ExperimentResult.objects.create(
        experiment=rollout, phase=rollout.phase, day=now.date(), computed_at=now,
        metric=rollout.metrics.get(metric__key="errors").metric,
        arms={key: asdict(arm) for key, arm in arms.items()},
    )  # fmt: skip
    guards_check(flag.environment, now)


def test_dialog__offers_the_metrics_without_a_window(client: Client, flag: Flag) -> None:
    shown = client.get(f"{page(flag)}rules/r/percentage/").text
    assert "Guard this rollout" in shown
    assert "errors: lower is better" in shown
    assert "revenue: higher is better" in shown
    assert "day-1" not in shown
    assert CHECKED.findall(shown) == []


def test_guarded_change__starts_a_rollout_and_the_next_one_goes_on(
    client: Client, flag: Flag
) -> None:
    reply = set_percentage(client, flag, 25, **GUARDED)
    assert reply.status_code == 302
    assert message_of(reply).endswith("It is guarded.")
    rollout = Experiment.objects.get()
    assert (rollout.kind, rollout.state) == (ExperimentKind.ROLLOUT, ExperimentState.RUNNING)
    assert (rollout.key, rollout.phase, rollout.control) == ("new-shop-rollout-1", 1, "disabled")
    assert (rollout.min_players, rollout.on_breach) == (100, OnBreach.STEP_BACK)
    uses = rollout.metrics.values_list("metric__key", "role", "tolerance")
    assert list(uses) == [("errors", "guard", 0.05)]

    shown = client.get(f"{page(flag)}rules/r/percentage/").text
    assert CHECKED.findall(shown) == ["is_guarded", "metrics"]
    more = {**GUARDED, "guard-metrics": ["errors", "revenue"], "guard-tolerance": "7.5"}
    set_percentage(client, flag, 50, **more)
    rollout = Experiment.objects.get()
    assert rollout.phase == 2
    assert list(rollout.metrics.values_list("tolerance", flat=True)) == [0.075, 0.075]


def test_change_without_guard__ends_what_runs_only_if_it_was_offered(
    client: Client, flag: Flag
) -> None:
    set_percentage(client, flag, 25, **GUARDED)
    set_percentage(client, flag, 30)  # of a page that showed no guards
    assert Experiment.objects.get().state == ExperimentState.RUNNING
    set_percentage(client, flag, 35, **{"guard-shown": "True"})
    assert Experiment.objects.get().state == ExperimentState.STOPPED
    flag.refresh_from_db()
    assert flag.spec.rules[0].rollout == 35_000


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("metrics", [], "Choose at least one metric."),
        ("metrics", ["day-1"], "day-1 is not one of the available choices"),
        ("tolerance", "", "Give the worst tolerable change, such as 5."),
        ("tolerance", "-1", "greater than or equal to 0"),
        ("min_players", "99", "greater than or equal to 100"),
        ("on_breach", "explode", "explode is not one of the available choices"),
    ],
)
def test_wrong_guard__is_named_and_saves_nothing(
    client: Client, flag: Flag, field: str, value: Any, said: str
) -> None:
    reply = set_percentage(client, flag, 25, **{**GUARDED, f"guard-{field}": value})
    assert reply.status_code == 422
    assert said in reply.text
    assert "Correct the guard below." in reply.text
    flag.refresh_from_db()
    assert flag.revision == 1
    assert not Experiment.objects.exists()


def test_percentage_that_includes_everyone__cannot_be_guarded(client: Client, flag: Flag) -> None:
    reply = set_percentage(client, flag, 100, **GUARDED)
    assert "All players that match the rule get the same." in reply.text
    flag.refresh_from_db()
    assert flag.revision == 1


def test_dialog__says_why_a_change_cannot_be_guarded(client: Client, flag: Flag) -> None:
    experiment = make_experiment(flag, "prices")
    dialog = f"{page(flag)}rules/r/percentage/"
    assert "The experiment prices measures this rule." in client.get(dialog).text
    experiment.delete()
    flag_set_enabled(flag, False, actor=ACTOR)
    assert "The flag is off, so there is nothing to compare." in client.get(dialog).text


def test_review_of_a_schedule__offers_guards_and_saves_them(client: Client, flag: Flag) -> None:
    start, end = "2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
    ramp = {"from": 0, "to": 90_000, "start": start, "end": end}
    document = {**flag.document, "rules": [{"id": "r", "variant": "enabled", "ramp": ramp}]}
    draft = {"draft": json.dumps(document), "base": "1"}
    review = client.post(f"{page(flag)}review/", {**draft, "review": "1"})
    assert "Guard this rollout" in review.text
    fields = {name.replace("guard-", "guard-r-"): value for name, value in GUARDED.items()}
    wrong = client.post(f"{page(flag)}save/", {**draft, **fields, "guard-r-metrics": []})
    assert (wrong.status_code, "Choose at least one metric." in wrong.text) == (422, True)
    client.post(f"{page(flag)}save/", {**draft, **fields})
    assert Experiment.objects.get().state == ExperimentState.RUNNING
    flag.refresh_from_db()
    assert flag.spec.rules[0].ramp is not None


def test_review_of_other_changes__offers_no_guards(client: Client, flag: Flag) -> None:
    document = encode_document(flag.spec.with_rollout("r", 10_000))
    document["rules"][0]["name"] = "Ten percent"
    draft = {"draft": json.dumps(document), "base": "1", "review": "1"}
    assert "Guard this rollout" not in client.post(f"{page(flag)}review/", draft).text


def test_page__shows_the_guards_and_then_the_breach(client: Client, flag: Flag) -> None:
    assert "Guarded" not in client.get(page(flag)).text
    set_percentage(client, flag, 25, **GUARDED)
    young = client.get(page(flag)).text
    assert "new-shop-rollout-1" in young
    assert "Too few players yet" in young
    assert "not checked yet" in young
    breach(flag)
    shown = client.get(page(flag)).text
    evidence = "rors rose by 60 % to 140 % (tolerable: 5 %) among 400 and 410 players"
    assert re.sub(r"\d+ % to \d+ %", "60 % to 140 %", shown).count(evidence) == 2  # and history
    assert "The percentage went back to 10 %." in shown
    assert "See results" in shown
    (undo,) = set(re.findall(r'href="([^"]*/undo/)"', shown))
    client.post(undo)
    flag.refresh_from_db()
    assert flag.spec.rules[0].rollout == 25_000
    assert "A guard metric was breached" not in client.get(page(flag)).text
    assert Experiment.objects.get().state == ExperimentState.STOPPED


def test_page__shows_a_breach_that_only_notified_beside_the_guards(
    client: Client, flag: Flag
) -> None:
    set_percentage(client, flag, 25, **{**GUARDED, "guard-on_breach": "notify"})
    breach(flag)
    shown = client.get(page(flag)).text
    assert "A guard metric was breached" in shown
    assert "Nothing was changed." in shown
    assert ">Breached</span>" in shown
    set_percentage(client, flag, 30)
    assert "A guard metric was breached" not in client.get(page(flag)).text


def test_shipped_rollout__keeps_its_results(client: Client, flag: Flag) -> None:
    set_percentage(client, flag, 25, **GUARDED)
    set_percentage(client, flag, 100, **GUARDED)
    rollout = Experiment.objects.get()
    arms = {"enabled": Arm(400, 200, 200), "disabled": Arm(0, 0, 0)}
    make_results(rollout, {"errors": arms})
    guards_check(flag.environment, datetime.now(UTC))
    rollout.refresh_from_db()
    assert rollout.state == ExperimentState.DECIDED
    evidence: Any = rollout.evidence
    assert evidence["metrics"][0]["variants"][1]["players"] == 400
    url = page(flag).replace("flags/new-shop", f"experiments/{rollout.key}")
    shown = client.get(url).text
    assert "The evidence then" in shown
    assert "400 in" in shown


def test_page__says_that_the_sample_ratio_check_fails(client: Client, flag: Flag) -> None:
    set_percentage(client, flag, 25, **{**GUARDED, "guard-on_breach": "notify"})
    rollout, now = Experiment.objects.get(), datetime.now(UTC)
    day = ExperimentDay.objects.create(
        experiment=rollout, phase=1, day=now.date(), computed_at=now, players={}, left_out={},
        ratio_p=0.001,
    )  # fmt: skip
    assert "The sample ratio check fails." not in client.get(page(flag)).text
    ExperimentDay.objects.filter(pk=day.pk).update(ratio_p=0.0009)
    assert "The sample ratio check fails." in client.get(page(flag)).text
    breach(flag)
    assert "The sample ratio check failed at that time" in client.get(page(flag)).text


def test_guard__survives_until_a_change_request_is_applied(client: Client, flag: Flag) -> None:
    Environment.objects.filter(pk=flag.environment_id).update(guard_approval=["percentage"])
    asked = set_percentage(client, flag, 25, **GUARDED)
    assert "Request review" in asked.text
    assert "new-shop-rollout-1" in asked.text
    fields = {**GUARDED, "guard_act": "review", "reason": "More players"}
    set_percentage(client, flag, 25, **fields)
    assert not Experiment.objects.exists()
    request = ChangeRequest.objects.get()
    other = Actor.of_user(make_staff(Role.LIVE_OPS, "", flag.environment.project))
    request = request_approve(request, actor=other, fingerprint=request.fingerprint)
    request_apply(request, actor=other, fingerprint=request.fingerprint)
    flag.refresh_from_db()
    assert flag.spec.rules[0].rollout == 25_000
    rollout = Experiment.objects.get()
    assert (rollout.state, rollout.on_breach) == (ExperimentState.RUNNING, OnBreach.STEP_BACK)
    # The next change asks again, with new guards.
    more = {**fields, "guard-tolerance": "9"}
    set_percentage(client, flag, 50, **more)
    request = ChangeRequest.objects.latest("id")
    request = request_approve(request, actor=other, fingerprint=request.fingerprint)
    request_apply(request, actor=other, fingerprint=request.fingerprint)
    rollout.refresh_from_db()
    assert (rollout.phase, rollout.metrics.get().tolerance) == (2, 0.09)

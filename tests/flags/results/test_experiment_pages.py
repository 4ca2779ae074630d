"""The pages of experiments: list, editor, detail and the dialogs."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.test import Client
from msgspec.structs import replace

from flags.engine.document import Rule, Slice, boolean_document, encode_document
from flags.models import (
    Experiment,
    ExperimentDay,
    ExperimentMetric,
    ExperimentResult,
    ExperimentState,
    Flag,
    FlagRevision,
    Metric,
    MetricKind,
)
from flags.results.experiment_warnings import warnings_of
from flags.services import flag_create, flag_set_enabled, flag_update
from ilara_admin.core.guard import Act
from ilara_admin.models import ChangeRequest, Environment, Role
from segments.services import segment_create, segment_update
from tests.factories import ACTOR, make_experiment, make_metric
from tests.members import client_for, make_member
from tests.pages import HTMX, text_of, url_of

NOW = datetime.now(UTC)
SPLIT = Rule(id="split", split=(Slice("enabled", 0, 50_000), Slice("disabled", 50_000, 100_000)))
ARM = {"players": 1_000, "before": 0.0, "before_squares": 0.0, "products": 0.0}
ROWS = {
    "metrics-TOTAL_FORMS": "2",
    "metrics-INITIAL_FORMS": "0",
    "metrics-0-metric": "payers",
    "metrics-0-role": "primary",
    "metrics-1-metric": "errors",
    "metrics-1-role": "guard",
    "metrics-1-tolerance": "5",
}
TYPED = {
    "key": "bigger",
    "hypothesis": "A bigger button sells more",
    "rule_id": "split",
    "control": "disabled",
    "planned_players": "4000",
    "planned_end": "2031-05-01",
    "effect": "10",
    **ROWS,
}


@pytest.fixture
def flag(environment: Environment) -> Flag:
    document = boolean_document(enabled=True, rules=(SPLIT,))
    return flag_create(environment=environment, key="shop", document=document, actor=ACTOR)


@pytest.fixture
def payers(environment: Environment) -> Metric:
    make_metric(environment, "errors", direction="down", event="error")
    return make_metric(environment, "payers", MetricKind.PAYERS)


@pytest.fixture
def client(environment: Environment) -> Client:
    return client_for(make_member(environment, Role.LIVE_OPS))


@pytest.fixture
def running(flag: Flag, payers: Metric) -> Experiment:
    """With results: B pays more."""
    experiment = make_experiment(flag, "bigger", payers, control="disabled", planned_players=4_000)
    shared: dict[str, Any] = {"experiment": experiment, "phase": 1, "computed_at": NOW}
    ExperimentDay.objects.create(
        day=NOW.date(), players={"enabled": 1_000, "disabled": 1_000}, left_out={"two": 3},
        ratio_p=0.9, **shared,
    )  # fmt: skip
    ExperimentResult.objects.create(
        day=NOW.date(), metric=payers, **shared,
        arms={"disabled": {**ARM, "total": 50.0, "squares": 50.0},
              "enabled": {**ARM, "total": 200.0, "squares": 200.0}},
    )  # fmt: skip
    return experiment


def page(
    client: Client, environment: Environment, name: str, *args: object, query: str = ""
) -> str:
    response = client.get(url_of(environment, name, *args) + query)
    assert response.status_code == 200
    return text_of(response)


def post(client: Client, environment: Environment, name: str, /, *args: object, **data: Any) -> Any:
    query = data.pop("query", "")
    return client.post(url_of(environment, name, *args) + query, data)


def again(key: str = "bigger") -> Experiment:
    return Experiment.objects.select_related("flag").get(key=key)


def test_list__shows_state_progress_and_verdict(
    client: Client, environment: Environment, running: Experiment
) -> None:
    shown = page(client, environment, "experiment_list")
    assert "2,000" in shown
    assert "Better by" in shown
    assert "Running" in shown
    assert "bigger" not in page(client, environment, "experiment_list", query="?state=draft")
    assert "bigger" in page(client, environment, "experiment_list", query="?q=shop&kind=experiment")


def test_new__begins_at_a_flag(client: Client, environment: Environment, flag: Flag) -> None:
    assert "shop" in page(client, environment, "experiment_new")
    assert 'value="shop"' in page(client, environment, "experiment_new", query="?flag=shop")
    link = page(client, environment, "flag_detail", "shop")
    assert f"{url_of(environment, 'experiment_new')}?flag=shop&amp;rule=split" in link


def test_new__creates_a_draft(
    client: Client, environment: Environment, flag: Flag, payers: Metric
) -> None:
    response = post(client, environment, "experiment_new", query="?flag=shop", **TYPED)
    assert response.status_code == 302
    found = again()
    assert (found.state, found.planned_players) == (ExperimentState.DRAFT, 4_000)
    assert [(use.metric.key, use.role, use.tolerance) for use in found.metrics.all()] == [
        ("payers", "primary", None), ("errors", "guard", 0.05),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": ""}, {"metrics-1-tolerance": ""}, {"metrics-1-metric": "nothing"},
        {"metrics-1-role": "primary"}, {"control": "blue"},
    ],
)  # fmt: skip
def test_new__shows_what_is_wrong(
    client: Client, environment: Environment, flag: Flag, payers: Metric, wrong: dict[str, str]
) -> None:
    response = post(client, environment, "experiment_new", query="?flag=shop", **{**TYPED, **wrong})
    assert response.status_code == 422
    assert not Experiment.objects.exists()


def test_buttons_of_the_editor__save_nothing(
    client: Client, environment: Environment, flag: Flag, payers: Metric
) -> None:
    added = post(client, environment, "experiment_new", query="?flag=shop", row="add", **TYPED)
    assert "metrics-2-metric" in text_of(added)
    assert "A bigger button" in text_of(added)
    edited = post(
        client, environment, "experiment_new", query="?flag=shop",
        **{"rule-act": "edit population", **TYPED},
    )  # fmt: skip
    assert "population-0-field" in text_of(edited)
    asked = post(
        client, environment, "experiment_new", query="?flag=shop", power="1", rate="4", **TYPED
    )
    assert "players</strong> of payers" in text_of(asked)
    assert not Experiment.objects.exists()


def test_edit__changes_what_its_state_allows(
    client: Client, environment: Environment, running: Experiment
) -> None:
    shown = page(client, environment, "experiment_edit", "bigger")
    assert "It cannot change any more" in shown
    typed = {**TYPED, "name": "New name", "control": "enabled"}
    response = post(client, environment, "experiment_edit", "bigger", **typed)
    assert response.status_code == 302
    assert (again().name, again().control, again().rebuild) == ("New name", "disabled", True)


def test_detail__shows_plan_results_and_history(
    client: Client, environment: Environment, running: Experiment
) -> None:
    shown = page(client, environment, "experiment_detail", "bigger")
    for text in ("payers", "300 %", "2,000", "4,000", "Decide", "Stop"):
        assert text in shown


def test_detail__says_why_nothing_is_recorded(
    client: Client, environment: Environment, running: Experiment, flag: Flag
) -> None:
    flag_set_enabled(flag, False, actor=ACTOR)
    assert "is off" in page(client, environment, "experiment_detail", "bigger")


@pytest.mark.parametrize(
    ("days_ago", "days_left", "text"),
    [(0, 89, ""), (0, 91, "before the planned end"), (91, None, "older than its events")],
)
def test_detail__warns_of_events_that_are_deleted(
    environment: Environment, running: Experiment, days_ago: int, days_left: int | None, text: str
) -> None:
    running.phase_at = NOW - timedelta(days=days_ago)
    running.planned_end = (NOW + timedelta(days=days_left)).date() if days_left else None
    assert warnings_of(running) == []  # a metric of the ledger
    errors = Metric.objects.get(environment=environment, key="errors")
    ExperimentMetric.objects.create(experiment=running, metric=errors, position=9)
    found = " ".join(warnings_of(running))
    assert bool(found) is bool(text)
    assert text in found


def test_detail__warns_of_other_players(
    client: Client, environment: Environment, running: Experiment, flag: Flag
) -> None:
    """A segment, one that it refers to, or a rule above the measured rule was edited."""
    level = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 1}]}
    named = partial(segment_create, environment=environment, name="", actor=ACTOR)
    inner = named(key="inner", rule=level)
    refers = {"field": "segment", "operator": "in", "value": ["inner"]}
    named(key="outer", rule={"operator": "AND", "conditions": [refers]})

    def rules_are(*rules: Rule) -> None:
        flag.refresh_from_db()
        before, document = flag.revision, replace(flag.spec, rules=rules)
        flag_update(flag, document=document, base_revision=before, actor=ACTOR)
        newer = FlagRevision.objects.filter(flag=flag, number__gt=before)
        newer.update(created_at=datetime.now(UTC))  # its default is the start of the test

    def texts() -> list[str]:
        found = warnings_of(Experiment.objects.select_related("flag__environment").get())
        shown = page(client, environment, "experiment_detail", "bigger")
        assert all(text in shown for text in found)
        return found

    outer = Rule(id="outer", segment="outer", variant="enabled")
    below = Rule(id="below", variant="enabled")
    rules_are(outer, SPLIT)
    Experiment.objects.update(phase_at=datetime.now(UTC))
    assert texts() == []
    rules_are(replace(outer, name="Renamed"), SPLIT, below)
    assert texts() == []
    segment_update(inner, name="New", rule=level, description="", actor=ACTOR)
    (text,) = texts()
    assert text.startswith("The segment inner, on which the rule depends, was edited on ")
    Experiment.objects.update(phase_at=datetime.now(UTC))
    rules_are(replace(outer, variant="disabled"), SPLIT)
    (text,) = texts()
    assert "rules above the measured rule or prerequisites changed" in text


def test_viewers__read(environment: Environment, running: Experiment) -> None:
    viewer = client_for(make_member(environment, Role.VIEWER))
    shown = page(viewer, environment, "experiment_detail", "bigger")
    assert "Decide" not in shown
    assert viewer.get(url_of(environment, "experiment_decide", "bigger")).status_code == 403


def test_the_flag__shows_what_measures_it(
    client: Client, environment: Environment, running: Experiment
) -> None:
    assert "Measured by" in page(client, environment, "flag_detail", "shop")


def test_a_measured_rule__warns_of_a_change(
    client: Client, environment: Environment, running: Experiment
) -> None:
    """Results of a rule that changes start again, so staff know before."""
    more = Rule(id="more", variant="enabled", rollout=5_000)
    skewed = (Slice("enabled", 0, 90_000), Slice("disabled", 90_000, 100_000))
    drafts = {
        "begins a new phase": [replace(SPLIT, split=skewed)],
        "stops, as its rule is removed": [more],
        "": [replace(SPLIT, name="Renamed"), more],
    }
    for text, rules in drafts.items():
        document = replace(running.flag.spec, rules=tuple(rules))
        draft = json.dumps(encode_document(document))
        values = {"draft": draft, "base": running.flag.revision}
        shown = post(client, environment, "flag_review", "shop", **values)
        assert shown.status_code == 200, shown.content
        assert ("Experiments that measure it" in text_of(shown)) is bool(text)
        assert text in text_of(shown)
    assert "Measure rule 1" not in page(client, environment, "flag_detail", "shop")


def test_dialogs__warn_of_a_new_phase(
    client: Client, environment: Environment, payers: Metric
) -> None:
    rule = Rule(id="few", variant="enabled", rollout=10_000)
    document = boolean_document(enabled=True, rules=(rule,))
    few = flag_create(environment=environment, key="few", document=document, actor=ACTOR)
    make_experiment(few, "smaller", payers, rule_id="few", control="disabled")
    shown = post(client, environment, "flag_rollout", "few", "few", rollout="20", ask="1")
    assert ">smaller</a> begins a new phase" in text_of(shown)
    wide = few.spec.with_rollout("few", 50_000)
    flag_update(few, document=wide, base_revision=1, actor=ACTOR)
    assert ">smaller</a> begins a new phase" in page(client, environment, "flag_restore", "few", 1)


@pytest.mark.parametrize(
    ("name", "state"), [("experiment_stop", "stopped"), ("experiment_decide", "decided")]
)
def test_a_dialog__acts(
    client: Client, environment: Environment, running: Experiment, name: str, state: str
) -> None:
    assert page(client, environment, name, "bigger")
    assert post(client, environment, name, "bigger", decision="stop").status_code == 302
    assert again().state == state
    again_shown = page(client, environment, "experiment_detail", "bigger")
    assert "300 %" in again_shown


def test_start__names_what_is_missing(client: Client, environment: Environment, flag: Flag) -> None:
    make_experiment(flag, "bigger", state="draft", phase=0)
    assert "Choose the primary metric." in page(client, environment, "experiment_start", "bigger")


def test_extend__sets_the_plan(
    client: Client, environment: Environment, running: Experiment
) -> None:
    post(client, environment, "experiment_extend", "bigger", planned_players="9000")
    assert again().planned_players == 9_000


def test_decide__shows_who_switches_and_ships(
    client: Client, environment: Environment, running: Experiment
) -> None:
    url = url_of(environment, "experiment_decide", "bigger")
    target = {**HTMX, "HX-Target": "confirm-preview"}
    asked = client.post(url, {"decision": "ship enabled", "ask": "1"}, headers=target)
    assert asked.status_code == 200
    assert again().state == "running"
    client.post(url, {"decision": "ship enabled", "reason": "It sells"})
    assert again().decided_variant == "enabled"
    assert again().flag.document["rules"] == [{"id": "split", "variant": "enabled"}]
    shown = page(client, environment, "experiment_detail", "bigger")
    assert "It sells" in shown
    assert "Better by" in shown


def test_decide__asks_for_a_review(
    client: Client, environment: Environment, running: Experiment
) -> None:
    Environment.objects.filter(pk=environment.pk).update(guard_approval=[Act.RULES, Act.PERCENTAGE])
    url = url_of(environment, "experiment_decide", "bigger")
    asked = client.post(url, {"decision": "ship enabled"})
    assert "Request review" in text_of(asked)
    client.post(url, {"decision": "ship enabled", "guard_act": "review", "reason": "It sells"})
    assert again().state == "running"
    request = ChangeRequest.objects.get()
    assert [item["action"] for item in request.items] == ["experiment.decided", "flag.updated"]
    assert "1 open change request" in page(client, environment, "experiment_detail", "bigger")


def test_decide__conflicts_with_a_newer_flag(
    client: Client, environment: Environment, running: Experiment, flag: Flag
) -> None:
    flag_set_enabled(flag, True, actor=ACTOR)
    flag_set_enabled(flag, False, actor=ACTOR)
    flag_set_enabled(flag, True, actor=ACTOR)
    response = post(
        client, environment, "experiment_decide", "bigger", query="?from=1", decision="ship enabled"
    )
    assert response.status_code == 409
    assert again().state == "running"

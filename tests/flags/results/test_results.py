"""The results of an experiment on its page and in the API."""

import csv
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.template.loader import render_to_string
from django.test import Client
from django.test.utils import CaptureQueriesContext

from flags.models import Experiment, ExperimentDay, ExperimentMetric, Flag, MetricKind, MetricRole
from flags.results.result_views import MetricPanel, results_of
from flags.results.statistics import Arm
from ilara_admin.models import Environment, KeyKind, KeyScope, Role
from tests.api_client import Api
from tests.factories import make_experiment, make_key, make_metric, make_results
from tests.pages import signed_in, squeezed, text_of, url_of
from tests.specification import JudgedApi

TODAY = datetime.now(UTC).date()
URL = "/v1/experiments/experiments/{}/results"


def share(players: int, found: int) -> Arm:
    return Arm(players, found, found)


BUYERS = {"disabled": share(5000, 1500), "enabled": share(5050, 1750)}
FEWER = {"disabled": share(800, 240), "enabled": share(810, 260)}
ERRORS = {"disabled": share(5000, 100), "enabled": share(5050, 300)}
SESSIONS = {"disabled": Arm(5000, 20000, 120000), "enabled": Arm(5050, 20200, 121000)}


@pytest.fixture
def experiment(environment: Environment) -> Experiment:
    """With a primary metric, a secondary one and a guard, in this order."""
    flag = Flag.objects.get(environment=environment, key="new_tutorial")
    found = make_experiment(
        flag,
        "bigger-button",
        make_metric(environment, "buyers", MetricKind.PAYERS, name="Buyers"),
        make_metric(environment, "sessions", MetricKind.SESSIONS, unit="sessions", window_days=7),
        make_metric(environment, "errors", MetricKind.SHARE, event="error", direction="down"),
        control="disabled",
    )
    guard = ExperimentMetric.objects.filter(experiment=found, metric__key="errors")
    guard.update(role=MetricRole.GUARD, tolerance=0.05)
    return found


@pytest.fixture
def viewer(environment: Environment) -> Client:
    return signed_in(Role.VIEWER)


def make_days(experiment: Experiment, **columns: Any) -> ExperimentDay:
    """Three days; the newest has breakdowns."""
    for back in (2, 1):
        arms = {"buyers": {"disabled": share(300, 90), "enabled": share(300, 100)}}
        make_results(experiment, arms, TODAY - timedelta(days=back))
    groups = {
        "stage": {"new": stored(BUYERS)},
        "payer": {"no": stored(BUYERS), "yes": stored({"disabled": share(9, 1)})},
        "country": {"": stored(FEWER), "DE": stored(BUYERS)},
    }
    arms = {"buyers": BUYERS, "sessions": SESSIONS, "errors": ERRORS}
    return make_results(experiment, arms, breakdowns=groups, **columns)


def stored(arms: dict[str, Arm]) -> dict[str, Any]:
    return {
        variant: {"players": arm.players, "total": arm.total, "squares": arm.squares}
        for variant, arm in arms.items()
    }


def panels(experiment: Experiment) -> dict[str, MetricPanel]:
    context = results_of(experiment, datetime.now(UTC))
    return {panel.measure.key: panel for panel in context["panels"]}


def page(experiment: Experiment) -> str:
    results = results_of(experiment, datetime.now(UTC))
    return squeezed(render_to_string("flags/results/_results.html", {"results": results}))


# --- The page -------------------------------------------------------------------------------------


def test_page__shows_the_primary_metric_then_guards_then_others(experiment: Experiment) -> None:
    make_days(experiment)
    found = panels(experiment)
    assert list(found) == ["buyers", "errors", "sessions"]
    assert [panel.role for panel in found.values()] == [
        "Primary metric", "Guard metric", "Secondary metric",
    ]  # fmt: skip
    verdicts = [panel.rows[1].verdict for panel in found.values()]
    assert verdicts[0].startswith("Better by ")
    assert verdicts[1].startswith("Worse by ")
    assert verdicts[1].endswith("only 5 % is tolerable")
    assert verdicts[2] == "No difference found yet"
    buyers, errors, sessions = found.values()
    assert [(row.players, row.mean) for row in buyers.rows] == [(5000, "30 %"), (5050, "34.65 %")]
    assert sessions.rows[0].mean == "4 sessions"
    assert [row.tone for row in (*buyers.rows, *errors.rows)] == ["", "ok", "", "danger"]
    assert "With the players so far a change of " in buyers.notes[-1]


def test_page__has_a_chart_by_day_and_groups_only_of_the_newest_day(experiment: Experiment) -> None:
    make_days(experiment)
    buyers = panels(experiment)["buyers"]
    (chart,) = buyers.by_day
    assert [len(column.figures) for column in chart.columns] == [3, 3, 3]
    assert chart.columns[0].figures[0].text == "11.11 %"
    assert [each.label for each in buyers.breakdowns] == [
        "By lifecycle stage", "By payer", "By country",
    ]  # fmt: skip
    by_payer, by_country = buyers.breakdowns[1:]
    assert [row.name for row in by_payer.rows] == ["Not payers"]
    assert [row.name for row in by_country.rows] == ["DE", "unknown"]
    assert panels(experiment)["errors"].by_day == []
    html = page(experiment)
    assert "Exploratory: with many groups some differ by chance." in html
    assert "Only players whose window of 7 days is over count." in html


def test_page__says_that_intervals_are_of_several_variants(experiment: Experiment) -> None:
    """Also in a group of players in which one of them was not served."""
    make_days(experiment)
    two = panels(experiment)["buyers"]
    ExperimentDay.objects.update(players={"disabled": 5000, "enabled": 5050, "third": 0})
    three = panels(experiment)["buyers"]
    texts = [each.chart.label for each in (two, three) if each.chart]
    assert texts == [
        "Change compared with disabled, 95 % interval",
        "Change compared with disabled, 97.5 % interval",
    ]
    assert two.breakdowns[0].rows[0].limits != three.breakdowns[0].rows[0].limits
    assert three.breakdowns[0].rows[0].name == "new, enabled"
    html = page(experiment)
    assert (
        html.count("2 variants are compared with disabled, so each interval is one of 97.5 %") == 2
    )


def test_page__counts_players_and_those_left_out(experiment: Experiment) -> None:
    make_days(experiment, left_out={"overridden": 0, "two": 17, "population": 1})
    html = page(experiment)
    assert "17 players saw two variants" in html
    assert "1 player is not in the population" in html
    assert "override" not in html
    assert '5,050 <span class="muted">50 %</span>' in html
    assert "As planned" in html
    assert "Do not trust" not in html


def test_page__warns_first_if_the_players_are_out_of_proportion(experiment: Experiment) -> None:
    place = {
        "dimension": "platform", "group": "ios", "p": 1e-9,
        "players": {"enabled": 1400, "disabled": 2600},
    }  # fmt: skip
    make_days(experiment, ratio_p=0.0002, places=[place])
    html = page(experiment)
    assert html.index("Do not trust these results.") < html.index("Players")
    assert "Where the imbalance is" in html
    assert html.index("2,600") < html.index("1,400")
    assert "Better" not in html
    assert "Worse" not in html
    assert html.count("Not to be trusted") == 3


def test_page__before_the_first_refresh(experiment: Experiment) -> None:
    assert "No results yet. They appear within two minutes" in page(experiment)
    experiment.state = "draft"
    assert "Players are recorded once the experiment runs." in page(experiment)


def test_page__of_a_metric_without_results_yet(experiment: Experiment) -> None:
    """As one that was added a moment ago."""
    make_results(experiment, {"buyers": BUYERS})
    rows = panels(experiment)["sessions"].rows
    assert [(row.variant, row.players) for row in rows] == [("disabled", 0), ("enabled", 0)]
    assert rows[1].verdict == "Too few players: 100 per variant are needed"


def test_page__shows_only_the_current_phase(experiment: Experiment) -> None:
    make_days(experiment)
    experiment.phase = 2
    assert results_of(experiment, datetime.now(UTC))["day"] is None
    make_results(experiment, {"buyers": {"disabled": share(200, 60), "enabled": share(210, 62)}})
    assert panels(experiment)["buyers"].by_day == []
    assert "Only players of phase 2" in page(experiment)


def test_page__says_that_results_are_old(experiment: Experiment) -> None:
    day = make_days(experiment)
    ExperimentDay.objects.filter(day=day.day).update(
        computed_at=datetime.now(UTC) - timedelta(minutes=11)
    )
    assert "These results are old" in page(experiment)
    experiment.state = "stopped"
    assert "These results are old" not in page(experiment)


def test_page__reads_few_rows(experiment: Experiment, django_assert_num_queries: Any) -> None:
    make_days(experiment)
    with django_assert_num_queries(4):
        results_of(experiment, datetime.now(UTC))


# --- CSV ------------------------------------------------------------------------------------------


def rows_of_csv(viewer: Client, experiment: Experiment) -> list[dict[str, str]]:
    url = url_of(experiment.environment, "experiment_csv", experiment.key)
    return list(csv.DictReader(text_of(viewer.get(url)).splitlines()))


def test_csv__has_the_results_by_day(experiment: Experiment, viewer: Client) -> None:
    detail = url_of(experiment.environment, "experiment_detail", experiment.key)
    link = f'href="{detail}csv/"'
    assert link not in text_of(viewer.get(detail))
    assert rows_of_csv(viewer, experiment) == []
    make_days(experiment, ratio_p=0.0002)
    assert link in text_of(viewer.get(detail))
    rows = rows_of_csv(viewer, experiment)
    assert [(row["metric"], row["day"], row["variant"]) for row in rows] == [
        (metric, str(TODAY - timedelta(days=back)), variant)
        for metric, days in (("buyers", (2, 1, 0)), ("errors", (0,)), ("sessions", (0,)))
        for back in days
        for variant in ("disabled", "enabled")
    ]
    control, other = rows[4:6]
    assert control == {
        "metric": "buyers", "role": "primary", "day": str(TODAY), "variant": "disabled",
        "players": "5000", "mean": "0.3", "lift": "", "low": "", "high": "", "level": "0.95",
        "trusted": "false",
    }  # fmt: skip
    assert float(other["mean"]) == 1750 / 5050
    assert 0 < float(other["low"]) < float(other["lift"]) < float(other["high"])


def test_csv__runs_no_formula(experiment: Experiment, viewer: Client) -> None:
    """Keys cannot be one. A number below zero stays a number."""
    arms = {"disabled": share(900, 450), "-1+1": share(900, 90)}
    make_results(experiment, {"buyers": arms})
    other = rows_of_csv(viewer, experiment)[1]
    assert other["variant"] == "'-1+1"
    assert float(other["lift"]) == pytest.approx(-0.8)


def test_csv__reads_few_rows(
    experiment: Experiment, viewer: Client, django_assert_num_queries: Any
) -> None:
    """As many statements for one day as for three."""
    make_results(experiment, {"buyers": BUYERS}, TODAY - timedelta(days=9))
    rows_of_csv(viewer, experiment)  # the first request loads the environment
    with CaptureQueriesContext(connection) as one:
        rows_of_csv(viewer, experiment)
    make_days(experiment)
    with django_assert_num_queries(len(one)):
        assert len(rows_of_csv(viewer, experiment)) == 12


# --- The API --------------------------------------------------------------------------------------


def test_api__returns_what_the_page_shows(experiment: Experiment) -> None:
    make_days(experiment, left_out={"overridden": 3, "two": 17, "population": 1})
    api = JudgedApi(make_key(experiment.environment, KeyKind.SECRET).token)
    data = api.get(URL.format("bigger-button")).data
    assert data["players"] == {"disabled": 5000, "enabled": 5050}
    assert list(data["players"]) == ["disabled", "enabled"]
    assert data["left_out"] == {"overridden": 3, "two_variants": 17, "outside_population": 1}
    assert data["sample_ratio"] == {"p_value": 0.5, "trusted": True, "places": []}
    assert [each["metric"] for each in data["metrics"]] == ["buyers", "errors", "sessions"]
    control, other = data["metrics"][0]["variants"]
    assert (control["mean"], control["lift"], control["verdict"]) == (0.3, None, None)
    assert (other["verdict"], other["adjusted"]) == ("better", False)
    assert 0 < other["low"] < other["lift"] < other["high"]
    assert {each["level"] for each in data["metrics"]} == {0.95}
    assert data["metrics"][1]["variants"][1]["verdict"] == "breached"


def test_api__has_the_level_of_several_variants(experiment: Experiment) -> None:
    make_days(experiment, players={"disabled": 5000, "enabled": 5050, "third": 0})
    api = JudgedApi(make_key(experiment.environment, KeyKind.SECRET).token)
    data = api.get(URL.format("bigger-button")).data
    assert {each["role"]: each["level"] for each in data["metrics"]} == {
        "primary": 0.975, "guard": 0.95, "secondary": 0.975,
    }  # fmt: skip


def test_api__has_the_days_only_if_asked(
    experiment: Experiment, django_assert_max_num_queries: Any
) -> None:
    make_days(experiment)
    api = JudgedApi(make_key(experiment.environment, KeyKind.SECRET).token)
    url = URL.format("bigger-button")
    plain = api.get(url).data
    assert "days" not in plain["metrics"][0]
    with django_assert_max_num_queries(5):
        data = api.get(f"{url}?by_day=true").data
    buyers, errors, _ = (metric.pop("days") for metric in data["metrics"])
    assert data == plain
    dates = [str(TODAY - timedelta(days=back)) for back in (2, 1, 0)]
    assert [each["day"] for each in buyers] == dates
    assert [each["day"] for each in errors] == dates[2:]
    control, other = buyers[0]["variants"]
    assert control == {
        "variant": "disabled", "players": 300, "mean": 0.3, "lift": None, "low": None, "high": None,
    }  # fmt: skip
    assert (other["variant"], other["players"]) == ("enabled", 300)
    assert other["lift"] == pytest.approx(1 / 9)
    assert other["low"] < other["lift"] < other["high"]
    newest = data["metrics"][0]["variants"][1]
    assert buyers[2]["variants"][1] == {name: newest[name] for name in other}
    assert api.get(f"{url}?by_day=yes").error["message"] == "by_day must be true or false"


def test_api__before_the_first_refresh_has_no_days(experiment: Experiment) -> None:
    api = JudgedApi(make_key(experiment.environment, KeyKind.SECRET).token)
    data = api.get(f"{URL.format('bigger-button')}?by_day=true").data
    assert [each["days"] for each in data["metrics"]] == [[], [], []]


def test_api__has_no_limit_where_there_is_none(experiment: Experiment) -> None:
    make_results(experiment, {"errors": {"disabled": share(900, 0), "enabled": share(900, 90)}})
    api = JudgedApi(make_key(experiment.environment, KeyKind.SECRET).token)
    data = api.get(URL.format("bigger-button")).data
    other = data["metrics"][1]["variants"][1]
    assert other["low"] > 0.05
    assert other["high"] is None


def test_api__before_the_first_refresh(experiment: Experiment) -> None:
    api = JudgedApi(make_key(experiment.environment, KeyKind.SECRET).token)
    data = api.get(URL.format("bigger-button")).data
    assert (data["computed_at"], data["players"]) == (None, {})
    assert [each["variants"][0]["players"] for each in data["metrics"]] == [0, 0, 0]


def test_api__marks_results_that_are_not_to_be_trusted(experiment: Experiment) -> None:
    place = {"dimension": "country", "group": "DE", "p": 1e-9, "players": {"enabled": 14}}
    make_days(experiment, ratio_p=0.0002, places=[place])
    api = JudgedApi(make_key(experiment.environment, KeyKind.SECRET).token)
    data = api.get(URL.format("bigger-button")).data
    assert data["sample_ratio"]["trusted"] is False
    assert data["sample_ratio"]["places"][0]["group"] == "DE"
    assert {each["variants"][1]["verdict"] for each in data["metrics"]} == {"untrusted"}


@pytest.mark.parametrize(
    ("key", "status", "message"),
    [
        ("bigger_button", 404, "Did you mean “bigger-button”?"),
        ("x", 404, "Experiment not found in live, the environment of this key."),
        ("%00", 400, "key must be the key of an experiment."),
    ],
)
def test_api__of_an_unknown_key(
    experiment: Experiment, key: str, status: int, message: str
) -> None:
    api = JudgedApi(make_key(experiment.environment, KeyKind.SECRET).token)
    reply = api.get(URL.format(key))
    assert reply.status == status
    assert message in reply.error["message"]


def test_api__needs_a_secret_key_with_the_scope_read(experiment: Experiment) -> None:
    other = make_key(experiment.environment, KeyKind.SECRET, scopes=[KeyScope.TRACK])
    for new in (make_key(experiment.environment), other):
        assert Api(new.token).get(URL.format("bigger-button")).status == 403


def test_api__knows_only_experiments_of_the_environment_of_the_key(
    experiment: Experiment,
) -> None:
    other = experiment.environment.project.environments.exclude(pk=experiment.environment_id)
    key = make_key(other.get(slug="test"), KeyKind.SECRET)
    assert Api(key.token).get(URL.format("bigger-button")).status == 404

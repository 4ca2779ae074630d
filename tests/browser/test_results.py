"""Read the results of an experiment that has ended, and of one that is not to be trusted."""

import shlex
import sys
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Ilara, Window
from tests.running import bash

pytestmark = pytest.mark.browser

CODE = """
from datetime import UTC, date, datetime
from flags.models import Experiment, ExperimentState, Flag, MetricKind, MetricRole
from flags.results.statistics import Arm
from ilara_admin.models import Environment
from tests.factories import make_experiment, make_metric, make_results
live = Environment.objects.get(project__slug="sample-game", slug="live")
flag = Flag.objects.get(environment=live, key="onboarding-copy")
metrics = [
    make_metric(live, "made-up-buyers", MetricKind.PAYERS, name="Buyers"),
    make_metric(live, "made-up-errors", MetricKind.SHARE, name="Errors", direction="down"),
]
ENDED = datetime(2026, 5, 4, tzinfo=UTC)
def share(players, found): return Arm(players, found, found)
def fill(key, **columns):
    experiment = make_experiment(
        flag, key, *metrics, state=ExperimentState.STOPPED, control="control",
        started_at=ENDED, ended_at=ENDED,  # too long ago to be refreshed
    )
    experiment.metrics.filter(metric=metrics[1]).update(role=MetricRole.GUARD, tolerance=0.05)
    for day, part in ((1, 10), (2, 3), (3, 1)):
        arms = {
            "made-up-buyers": {
                "control": share(5000 // part, 1500 // part),
                "story": share(5050 // part, 1750 // part),
            },
            "made-up-errors": {
                "control": share(5000 // part, 300 // part),
                "story": share(5050 // part, 310 // part),
            },
        }
        make_results(
            experiment, arms, date(2026, 5, day),
            {"country": {"DE": as_stored(arms["made-up-buyers"])}}, **columns,
        )
def as_stored(arms):
    from dataclasses import asdict
    return {variant: asdict(arm) for variant, arm in arms.items()}
fill("made-up", left_out={"overridden": 0, "two": 17, "population": 0})
place = {"dimension": "platform", "group": "ios", "p": 1e-9,
         "players": {"control": 2600, "story": 1400}}
fill("made-up-uneven", ratio_p=0.0002, places=[place])
"""


@pytest.fixture(scope="module", autouse=True)
def experiments(ilara: Ilara) -> None:
    command = f"{sys.executable} manage.py shell --no-imports -c {shlex.quote(CODE)}"
    bash(command, {"ILARA_HOME": str(ilara.serve.home)})


def test_read_the_results_of_an_experiment(window: Callable[..., Window]) -> None:
    reader = window()
    page = reader.open("experiments/made-up/")
    players = page.get_by_role("region", name="Players")
    expect(players).to_contain_text("As planned")
    expect(players).to_contain_text("17 players saw two variants")
    buyers = page.get_by_role("region", name="Buyers", exact=True)
    expect(buyers.get_by_role("row", name="story").first).to_contain_text("34.65 %")
    expect(buyers).to_contain_text("Better by 5.7 % to 26 %")
    expect(buyers).to_contain_text("Change of story by UTC day")
    expect(buyers).to_contain_text("With the players so far a change of")
    errors = page.get_by_role("region", name="Errors", exact=True)
    expect(errors).to_contain_text("No harm found yet; up to 5 % is tolerable")
    expect(buyers.get_by_text("Exploratory")).to_be_hidden()
    buyers.get_by_text("By group of players").click()
    expect(
        buyers.get_by_text("Exploratory: with many groups some differ by chance.")
    ).to_be_visible()
    expect(buyers).to_contain_text("By country")


def test_read_that_results_are_not_to_be_trusted(window: Callable[..., Window]) -> None:
    page = window().open("experiments/made-up-uneven/")
    expect(page.get_by_role("main").get_by_role("alert")).to_contain_text(
        "Do not trust these results."
    )
    where = page.get_by_role("region", name="Where the imbalance is")
    expect(where.get_by_role("row").filter(has_text="ios")).to_contain_text("2,600")
    verdicts = page.get_by_role("region", name="Buyers", exact=True)
    expect(verdicts).to_contain_text("Not to be trusted")
    expect(page.get_by_role("main")).not_to_contain_text("Better by")

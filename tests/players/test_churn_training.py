"""Fitting an environment: histories, use of the fit, stored backtest."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from procrastinate.contrib.django import app
from procrastinate.testing import InMemoryConnector

from ilara_admin.api.environment_cache import at_version
from ilara_admin.models import Environment
from players import tasks
from players.cache import churn_part
from players.churn_model.risk import RISK_DAYS
from players.churn_training import TooFewError, churn_refit, histories
from players.models import ChurnFit, Player, player_id_for
from tests.api_client import PLAYERS, Api
from tests.factories import make_environment
from tests.processes import django_output

TODAY = date(2026, 6, 1)


def fill(environment: Environment, size: int, *, today: date = TODAY) -> dict[str, str]:
    """Create players with random activity. Returns their activity by external id."""
    draw = random.Random(5)
    bits: dict[str, str] = {}
    players = []
    for number in range(size):
        first_on = today - timedelta(days=draw.randint(0, 90))
        last_on = first_on + timedelta(days=draw.randint(0, (today - first_on).days))
        days = (last_on - first_on).days
        name, habit = f"p{number}", draw.random()
        inner = "".join("01"[draw.random() < habit] for _ in range(days - 1))
        bits[name] = "1" if not days else f"1{inner}1"
        first, last = (
            datetime(*day.timetuple()[:3], 12, tzinfo=UTC) for day in (first_on, last_on)
        )
        players.append(
            Player(
                id=player_id_for(environment.namespace, name),
                environment=environment,
                external_id=name,
                first_seen_at=first,
                last_seen_at=last,
                last_active_on=last_on,
                active_since=first,
                activity=bits[name],
                active_days=bits[name].count("1"),
            )
        )
    Player.objects.bulk_create(players)
    return bits


def test_histories__are_as_of_the_given_day(environment: Environment) -> None:
    bits = fill(environment, 120)
    fill(make_environment(), 5)
    until = TODAY - timedelta(days=30)
    expected = []
    for player in Player.objects.of(environment):
        age = (until - player.first_seen_at.date()).days
        if age < 0:
            continue
        known = bits[player.external_id][: age + 1]
        later = bits[player.external_id][age + 1 : age + 1 + RISK_DAYS]
        expected.append(
            (
                known.count("1") - 1,
                known.rindex("1"),
                age,
                int("1" not in later),
                player.pk.bytes[-1] & 1,
            )
        )
    found = histories(environment, until)
    assert sorted(zip(*found, strict=True)) == sorted(expected)
    assert {0, 1} == set(found.silent)


def test_fit__is_used_by_the_next_request(environment: Environment, secret_api: Api) -> None:
    fill(environment, 300)
    path = f"{PLAYERS}/{player_id_for(environment.namespace, 'p1')}/churn-risk"
    assert secret_api.get(path).data["model"] == "mbg-nbd/prior"
    fit = churn_refit(environment, TODAY)
    assert secret_api.get(path).data["model"] == "mbg-nbd/2026-05-31"
    stored = churn_part.of(at_version(environment))
    assert (stored.c0, stored.c1, stored.c2) == (fit.c0, fit.c1, fit.c2)
    assert fit.until == TODAY - timedelta(days=1)
    assert sum(each["players"] for each in fit.bins) == fit.tested < fit.players < 300
    assert (fit.c0, fit.c1, fit.c2) != (0, 1, 1)
    assert fit.before
    assert fit.before["model"]["players"] == fit.before["left"]["players"] == fit.tested
    assert fit.brier <= fit.before["left"]["brier"]
    assert 0 < fit.brier < fit.base_rate * (1 - fit.base_rate)


def test_newest_fit__is_used(environment: Environment, secret_api: Api) -> None:
    fill(environment, 300)
    for today in (TODAY, TODAY + timedelta(days=1)):
        churn_refit(environment, today)
    path = f"{PLAYERS}/{player_id_for(environment.namespace, 'p1')}/churn-risk"
    assert secret_api.get(path).data["model"] == "mbg-nbd/2026-06-01"
    assert ChurnFit.objects.count() == 2


def test_fewer_than_200_players_with_history__keep_the_prior(environment: Environment) -> None:
    fill(environment, 199)
    with pytest.raises(TooFewError, match=r"players existed 14 days ago; 200 are required"):
        churn_refit(environment, TODAY)
    assert not ChurnFit.objects.exists()


def test_command__fits_and_prints_the_backtest(
    environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandError, match="Not fitted: 0 players"):
        call_command("churn_fit", str(environment))
    fill(environment, 300, today=datetime.now(UTC).date())
    call_command("churn_fit", str(environment))
    output = capsys.readouterr()
    assert output.out.startswith("RISK FROM")
    assert "Brier score 0." in output.err
    assert "Fit: done" in output.err


def test_nightly_job__defers_one_job_per_environment(environment: Environment) -> None:
    fill(environment, 300, today=datetime.now(UTC).date())
    other = make_environment()
    with app.replace_connector(jobs := InMemoryConnector()):
        tasks.refit_nightly(timestamp=0)
    waiting = [job["args"] for job in jobs.jobs.values()]
    environment_ids = Environment.objects.values_list("pk", flat=True)
    assert sorted(job["environment_id"] for job in waiting) == sorted(environment_ids)
    for job in waiting:
        tasks.refit(**job)
    assert [fit.environment_id for fit in ChurnFit.objects.all()] == [environment.pk]
    other.project.delete()
    tasks.refit(environment_id=other.pk)  # deleted in the meantime


@pytest.mark.slow
def test_web_processes__load_no_scipy() -> None:
    code = (
        "import sys; import ilara_admin.wsgi, ilara_admin.urls, ilara_admin.api_urls;"
        "print([name for name in ('numpy', 'scipy') if name in sys.modules])"
    )
    assert django_output(code).strip() == "[]"

"""The churn model page before and after the first fit."""

from ilara_admin.models import Environment, Role
from players.churn_model.risk import RiskLevel
from players.churn_training import churn_refit
from players.models import ChurnFit
from players.record import level_in_backtest
from tests.pages import signed_in, text_of, url_of
from tests.players.test_churn_training import TODAY, fill


def test_page_without_a_fit__explains_the_prior_and_what_is_required(
    environment: Environment,
) -> None:
    text = text_of(signed_in(Role.VIEWER).get(url_of(environment, "churn_model")))
    assert "built-in values are used" in text
    assert "200 players of this environment are 14 days old" in " ".join(text.split())
    assert 'id="test-title"' not in text


def test_page_with_a_fit__shows_the_backtest_as_chart_and_table(
    environment: Environment,
) -> None:
    fill(environment, 300)
    fit = churn_refit(environment, TODAY)
    text = text_of(signed_in(Role.VIEWER).get(url_of(environment, "churn_model")))
    assert f"<strong>{fit.brier:.3f}</strong>" in text
    assert text.count("<div data-hit") == 20
    assert text.count('<th scope="row">') == 20 + 3
    assert fit.before
    for test in fit.before.values():
        assert f'<td class="num">{test["brier"]:.3f}</td>' in text
    assert "calibrated on the past of" in text
    fullest = max(fit.bins, key=lambda each: int(each["players"]))
    start = round(100 * fullest["start"])
    assert f"Risk {start} % to {start + 10} %, {fullest['players']} players\n" in text


def test_fit_of_a_version_that_did_not_calibrate__is_shown_as_such(
    environment: Environment,
) -> None:
    fill(environment, 300)
    fit = churn_refit(environment, TODAY)
    assert level_in_backtest(environment.pk, RiskLevel.HIGH) is not None
    ChurnFit.objects.filter(pk=fit.pk).update(before=None)
    text = text_of(signed_in(Role.VIEWER).get(url_of(environment, "churn_model")))
    assert "The next fit calibrates the risk." in text
    assert 'id="before-title"' not in text
    assert level_in_backtest(environment.pk, RiskLevel.HIGH) is None

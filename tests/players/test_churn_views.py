"""The page about the churn model, before and after the first fit."""

from ilara_admin.models import Environment, Role
from players.churn_training import churn_refit
from tests.pages import signed_in, text_of, url_of
from tests.players.test_churn_training import TODAY, fill


def test_without_a_fit__the_page_says_what_serves_and_what_is_missing(
    environment: Environment,
) -> None:
    text = text_of(signed_in(Role.VIEWER).get(url_of(environment, "churn_model")))
    assert "built-in values are used" in text
    assert "200 players of this environment are 14 days old" in " ".join(text.split())
    assert 'id="test-title"' not in text


def test_with_a_fit__the_page_shows_its_test_as_a_chart_and_a_table(
    environment: Environment,
) -> None:
    fill(environment, 300)
    fit = churn_refit(environment, TODAY)
    text = text_of(signed_in(Role.VIEWER).get(url_of(environment, "churn_model")))
    assert f"<strong>{fit.brier:.3f}</strong>" in text
    assert text.count("<rect data-hit") == 10
    assert text.count('<th scope="row">') == 10
    fullest = max(fit.bins, key=lambda each: int(each["players"]))
    assert f"{fullest['players']} players not seen" in text

"""Jobs about players. Each may be killed at any point and may run twice: a second fit stores the
same result again, and the latest counts."""

import logging
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from procrastinate.contrib.django import app
from procrastinate.exceptions import AlreadyEnqueued

from ilara_admin.core.jobs import RETRY
from ilara_admin.models import Environment
from players.churn_training import TooFewError, churn_refit
from players.days import days_count
from players.models import ValueFill
from players.values import fill_defer, values_fill

logger = logging.getLogger("ilara.players")


@app.periodic(cron="17 3 * * *")
@app.task(queueing_lock="players.refit_nightly", retry=RETRY, pass_context=False)
def refit_nightly(timestamp: int, **_: Any) -> None:
    """Defer one job per environment to refit its churn model. After a failure the environment
    continues with its old fit."""
    for environment_id in Environment.objects.values_list("pk", flat=True):
        with suppress(AlreadyEnqueued):
            refit.configure(queueing_lock=f"players.churn_training.{environment_id}").defer(
                environment_id=environment_id
            )


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="players.count_days", lock="players.count_days", pass_context=False)
def count_days(timestamp: int, **_: Any) -> None:
    """Count the players and purchases of the current day."""
    for environment in Environment.objects.all():
        days_count(environment, datetime.now(UTC))


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="players.fill_again", pass_context=False)
def fill_again(timestamp: int) -> None:
    """Defer again the jobs that complete searchable values and did not come to their end."""
    for environment_id in ValueFill.objects.values_list("environment_id", flat=True).distinct():
        fill_defer(environment_id)


@app.task(retry=RETRY, pass_context=False)
def fill_values(environment_id: int) -> None:
    """Complete the searchable values of one environment."""
    values_fill(environment_id)


@app.task(retry=RETRY, pass_context=False)
def refit(environment_id: int) -> None:
    """Fit one environment. Does nothing if it was deleted or has too few players."""
    environment = Environment.objects.filter(pk=environment_id).first()
    if environment is None:
        return
    try:
        fit = churn_refit(environment, datetime.now(UTC).date())
    except TooFewError as error:
        logger.info("churn not fitted environment=%s: %s", environment_id, error)
    else:
        logger.info(
            "churn fitted environment=%s players=%s brier=%.4f",
            environment_id, fit.players, fit.brier,
        )  # fmt: skip

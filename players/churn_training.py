"""Fits an environment's churn model to its own players and backtests the fit.

The backtest fits to the data as of TEST_DAYS ago, scores the players of that day and checks who
was active since. Each player row stores its active days, so the past state is exact.

SciPy is slow to import and large, so it is imported only to fit.
"""

from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from django.db import connection, transaction

from ilara_admin.core.changes import bump_config_version
from ilara_admin.core.progress import Progress, no_progress
from ilara_admin.models import Environment
from players.models import ChurnFit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENOUGH_PLAYERS = 200
TEST_DAYS = 14
MODEL: Final = "mbg"


@dataclass(frozen=True, slots=True)
class TooFewError(Exception):
    """Fewer than ENOUGH_PLAYERS existed TEST_DAYS days ago."""

    players: int

    def __str__(self) -> str:
        return (
            f"{self.players:,} players existed {TEST_DAYS} days ago; {ENOUGH_PLAYERS:,} are "
            "required. The documented prior is used until then."
        )


class Histories(NamedTuple):
    """One item per player in each array; churn_model.fit defines the first three. `silent` is 1 if
    the player was not active in the TEST_DAYS after."""

    frequency: "NDArray[np.int32]"
    recency: "NDArray[np.int32]"
    age: "NDArray[np.int32]"
    silent: "NDArray[np.int32]"


def churn_refit(
    environment: Environment, today: date, progress: Progress = no_progress
) -> ChurnFit:
    """Fit, backtest and store; the next request uses the new fit. Raises TooFewError.

    The current day is left out, as it is not over. Fits are not audited: their rows are the record.
    """
    until = today - timedelta(days=1)
    progress("Reading", 0, 2)
    past = histories(environment, until - timedelta(days=TEST_DAYS))
    if len(past.age) < ENOUGH_PLAYERS:
        raise TooFewError(len(past.age))
    progress("Reading", 1, 2)
    now = histories(environment, until)
    progress("Reading", 2, 2)

    from players.churn_model import fit

    progress("Backtest", 0, 1)
    old = fit.fit(past.frequency, past.recency, past.age, MODEL)
    alive = fit.p_alive(old, past.frequency, past.recency, past.age, MODEL)
    test = fit.backtest(1 - alive, past.silent)
    progress("Backtest", 1, 1)
    progress("Fit", 0, 1)
    found = fit.fit(now.frequency, now.recency, now.age, MODEL)
    progress("Fit", 1, 1)
    with transaction.atomic():
        stored = ChurnFit.objects.create(
            environment=environment,
            model=MODEL,
            until=until,
            players=len(now.age),
            r=found.r,
            alpha=found.alpha,
            a=found.a,
            b=found.b,
            log_likelihood=found.log_likelihood,
            days=TEST_DAYS,
            tested=test.players,
            brier=test.brier,
            base_rate=test.base_rate,
            bins=[asdict(each) for each in test.bins],
        )
        bump_config_version(environment)
    return stored


def histories(environment: Environment, until: date) -> Histories:
    """The histories at the end of the day `until` of all players first seen by then."""
    import numpy as np

    with connection.cursor() as cursor:
        cursor.execute(HISTORIES_SQL, {"environment": environment.pk, "until": until})
        rows = np.array(cursor.fetchall(), np.int32).reshape(-1, 5)
    return Histories(*np.repeat(rows[:, :4], rows[:, 4], axis=0).T)


# Equal histories are grouped with their count: there are far fewer of them than players.
HISTORIES_SQL = f"""
SELECT bit_count(known) - 1, length(rtrim(known::text, '0')) - 1, age,
       (bit_count(substring(activity FROM age + 2 FOR {TEST_DAYS})) = 0)::int, count(*)
FROM (
    SELECT activity, %(until)s - first_on AS age, substring(activity FOR %(until)s - first_on + 1)
        AS known
    FROM (SELECT activity, (first_seen_at AT TIME ZONE 'UTC')::date AS first_on
          FROM player WHERE environment_id = %(environment)s) p
    WHERE first_on <= %(until)s) p
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""

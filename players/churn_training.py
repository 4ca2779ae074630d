"""Fitting an environment's churn model to its own players, and testing the fit before it serves.

The test is a backtest: fit to what was known on a day in the past, score everybody who was there,
and see who came back in the days after. Each player's row keeps which days they were active on, so
the past is known exactly.

SciPy takes its time and its memory: it is imported when there is something to fit.
"""

from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from django.db import connection, transaction

from ilara_admin.core.progress import Progress, no_progress
from ilara_admin.core.projects import bump_config_version
from ilara_admin.models import Environment
from players.models import ChurnFit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENOUGH_PLAYERS = 200
TEST_DAYS = 14
MODEL: Final = "mbg"

# Told the step, how much of it is done, and how much there is.


@dataclass(frozen=True, slots=True)
class TooFewError(Exception):
    """There are only so many players with TEST_DAYS of history after them."""

    players: int

    def __str__(self) -> str:
        return (
            f"{self.players:,} players were there {TEST_DAYS} days ago; {ENOUGH_PLAYERS:,} are "
            "needed. Until then the documented prior serves."
        )


class Histories(NamedTuple):
    """A column each, for every player who was there: see churn_fit.py. `silent` says that the
    player was not active in the days after."""

    frequency: "NDArray[np.int32]"
    recency: "NDArray[np.int32]"
    age: "NDArray[np.int32]"
    silent: "NDArray[np.int32]"


def churn_refit(
    environment: Environment, today: date, progress: Progress = no_progress
) -> ChurnFit:
    """Fit, test and store; in force from the next request on. Raises TooFewError.

    The day under way is left out: it is not over. No entry in the audit log says what the rows of
    fits say themselves.
    """
    until = today - timedelta(days=1)
    progress("Reading", 0, 2)
    then = histories(environment, until - timedelta(days=TEST_DAYS))
    if len(then.age) < ENOUGH_PLAYERS:
        raise TooFewError(len(then.age))
    progress("Reading", 1, 2)
    now = histories(environment, until)
    progress("Reading", 2, 2)

    from players.churn_model import fit

    progress("Backtest", 0, 1)
    old = fit.fit(then.frequency, then.recency, then.age, MODEL)
    alive = fit.p_alive(old, then.frequency, then.recency, then.age, MODEL)
    test = fit.backtest(1 - alive, then.silent)
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
    """Of all players who were there on the day `until`, what was known at its end."""
    import numpy as np

    with connection.cursor() as cursor:
        cursor.execute(HISTORIES_SQL, {"environment": environment.pk, "until": until})
        rows = np.array(cursor.fetchall(), np.int32).reshape(-1, 5)
    return Histories(*np.repeat(rows[:, :4], rows[:, 4], axis=0).T)


# Equal histories are told once, with their number: there are far fewer of them than players.
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

"""Fits an environment's churn model to its own players and backtests the fit.

The backtest fits to the data as of RISK_DAYS ago, scores the players of that day and checks who
was active since. Each player row stores its active days, so the past state is exact. The same
outcomes calibrate the scores. In the test, the calibration of a player is that of the other half of
the players, so that no player is scored with knowledge of the own outcome.

SciPy is slow to import and large, so it is imported only to fit.
"""

from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from django.db import connection, transaction

from ilara_admin.core.changes import bump_config_version
from ilara_admin.core.progress import Progress, no_progress
from ilara_admin.models import Environment
from players.churn_model.risk import RISK_DAYS
from players.models import ChurnFit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENOUGH_PLAYERS = 200
MODEL: Final = "mbg"


@dataclass(frozen=True, slots=True)
class TooFewError(Exception):
    """Fewer than ENOUGH_PLAYERS existed RISK_DAYS days ago."""

    players: int

    def __str__(self) -> str:
        return (
            f"{self.players:,} players existed {RISK_DAYS} days ago; {ENOUGH_PLAYERS:,} are "
            "required. The documented prior is used until then."
        )


class Histories(NamedTuple):
    """One item per player in each array; churn_model.fit defines the first three. `silent` is 1 if
    the player was not active in the RISK_DAYS after. `half` is 0 or 1, by the player's id."""

    frequency: "NDArray[np.int32]"
    recency: "NDArray[np.int32]"
    age: "NDArray[np.int32]"
    silent: "NDArray[np.int32]"
    half: "NDArray[np.int32]"


def churn_refit(
    environment: Environment, today: date, progress: Progress = no_progress
) -> ChurnFit:
    """Fit, backtest and store; the next request uses the new fit. Raises TooFewError.

    The current day is left out, as it is not over. Fits are not audited: their rows are the record.
    """
    until = today - timedelta(days=1)
    progress("Reading", 0, 2)
    past = histories(environment, until - timedelta(days=RISK_DAYS))
    if len(past.age) < ENOUGH_PLAYERS:
        raise TooFewError(len(past.age))
    progress("Reading", 1, 2)
    now = histories(environment, until)
    progress("Reading", 2, 2)

    from players.churn_model import fit

    progress("Backtest", 0, 1)
    old = fit.fit(past.frequency, past.recency, past.age, MODEL)
    alive = fit.p_alive(old, past.frequency, past.recency, past.age, MODEL)
    model = fit.p_silent(old, past.frequency, past.recency, past.age)
    left, uncalibrated, test = (
        fit.backtest(scores, past.silent)
        for scores in (
            1 - alive,
            model,
            fit.cross_calibrated(model, past.silent, past.half),
        )
    )
    c0, c1, c2 = fit.calibrate(model, past.silent)
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
            c0=c0,
            c1=c1,
            c2=c2,
            days=RISK_DAYS,
            tested=test.players,
            brier=test.brier,
            base_rate=test.base_rate,
            bins=[asdict(each) for each in test.bins],
            before={"left": asdict(left), "model": asdict(uncalibrated)},
        )
        bump_config_version(environment)
    return stored


def histories(environment: Environment, until: date) -> Histories:
    """The histories at the end of the day `until` of all players first seen by then."""
    import numpy as np

    with connection.cursor() as cursor:
        cursor.execute(HISTORIES_SQL, {"environment": environment.pk, "until": until})
        rows = np.array(cursor.fetchall(), np.int32).reshape(-1, 6)
    return Histories(*np.repeat(rows[:, :5], rows[:, 5], axis=0).T)


# Equal histories are grouped with their count: there are far fewer of them than players.
HISTORIES_SQL = f"""
SELECT bit_count(known) - 1, length(rtrim(known::text, '0')) - 1, age,
       (bit_count(substring(activity FROM age + 2 FOR {RISK_DAYS})) = 0)::int, half,
       count(*)
FROM (
    SELECT activity, half, %(until)s - first_on AS age,
           substring(activity FOR %(until)s - first_on + 1) AS known
    FROM (SELECT activity, get_byte(uuid_send(id), 15) & 1 AS half,
                 (first_seen_at AT TIME ZONE 'UTC')::date AS first_on
          FROM player WHERE environment_id = %(environment)s) p
    WHERE first_on <= %(until)s) p
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"""

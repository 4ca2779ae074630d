"""The risk in SQL equals the one of Python, for players and parameters at the limits."""

from datetime import UTC, datetime, timedelta
from math import exp

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from players.builtin_fields import risk_sql
from players.churn_model.fit import BOUND
from players.churn_model.risk import PRIOR, Parameters, score_at

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LOGS = st.floats(-BOUND, BOUND).map(exp)
CURVES = st.floats(-2, 2).map(exp)
FITS = st.builds(
    Parameters, r=LOGS, alpha=LOGS, a=LOGS, b=LOGS, c0=st.floats(-10, 10), c1=CURVES, c2=CURVES
)


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.just(PRIOR) | FITS, st.integers(0, 700), st.integers(-1, 700), st.data())
def test_risk_sql__agrees_with_score_at(
    db: None, parameters: Parameters, recency: int, silence: int, data: st.DataObject
) -> None:
    active_days = data.draw(st.integers(0, recency + 1))
    last = NOW - timedelta(days=silence)
    first = last - timedelta(days=recency)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT {risk_sql("%(now)s::timestamptz", parameters)} FROM (
                SELECT %(first)s::timestamptz AS first_seen_at, %(last)s::date AS last_active_on,
                    %(days)s AS active_days) p""",
            {"now": NOW, "first": first, "last": last.date(), "days": active_days},
        )
        (found,) = cursor.fetchone()
    expected = score_at(
        parameters, first_on=first.date(), last_on=last.date(), active_days=active_days,
        today=NOW.date(),
    )  # fmt: skip
    assert float(found) == expected

"""The stage in SQL equals lifecycle.stage_at. The filter of the list is tested with the list."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from players.builtin_fields import stage_sql
from players.lifecycle import History, Thresholds, stage_at

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


THRESHOLDS = st.builds(
    Thresholds, st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)
)  # in any order: stage_at is total


@st.composite
def moments(draw: st.DrawFn) -> tuple[History, Thresholds]:
    """A history with times at thresholds, next to them, or anywhere."""
    thresholds = draw(THRESHOLDS)
    edges = [0, thresholds.new_days, thresholds.at_risk_days, thresholds.churned_days]
    ago = st.one_of(
        st.builds(
            lambda days, off: timedelta(days=days) + off,
            st.sampled_from(edges),
            st.sampled_from([-MOMENT, timedelta(), MOMENT]),
        ),
        st.timedeltas(timedelta(), timedelta(days=60)),
    )
    last, first = sorted([NOW - draw(ago), NOW - draw(ago)], reverse=True)
    returned = draw(st.none() | ago)
    back = None if returned is None else NOW - returned
    return History(first, last, first, back), thresholds


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moments())
def test_stage_sql__agrees_with_stage_at(db: None, drawn: tuple[History, Thresholds]) -> None:
    history, thresholds = drawn
    values = {
        "now": NOW,
        "first": history.first_seen_at,
        "last": history.last_seen_at,
        "back": history.returned_at,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT {stage_sql("%(now)s::timestamptz", thresholds)} FROM (
                SELECT %(first)s::timestamptz AS first_seen_at, %(last)s::timestamptz
                    AS last_seen_at, %(back)s::timestamptz AS returned_at) p""",
            values,
        )
        assert cursor.fetchone() == (stage_at(history, thresholds, NOW),)

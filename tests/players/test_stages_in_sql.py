"""The stage in SQL, as filter and expression, equals lifecycle.stage_at."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ilara_admin.models import Environment
from players.builtin_fields import stage_sql
from players.lifecycle import History, Stage, Thresholds, stage_at
from players.models import Player
from tests.factories import make_player

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


def around(days: int) -> list[timedelta]:
    """Durations at a threshold and on both sides of it."""
    edge = timedelta(days=days)
    return [edge - MOMENT, edge, edge + MOMENT]


@pytest.mark.parametrize(
    "thresholds",
    [
        Thresholds(),
        Thresholds(new_days=3, at_risk_days=5, churned_days=14),
        Thresholds(new_days=20, at_risk_days=7, churned_days=7),
        Thresholds(new_days=1, at_risk_days=30, churned_days=10),
    ],
)
def test_in_stage__agrees_with_stage_at(environment: Environment, thresholds: Thresholds) -> None:
    silences = [
        timedelta(0),
        *around(thresholds.at_risk_days),
        *around(thresholds.churned_days),
        *around(thresholds.new_days),
    ]
    players = []
    for number, (last, first, back) in enumerate(
        product(silences, [timedelta(0), *around(thresholds.new_days)], [None, *silences])
    ):
        players.append(
            make_player(
                environment,
                f"p{number}",
                last_seen_at=NOW - last,
                first_seen_at=NOW - last - first,
                returned_at=None if back is None else NOW - back,
            )
        )
    found = Player.objects.of(environment)
    for stage in Stage:
        expected = {each.pk for each in players if stage_at(each.history, thresholds, NOW) is stage}
        assert set(found.in_stage(stage, thresholds, NOW).values_list("pk", flat=True)) == expected


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

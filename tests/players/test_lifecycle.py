from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from players.lifecycle import History, Stage, Thresholds, lifecycle_at, stage_at

START = datetime(2026, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


NEWCOMER = History(day(0), day(0), day(0))
REGULAR = History(day(0), day(100), day(0))
RETURNED = History(day(0), day(100), day(100), day(100))


@pytest.mark.parametrize(
    ("history", "boundary", "before", "after"),
    [
        (NEWCOMER, day(7), Stage.NEW, Stage.AT_RISK),
        (NEWCOMER, day(30), Stage.AT_RISK, Stage.CHURNED),
        (History(day(0), day(5), day(0)), day(7), Stage.NEW, Stage.ACTIVE),
        (History(day(0), day(5), day(0)), day(12), Stage.ACTIVE, Stage.AT_RISK),
        (REGULAR, day(107), Stage.ACTIVE, Stage.AT_RISK),
        (REGULAR, day(130), Stage.AT_RISK, Stage.CHURNED),
        (History(day(0), day(105), day(100), day(100)), day(107), Stage.REACTIVATED, Stage.ACTIVE),
        (RETURNED, day(107), Stage.REACTIVATED, Stage.AT_RISK),
    ],
)
def test_boundary__belongs_to_the_later_stage(
    history: History, boundary: datetime, before: Stage, after: Stage
) -> None:
    assert stage_at(history, Thresholds(), boundary - TICK) == before
    assert stage_at(history, Thresholds(), boundary) == after


def test_last_seen_in_the_future__is_not_inactive() -> None:
    assert stage_at(NEWCOMER, Thresholds(), day(-1)) == Stage.NEW


def test_reactivated__comes_before_new() -> None:
    thresholds = Thresholds(new_days=60, at_risk_days=7, churned_days=30)
    assert (
        stage_at(History(day(0), day(40), day(40), day(40)), thresholds, day(41)) == "reactivated"
    )


def test_new_player__is_at_risk_next() -> None:
    life = lifecycle_at(NEWCOMER, Thresholds(), day(1))
    assert (life.stage, life.since) == (Stage.NEW, day(0))
    assert (life.next_stage, life.next_at) == (Stage.AT_RISK, day(7))


def test_churned_player__churned_at_the_threshold_and_has_no_next_stage() -> None:
    life = lifecycle_at(REGULAR, Thresholds(), day(200))
    assert (life.stage, life.since) == (Stage.CHURNED, day(130))
    assert (life.next_stage, life.next_at) == (None, None)


def test_active_player__is_active_since_no_longer_new() -> None:
    life = lifecycle_at(REGULAR, Thresholds(), day(101))
    assert (life.stage, life.since) == (Stage.ACTIVE, day(7))
    assert (life.next_stage, life.next_at) == (Stage.AT_RISK, day(107))


def test_player_back_from_at_risk__is_active_since_the_return() -> None:
    assert lifecycle_at(History(day(0), day(60), day(50)), Thresholds(), day(61)).since == day(50)


def test_reactivated_player__is_reactivated_since_the_return() -> None:
    life = lifecycle_at(RETURNED, Thresholds(), day(103))
    assert (life.stage, life.since) == (Stage.REACTIVATED, day(100))
    assert (life.next_stage, life.next_at) == (Stage.AT_RISK, day(107))


def test_inactive_player__passes_the_stages_in_order() -> None:
    moment, seen = day(0), [Stage.NEW]
    while (life := lifecycle_at(NEWCOMER, Thresholds(new_days=3), moment)).next_at is not None:
        assert life.next_stage is not None
        seen.append(life.next_stage)
        moment = life.next_at
    assert seen == [Stage.NEW, Stage.ACTIVE, Stage.AT_RISK, Stage.CHURNED]


# --- Properties -----------------------------------------------------------------------------------

DAYS = st.integers(min_value=1, max_value=60)
THRESHOLDS = st.builds(Thresholds, DAYS, DAYS, DAYS)
GAPS = st.timedeltas(timedelta(0), timedelta(days=90)) | st.integers(0, 90).map(
    lambda days: timedelta(days=days)
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[History, datetime]:
    """A history that the SQL statements can produce, and a later time."""
    first = START
    returned = draw(st.none() | GAPS.map(lambda gap: first + gap))
    active_since = (returned or first) + draw(GAPS)
    last = active_since + draw(GAPS)
    return History(first, last, active_since, returned), last + draw(GAPS)


@settings(max_examples=300)
@given(histories(), THRESHOLDS)
def test_next_stage__begins_exactly_at_its_time(
    drawn: tuple[History, datetime], thresholds: Thresholds
) -> None:
    history, now = drawn
    life = lifecycle_at(history, thresholds, now)
    assert life.stage == stage_at(history, thresholds, now)
    if life.next_at is None:
        assert life.next_stage is None
        assert stage_at(history, thresholds, day(10_000)) == life.stage == Stage.CHURNED
        return
    assert life.next_at > now
    assert life.next_stage != life.stage
    assert stage_at(history, thresholds, life.next_at) == life.next_stage
    assert stage_at(history, thresholds, life.next_at - TICK) == life.stage


@settings(max_examples=300)
@given(histories(), THRESHOLDS, st.floats(0, 1))
def test_stage__has_applied_since_its_start(
    drawn: tuple[History, datetime], thresholds: Thresholds, share: float
) -> None:
    history, now = drawn
    life = lifecycle_at(history, thresholds, now)
    assert history.active_since <= life.since <= now
    between = life.since + (now - life.since) * share
    assert stage_at(history, thresholds, between) == life.stage


@settings(max_examples=300)
@given(histories(), THRESHOLDS)
def test_stage__matches_its_definition(
    drawn: tuple[History, datetime], thresholds: Thresholds
) -> None:
    """Implements the table in the module's docstring a second time."""
    history, now = drawn
    silent = now - history.last_seen_at
    fresh = timedelta(days=thresholds.new_days)
    churned = silent >= timedelta(days=thresholds.churned_days)
    at_risk = not churned and silent >= timedelta(days=thresholds.at_risk_days)
    back = history.returned_at is not None and now - history.returned_at < fresh
    young = now - history.first_seen_at < fresh
    holds = {
        Stage.CHURNED: churned,
        Stage.AT_RISK: at_risk,
        Stage.REACTIVATED: not churned and not at_risk and back,
        Stage.NEW: not churned and not at_risk and not back and young,
        Stage.ACTIVE: not churned and not at_risk and not back and not young,
    }
    assert [stage for stage, true in holds.items() if true] == [stage_at(history, thresholds, now)]

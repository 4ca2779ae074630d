"""The figures of every UTC day equal a count in plain Python over the rows of the sample game."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from ilara_admin.core.progress import no_progress
from ilara_admin.demo.fill import demo_fill
from ilara_admin.models import Environment
from players.days import SETTLED, days_count
from players.erasure import player_delete
from players.figures import ATTRIBUTES, TOP_VALUES, day_end
from players.late_days import SESSIONS_EVERY
from players.models import (
    Dimension,
    FiguresState,
    LateDay,
    Player,
    PlayerCohort,
    PlayerDay,
    PlayerSession,
    Purchase,
)
from players.retention import AFTER, is_due
from players.services import purchase_refund, purchase_refund_undo
from tests.factories import ACTOR, make_environment, make_player

NOW = datetime.now(UTC)
TODAY = NOW.date()
COLUMNS = ("active", "new", "sessions", "purchases", "payers", "revenue", "unverified")

type Facts = dict[tuple[date, str, str], list[Any]]


class Life:
    """What one player did, by UTC day."""

    def __init__(self, player: Player) -> None:
        self.first = player.first_seen_at.date()
        bits = enumerate(player.activity)
        self.active = {self.first + timedelta(days=at) for at, bit in bits if bit == "1"}
        self.sessions = Counter(each.started_at.date() for each in player.sessions.all())
        self.bought: dict[date, list[Purchase]] = {}
        for each in player.purchases.all():
            if each.counted and not each.refunded_at:
                self.bought.setdefault(each.received_at.date(), []).append(each)
        self.player = player

    def on(self, day: date) -> tuple[Any, ...] | None:
        """COLUMNS of a day, or None if nothing happened."""
        bought = self.bought.get(day, [])
        if not (day in self.active or self.sessions[day] or bought):
            return None
        return (
            day in self.active, day == self.first, self.sessions[day], len(bought), bool(bought),
            sum(each.amount for each in bought),
            sum(each.amount for each in bought if not each.verified),
        )  # fmt: skip

    def labels(self, dimensions: Iterable[Dimension]) -> list[tuple[str, str]]:
        given = self.player.attributes
        named = [(each, str(given.get(ATTRIBUTES[each]) or "")) for each in dimensions]
        return [("", ""), *named]


def lives(environment: Environment) -> list[Life]:
    players = Player.objects.of(environment).prefetch_related("sessions", "purchases")
    return [Life(each) for each in players]


def days_of(players: Iterable[Life]) -> list[date]:
    start = min(each.first for each in players)
    return [start + timedelta(days=number) for number in range((TODAY - start).days + 1)]


def counted_in_python(environment: Environment) -> Facts:
    """What happened on each day, by dimension and value: COLUMNS, weekly and monthly players."""
    players = lives(environment)
    found: Facts = {}
    for day in days_of(players):
        found[day, "", ""] = [0] * 7
        for player in players:
            if (facts := player.on(day)) is None:
                continue
            for label in player.labels(ATTRIBUTES):
                row = found.setdefault((day, *label), [0] * 7)
                row[:] = [known + new for known, new in zip(row, facts, strict=True)]
        for length in (7, 30):
            window = {day - timedelta(days=number) for number in range(length)}
            found[day, "", ""].append(sum(1 for each in players if each.active & window))
    return found


def counted_by_the_job(environment: Environment) -> Facts:
    found: Facts = {}
    for each in PlayerDay.objects.filter(environment=environment):
        row = [getattr(each, name) for name in COLUMNS]
        if not each.dimension:
            row += [each.weekly, each.monthly]
        found[each.day, each.dimension, each.value] = row
    return found


def cohorts_in_python(environment: Environment) -> Facts:
    players = lives(environment)
    found: Facts = {}
    for day in days_of(players)[:-1]:
        later = [day + timedelta(days=after) for after in AFTER]
        empty = [0, *(0 if each < TODAY else None for each in later)]
        found[day, "", ""] = [*empty]
        for player in players:
            if player.first != day:
                continue
            for label in player.labels((Dimension.COUNTRY, Dimension.PLATFORM)):
                row = found.setdefault((day, *label), [*empty])
                row[0] += 1
                for at, each in enumerate(later, start=1):
                    if row[at] is not None:
                        row[at] += each in player.active
    return found


def cohorts_by_the_job(environment: Environment) -> Facts:
    return {
        (each.day, each.dimension, each.value): [
            each.players,
            *(getattr(each, f"day_{after}") for after in AFTER),
        ]
        for each in PlayerCohort.objects.filter(environment=environment)
    }


def settled(now: datetime = NOW) -> datetime:
    """A time today at which yesterday is final."""
    return max(now, day_end(TODAY - timedelta(days=1)) + SETTLED)


@pytest.fixture
def settles_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Yesterday is final from midnight on: else these tests would fail in the minutes after it."""
    monkeypatch.setattr("players.days.SETTLED", timedelta())


@pytest.fixture
def game(environment: Environment) -> Environment:
    """The sample game with 60 players."""
    demo_fill(environment.project, ACTOR, no_progress, size=60, now=NOW)
    return environment


@pytest.mark.slow
def test_every_day_of_the_sample_game__equals_a_count_in_python(game: Environment) -> None:
    stranger = make_player(make_environment(), "stranger", attributes={"country": "PT"})
    PlayerSession.objects.create(player=stranger, digest=b"x", started_at=NOW)
    assert Purchase.objects.filter(environment=game).exists()
    days_count(game, settled())
    assert counted_by_the_job(game) == counted_in_python(game)
    assert cohorts_by_the_job(game) == cohorts_in_python(game)
    assert len(days_of(lives(game))) > 100
    state = FiguresState.objects.get(environment=game)
    assert sum(state.stages.values()) == 60


def late_sessions(environment: Environment) -> None:
    for player in Player.objects.of(environment)[:3]:
        PlayerSession.objects.create(
            player=player, digest=b"late", started_at=NOW - timedelta(days=3)
        )
    FiguresState.objects.update(sessions_until=NOW - SESSIONS_EVERY - SETTLED)


def refunds(environment: Environment) -> None:
    for purchase in Purchase.objects.filter(environment=environment, refunded_at=None)[:2]:
        purchase_refund(purchase.player, purchase.audit_name, actor=ACTOR)


def reversals(environment: Environment) -> None:
    purchase = Purchase.objects.filter(environment=environment).first()
    assert purchase
    purchase_refund(purchase.player, purchase.audit_name, actor=ACTOR)
    days_count(environment, settled())
    purchase_refund_undo(purchase.player, purchase.audit_name, actor=ACTOR)


def erasures(environment: Environment) -> None:
    player = Player.objects.of(environment).order_by("first_seen_at").first()
    assert player
    player_delete(player, actor=ACTOR)


@pytest.mark.usefixtures("settles_at_once")
@pytest.mark.parametrize("change", [late_sessions, refunds, reversals, erasures])
def test_late_data__rebuilds_the_days_that_it_changes(
    change: Callable[[Environment], None], environment: Environment
) -> None:
    for number in range(6):
        first = NOW - timedelta(days=9 + number)
        player = make_player(
            environment, f"p{number}", first_seen_at=first, last_seen_at=NOW, active_days=5
        )
        Purchase.objects.create(
            player=player, environment=environment, digest=bytes([number]) * 16, amount=3,
            currency="USD", counted=True, verified=False, received_at=NOW - timedelta(days=2),
        )  # fmt: skip
    days_count(environment, settled())
    PlayerDay.objects.exclude(day=TODAY).update(counted_at=NOW)
    before = counted_by_the_job(environment)
    assert days_count(environment, settled()) <= 1  # the current day
    change(environment)
    counted = days_count(environment, settled())
    assert counted < 8 or change is erasures
    assert counted_by_the_job(environment) == counted_in_python(environment)
    assert cohorts_by_the_job(environment) == cohorts_in_python(environment)
    assert (counted_by_the_job(environment) != before) == (change is not reversals)
    assert not LateDay.objects.exists()


def test_last_player_who_is_erased__leaves_no_figures(environment: Environment) -> None:
    player = make_player(environment, first_seen_at=NOW - timedelta(days=2), last_seen_at=NOW)
    days_count(environment, settled())
    player_delete(player, actor=ACTOR)
    days_count(environment, settled())
    assert not PlayerDay.objects.exists()
    assert not PlayerCohort.objects.exists()
    assert not LateDay.objects.exists()


def test_breakdown__has_the_values_with_the_most_players(environment: Environment) -> None:
    for number in range(TOP_VALUES + 5):
        for each in range(1 + (number < 2)):
            attributes = {"app_version": f"1.{number}", "country": None}
            make_player(environment, f"p{number}-{each}", attributes=attributes)
    days_count(environment, settled())
    rows = PlayerDay.objects.filter(environment=environment)
    versions = dict(rows.filter(dimension=Dimension.VERSION).values_list("value", "active"))
    assert len(versions) == TOP_VALUES
    assert Counter(versions.values()) == {2: 2, 1: TOP_VALUES - 2}
    assert list(rows.filter(dimension=Dimension.COUNTRY).values_list("value")) == [("",)]


@pytest.mark.usefixtures("settles_at_once")
def test_long_history__is_counted_in_several_runs_newest_first(environment: Environment) -> None:
    make_player(environment, first_seen_at=NOW - timedelta(days=9), active_days=4)
    for known in (2, 3):
        days_count(environment, settled(), seconds=0)
        days = PlayerDay.objects.filter(dimension="").order_by("-day").values_list("day", flat=True)
        assert list(days) == [TODAY - timedelta(days=number) for number in range(known)]
    with connection.cursor() as cursor:  # as an older version left it
        cursor.execute("UPDATE player_day SET sessions = NULL")
    days_count(environment, settled())
    assert counted_by_the_job(environment) == counted_in_python(environment)


def test_cohort__is_counted_when_one_of_its_days_has_ended() -> None:
    day = date(2026, 1, 1)
    due, until = [], None
    for number in range(40):
        last = day + timedelta(days=number)
        if is_due(day, until, last):
            due.append(number)
            until = last
    assert due == [0, *AFTER]
    assert is_due(day, day, day + timedelta(days=2))
    assert not is_due(day, None, day - timedelta(days=1))

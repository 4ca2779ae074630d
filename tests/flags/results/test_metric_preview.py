"""The preview of a metric: a plain recount over all players, and figures at a bounded cost."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from events.models import Event, EventHour, EventName
from flags.results import metric_preview as previews
from flags.results.metric_definition import NOTHING
from flags.results.metric_preview import DAYS, day_figures, metric_preview
from ilara_admin.models import Environment
from players.models import Player, PlayerDay, PlayerSession, Purchase
from tests.factories import make_environment, make_player

NOW = datetime.now(UTC)
TODAY = NOW.date()
STARS = {"operator": "AND", "conditions": [{"field": "stars", "operator": ">=", "value": 2}]}
ONE, TWO = UUID(int=1), UUID(int=2)


def defined(kind: str, **fields: Any) -> dict[str, Any]:
    return {**NOTHING, "kind": kind, **fields}


# --- Pure -----------------------------------------------------------------------------------------


def test_figures__count_idle_players_as_0() -> None:
    (found,) = day_figures([TODAY], {TODAY: {ONE, TWO}}, {TODAY: {ONE: 3.0}}, defined("count"))
    assert (found.players, found.total, found.mean) == (2, 3.0, 1.5)


def test_figures__leave_out_players_without_a_mean() -> None:
    (found,) = day_figures([TODAY], {TODAY: {ONE, TWO}}, {TODAY: {ONE: 3.0}}, defined("mean"))
    assert (found.players, found.mean) == (1, 3.0)


def test_figures__have_no_mean_without_players() -> None:
    (found,) = day_figures([TODAY], {}, {}, defined("count"))
    assert found.mean is None


@pytest.mark.parametrize(("percentile", "total"), [(None, 110.0), (80, 14.0), (50, 12.0)])
def test_figures__are_cut_at_the_nearest_rank(percentile: float | None, total: float) -> None:
    values = {UUID(int=number): float(value) for number, value in enumerate((2, 2, 2, 4, 100))}
    definition = defined("sum", percentile=percentile)
    (found,) = day_figures([TODAY], {}, {TODAY: values}, definition)
    assert found.total == (10.0 if percentile == 50 else total)


# --- On rows --------------------------------------------------------------------------------------


class Game:
    """Players who were active on some days, with events, sessions and purchases on these."""

    def __init__(self) -> None:
        random = Random(7)
        self.environment = make_environment()
        self.players = [self._player(f"p-{number}", random) for number in range(8)]
        for player in self.players:
            for day in self.active_days(player):
                self._play(player, day, random)

    def _player(self, name: str, random: Random) -> Player:
        bits = "1" + "".join(random.choice("01") for _ in range(24)) + "1"
        last = TODAY - timedelta(days=random.randrange(6))
        first = last - timedelta(days=len(bits) - 1)
        return make_player(
            self.environment,
            name,
            first_seen_at=datetime(first.year, first.month, first.day, 12, tzinfo=UTC),
            last_seen_at=datetime(last.year, last.month, last.day, tzinfo=UTC),
            activity=bits,
            active_days=bits.count("1"),
        )

    def active_days(self, player: Player) -> set[date]:
        first = player.first_seen_at.date()
        return {
            first + timedelta(days=place) for place, bit in enumerate(player.activity) if bit == "1"
        }

    def _play(self, player: Player, day: date, random: Random) -> None:
        at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=1)
        for number in range(random.choice((0, 1, 3))):
            Event.objects.create(
                id=Event.objects.count() + 1, environment_id=self.environment.pk,
                player_id=player.pk, event_id=f"{uuid4()}", name=random.choice(("win", "lose")),
                properties={"stars": random.choice((1, 2, 3, "many")), "n": number},
                occurred_at=at, received_at=at,
            )  # fmt: skip
            PlayerSession.objects.create(
                player=player, digest=uuid4().bytes, started_at=at, received_at=at
            )
            Purchase.objects.create(
                player=player, environment=self.environment, digest=uuid4().bytes, amount=5,
                currency="USD", counted=random.random() < 0.8, verified=True, received_at=at,
                refunded_at=at if random.random() < 0.3 else None,
            )  # fmt: skip

    def value(self, player: Player, day: date, definition: dict[str, Any]) -> float | None:
        """The plain definition of a player's value."""
        bought = [
            each.amount
            for each in player.purchases.all()
            if each.received_at.date() == day and each.counted and not each.refunded_at
        ]
        events = [
            each.properties
            for each in Event.objects.filter(player_id=player.pk, name=definition["event"])
            if each.received_at.date() == day
        ]
        if definition["conditions"]:
            events = [each for each in events if each["stars"] in (2, 3)]
        numbers: list[float] = [each["stars"] for each in events if each["stars"] != "many"]
        match definition["kind"]:
            case "count":
                return len(events)
            case "share":
                return bool(events)
            case "sum":
                return sum(numbers)
            case "mean":
                return sum(numbers) / len(numbers) if numbers else None
            case "revenue":
                return float(sum(bought))
            case "payers":
                return bool(bought)
            case "sessions":
                return sum(each.started_at.date() == day for each in player.sessions.all())
        later = day + timedelta(days=definition["window_days"])
        return later in self.active_days(player)


@pytest.fixture(scope="module")
def game(django_db_setup: None, django_db_blocker: Any) -> Iterator[Game]:
    from django.db import transaction

    with django_db_blocker.unblock(), transaction.atomic():
        yield Game()
        transaction.set_rollback(True)


KINDS = [
    defined("count", event="win"),
    defined("count", event="win", conditions=STARS),
    defined("share", event="lose"),
    defined("sum", event="win", property="stars"),
    defined("sum", event="win", property="stars", conditions=STARS),
    defined("mean", event="win", property="stars"),
    defined("revenue"),
    defined("payers"),
    defined("sessions"),
    defined("retention", window_days=1),
    defined("retention", window_days=3),
]


@pytest.mark.parametrize("definition", KINDS, ids=str)
def test_preview__equals_a_plain_count(definition: dict[str, Any], game: Game) -> None:
    found = metric_preview(game.environment, definition, "", NOW)
    assert found.source == "all"
    window = definition["window_days"]
    last = TODAY - timedelta(days=window + 1) if window else TODAY
    assert [each.day for each in found.days] == [
        last - timedelta(days=ago) for ago in reversed(range(DAYS))
    ]
    for each in found.days:
        active = [player for player in game.players if each.day in game.active_days(player)]
        values = [game.value(player, each.day, definition) for player in active]
        known = [value for value in values if value is not None]
        assert each.players == len(known)
        assert each.total == pytest.approx(sum(known))
    assert any(each.total for each in found.days)
    assert found.mean_text
    assert found.chart.columns


def test_many_players__are_sampled(game: Game, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = previews.SAMPLE_SQL.replace(f"LIMIT {previews.SAMPLED_PLAYERS}", "LIMIT 5")
    monkeypatch.setattr(previews, "SAMPLE_SQL", sql)
    monkeypatch.setattr(previews, "SAMPLED_PLAYERS", 5)
    found = metric_preview(game.environment, defined("share", event="win"), "", NOW)
    assert (found.source, found.players) == ("sample", 5)
    again = metric_preview(game.environment, defined("share", event="win"), "", NOW)
    assert again.days == found.days


@pytest.mark.parametrize(
    ("definition", "total"),
    [
        (defined("count", event="win"), 30.0),
        (defined("revenue"), 120.0),
        (defined("payers"), 4.0),
    ],
    ids=str,
)
def test_many_players__are_counted_from_rollups_where_these_suffice(
    definition: dict[str, Any], total: float, monkeypatch: pytest.MonkeyPatch, db: None
) -> None:
    monkeypatch.setattr(previews, "SAMPLED_PLAYERS", 0)
    environment: Environment = make_environment()
    PlayerDay.objects.create(
        environment=environment, day=TODAY, active=40, new=1, purchases=9, payers=4, revenue=120,
        counted_at=NOW,
    )  # fmt: skip
    name = EventName.objects.create(
        environment=environment, name="win", first_seen_at=NOW, last_seen_at=NOW, count=30
    )
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    for hour, count in ((0, 10), (1, 20), (-1, 7)):
        start = midnight + timedelta(hours=hour)
        EventHour.objects.create(environment=environment, event_name=name, start=start, count=count)
    found = metric_preview(environment, definition, "", NOW)
    assert found.source == "counts"
    assert (found.days[-1].players, found.days[-1].total) == (40, total)
    assert found.days[-2].mean is None
    conditional = {**definition, "percentile": 99}
    assert metric_preview(environment, conditional, "", NOW).source == "sample"

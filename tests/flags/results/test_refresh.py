"""Results equal a plain recomputation from the raw rows, whatever arrives in which order."""

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from math import isclose
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone

from events import rollups
from flags.engine.document import Rule, Slice, boolean_document
from flags.models import (
    Experiment,
    ExperimentDay,
    ExperimentMetric,
    ExperimentResult,
    ExperimentState,
    Exposure,
    Flag,
    Metric,
    MetricKind,
    ResultRefresh,
)
from flags.results import refresh
from flags.results.refresh import refresh_until, results_rebuild
from flags.services import flag_create, flag_update
from ilara_admin.core.horizon import Horizon
from ilara_admin.models import Environment
from players.aliases import player_alias_link
from players.erasure import player_delete
from players.models import Player
from players.services import purchase_refund, purchase_refund_undo
from tests.api_client import EVENTS, PLAYERS, Api
from tests.factories import ACTOR, make_experiment, make_exposure, make_metric, make_player

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
SPLIT = (Slice("enabled", 0, 50_000), Slice("disabled", 50_000, 100_000))


def on(name: str, operator: str, value: Any) -> dict[str, Any]:
    condition = {"field": name, "operator": operator, "value": value}
    return {"operator": "AND", "conditions": [condition]}


@pytest.fixture
def flag(environment: Environment) -> Flag:
    document = boolean_document(enabled=True, rules=(Rule(id="r1", split=SPLIT),))
    return flag_create(environment=environment, key="button", document=document, actor=ACTOR)


def horizon(now: datetime) -> Horizon:
    """All events so far: no transaction is open besides that of the test."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM event")
        return Horizon(cursor.fetchone()[0], now)


def rows(sql: str, *params: Any) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


# --- A game at random -----------------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    "count": {"kind": MetricKind.COUNT, "event": "level"},
    "count-window": {"kind": MetricKind.COUNT, "event": "level", "window_days": 2},
    "count-where": {
        "kind": MetricKind.COUNT,
        "event": "level",
        "conditions": on("stars", ">=", 2),
        "percentile": 80.0,
    },
    "share": {"kind": MetricKind.SHARE, "event": "shop"},
    "share-where": {
        "kind": MetricKind.SHARE,
        "event": "level",
        "conditions": on("item.name", "==", "sword"),
        "window_days": 1,
    },
    "sum": {"kind": MetricKind.SUM, "event": "level", "property": "coins"},
    "sum-capped": {
        "kind": MetricKind.SUM,
        "event": "level",
        "property": "coins",
        "percentile": 90.0,
        "window_days": 3,
    },
    "sum-path": {
        "kind": MetricKind.SUM,
        "event": "shop",
        "property": "item.price",
        "conditions": on("item.name", "!=", "bow"),
    },
    "mean": {"kind": MetricKind.MEAN, "event": "shop", "property": "coins"},
    "mean-capped": {
        "kind": MetricKind.MEAN,
        "event": "level",
        "property": "coins",
        "percentile": 75.0,
    },
    "mean-window": {
        "kind": MetricKind.MEAN,
        "event": "level",
        "property": "coins",
        "conditions": on("stars", "<", 3),
        "window_days": 2,
    },
    "revenue": {"kind": MetricKind.REVENUE},
    "revenue-capped": {"kind": MetricKind.REVENUE, "percentile": 85.0},
    "revenue-window": {"kind": MetricKind.REVENUE, "window_days": 1},
    "payers": {"kind": MetricKind.PAYERS},
    "payers-window": {"kind": MetricKind.PAYERS, "window_days": 3},
    "sessions": {"kind": MetricKind.SESSIONS},
    "sessions-window": {"kind": MetricKind.SESSIONS, "window_days": 2, "percentile": 95.0},
    "retention-1": {"kind": MetricKind.RETENTION, "window_days": 1},
    "retention-3": {"kind": MetricKind.RETENTION, "window_days": 3},
}
WHERE: dict[str, Callable[[dict[str, Any]], bool]] = {
    "count-where": lambda it: number(it.get("stars")) is not None and it["stars"] >= 2,
    "share-where": lambda it: isinstance(it.get("item"), dict) and it["item"]["name"] == "sword",
    "sum-path": lambda it: not (isinstance(it.get("item"), dict) and it["item"]["name"] == "bow"),
    "mean-window": lambda it: number(it.get("stars")) is not None and it["stars"] < 3,
}


@dataclass
class Game:
    """A game whose days pass; `now` is the time up to which everything has happened."""

    environment: Environment
    dice: random.Random
    now: datetime
    players: list[Player] = field(default_factory=list)
    experiments: list[Experiment] = field(default_factory=list)

    def join(self, count: int) -> None:
        for _ in range(count):
            seen = self.now - self.dice.random() * 6 * DAY
            player = make_player(
                self.environment, uuid4().hex, first_seen_at=seen, last_seen_at=seen,
                attributes={"level": self.dice.randrange(20)},
            )  # fmt: skip
            self.players.append(player)

    def expose(self, count: int) -> None:
        for experiment in self.experiments:
            known = set(Exposure.objects.values_list("player_id", flat=True).filter(
                experiment=experiment
            ))  # fmt: skip
            fresh = [player for player in self.players if player.pk not in known]
            for player in self.dice.sample(fresh, min(count, len(fresh))):
                variant, other = self.dice.sample(["enabled", "disabled"], 2)
                make_exposure(
                    experiment, player, variant, self.some_time(1),
                    overridden=self.dice.random() < 0.1,
                    second_variant=other if self.dice.random() < 0.1 else None,
                    stage=self.dice.choice(["new", "active"]), payer=self.dice.random() < 0.3,
                    country=self.dice.choice(["", *"ABCDEFGHIJKLM"]), platform="ios",
                )  # fmt: skip

    def some_time(self, days: int) -> datetime:
        return self.now - self.dice.random() * days * DAY

    def properties(self) -> dict[str, Any]:
        dice = self.dice
        return {
            "stars": dice.choice([0, 1, 2, 3, "3", None]),
            "coins": dice.choice([0, 5, 2.5, -1, dice.random() * 100, 10**200, "7", None, [1]]),
            "item": dice.choice(
                [{"name": "sword", "price": 3}, {"name": "bow", "price": 0.1}, "sword"]
            ),
        }

    def play(self, count: int) -> None:
        """Events, some about things long ago."""
        for player in self.dice.choices(self.players, k=count):
            at = self.some_time(self.dice.choice([1, 1, 5, 25]))
            self.log(player, self.dice.choice(["level", "level", "shop", "chat"]), at)

    def log(self, player: Player, name: str, at: datetime) -> None:
        self.run(
            """INSERT INTO event (player_id, received_at, environment_id, event_id, name,
                                  properties, occurred_at)
               VALUES (%s, %s, %s, %s, %s, %s, %s)""",
            player.pk, self.some_time(1), self.environment.pk, uuid4().hex, name,
            json.dumps(self.properties()), at,
        )  # fmt: skip

    def ledgers(self, count: int) -> None:
        """Sessions and purchases, each with its event, as the API stores them."""
        for player in self.dice.choices(self.players, k=count):
            started_at = self.some_time(self.dice.choice([1, 20]))
            self.run(
                """INSERT INTO player_session (player_id, digest, started_at)
                   VALUES (%s, %s, %s)""",
                player.pk, uuid4().bytes, started_at,
            )  # fmt: skip
            self.log(player, "ilara.session", started_at)
        for player in self.dice.choices(self.players, k=count):
            self.run(
                """INSERT INTO purchase (player_id, environment_id, digest, amount, currency,
                                         counted, verified, received_at, transaction_id)
                   VALUES (%s, %s, %s, %s, 'USD', %s, true, %s, %s)""",
                player.pk, self.environment.pk, uuid4().bytes,
                round(self.dice.expovariate(0.1), 2), self.dice.random() < 0.8,
                self.some_time(self.dice.choice([1, 20])), uuid4().hex,
            )  # fmt: skip
            self.log(player, "ilara.purchase", self.now)

    def refund(self, count: int) -> None:
        for refunded, act in ((False, purchase_refund), (True, purchase_refund_undo)):
            found = rows(
                """SELECT player_id, transaction_id FROM purchase
                   WHERE (refunded_at IS NOT NULL) = %s ORDER BY digest""",
                refunded,
            )
            for row in self.dice.sample(found, min(len(found), count)):
                player = Player.objects.get(pk=row["player_id"])
                act(player, row["transaction_id"], actor=ACTOR)

    def see(self) -> None:
        """Half of the players are active today, without any event."""
        today = self.now.date()
        for player in Player.objects.filter(environment=self.environment):
            gap = (today - player.last_active_on).days
            if gap > 0 and self.dice.random() < 0.5:
                player.activity += "0" * (gap - 1) + "1"
                player.last_active_on = today
                player.save()

    def erase(self) -> None:
        player_delete(self.players.pop(self.dice.randrange(len(self.players))), actor=ACTOR)

    def link(self) -> None:
        player_alias_link(self.dice.choice(self.players), f"guest-{uuid4().hex}", actor=ACTOR)

    def run(self, sql: str, *params: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)


@pytest.fixture
def game(environment: Environment, flag: Flag) -> Game:
    """Two experiments with ten metrics each; the second counts only some players."""
    now = timezone.now() - 5 * DAY
    found = Game(environment, random.Random(20), now)
    metrics = [make_metric(environment, key, **values) for key, values in KINDS.items()]
    other = flag_create(
        environment=environment, key="other", document=boolean_document(
            enabled=True, rules=(Rule(id="r1", split=SPLIT),)
        ), actor=ACTOR,
    )  # fmt: skip
    found.experiments = [
        make_experiment(flag, "one", *metrics[::2], phase=3),
        make_experiment(other, "two", *metrics[1::2], population=on("level", ">=", 5)),
    ]
    found.join(60)
    return found


# --- The plain recomputation ----------------------------------------------------------------------


def number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e100:
        return None
    return float(value)


def path_of(properties: dict[str, Any], path: str) -> Any:
    found: Any = properties
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def raw_rows() -> dict[str, dict[UUID, list[dict[str, Any]]]]:
    found: dict[str, dict[UUID, list[dict[str, Any]]]] = {}
    for source, sql in (
        ("event", "SELECT player_id, name, properties::text, occurred_at AS at FROM event"),
        (
            "purchase",
            """SELECT player_id, amount, received_at AS at FROM purchase
               WHERE counted AND refunded_at IS NULL""",
        ),
        ("session", "SELECT player_id, started_at AS at FROM player_session"),
    ):
        for row in rows(sql):
            if source == "event":
                row["properties"] = json.loads(row["properties"])
            found.setdefault(source, {}).setdefault(row["player_id"], []).append(row)
    return found


def value_of(
    metric: Metric, found: dict[str, Any], player_id: UUID, start: datetime, end: datetime
) -> float | None:
    """The value of a metric over a time."""

    def between(source: str) -> list[dict[str, Any]]:
        of_player = found.get(source, {}).get(player_id, [])
        return [row for row in of_player if start <= row["at"] < end]

    accepts = WHERE.get(metric.key)
    events = [
        row["properties"]
        for row in between("event")
        if row["name"] == metric.event and (accepts is None or accepts(row["properties"]))
    ]
    found_numbers = [number(path_of(each, metric.property)) for each in events]
    numbers = [each for each in found_numbers if each is not None]
    amounts = [float(row["amount"]) for row in between("purchase")]
    match metric.kind:
        case MetricKind.COUNT:
            return len(events)
        case MetricKind.SHARE:
            return float(bool(events))
        case MetricKind.SUM:
            return sum(numbers)
        case MetricKind.MEAN:
            return float(np.mean(numbers)) if numbers else None
        case MetricKind.REVENUE:
            return sum(amounts)
        case MetricKind.PAYERS:
            return float(bool(amounts))
    return len(between("session"))


def retained(player: Player, exposed_on: date, days: int) -> float:
    first = player.first_seen_at.astimezone(UTC).date()
    place = (exposed_on - first).days + days
    return float(0 <= place < len(player.activity) and player.activity[place] == "1")


def recomputed(
    experiment: Experiment, metric: Metric, exposures: list[Exposure], found: dict[str, Any],
    players: dict[UUID, Player], now: datetime,
) -> dict[UUID, Any]:  # fmt: skip
    """By player: the value, the value before, and whether the window is over."""
    result = {}
    for exposure in exposures:
        at, days = exposure.exposed_at, metric.window_days
        if metric.kind == MetricKind.RETENTION:
            assert days
            on_day = at.astimezone(UTC).date()
            ends = datetime.combine(on_day + (days + 1) * DAY, time(), UTC)
            value: float | None = retained(players[exposure.player_id], on_day, days)
            before = None
        else:
            last = experiment.ended_at or datetime.max.replace(tzinfo=UTC)
            ends = now if days is None else at + days * DAY
            until = last if days is None else ends
            value = value_of(metric, found, exposure.player_id, at, until)
            before = value_of(metric, found, exposure.player_id, at - 14 * DAY, at)
        result[exposure.player_id] = (value, before, ends <= now)
    return result


def capped(values: list[float | None], percentile: float | None) -> list[float | None]:
    known = [each for each in values if each is not None]
    if percentile is None or not known:
        return values
    cap = float(np.percentile(known, percentile, method="inverted_cdf"))
    return [None if each is None else min(each, cap) for each in values]


def expected_arms(
    exposures: list[Exposure], metric: Metric, found: dict[UUID, Any]
) -> dict[str, dict[str, float]]:
    """The sums by variant over the exposures that count."""
    ripe = [each for each in exposures if found[each.player_id][2]]
    ripe = [each for each in ripe if found[each.player_id][0] is not None]
    values = capped([found[each.player_id][0] for each in ripe], metric.percentile)
    befores = capped([found[each.player_id][1] for each in ripe], metric.percentile)
    arms = {}
    for variant in ("enabled", "disabled"):
        chosen = [number for number, each in enumerate(ripe) if each.variant == variant]
        value = np.array([values[number] for number in chosen], dtype=float)
        before = np.array([befores[number] or 0 for number in chosen], dtype=float)
        arms[variant] = {
            "players": len(chosen),
            "total": value.sum(),
            "squares": (value**2).sum(),
            "before": before.sum(),
            "before_squares": (before**2).sum(),
            "products": (value * before).sum(),
        }
    return arms


def equal(stored: float | None, expected: float | None) -> bool:
    if stored is None or expected is None:
        return stored is expected
    return isclose(stored, expected, rel_tol=1e-9, abs_tol=1e-9)


def check(game: Game, now: datetime) -> None:
    """Stored values and sums are those of the plain recomputation."""
    players = {player.pk: player for player in Player.objects.all()}
    raw = raw_rows()
    for experiment in Experiment.objects.filter(pk__in=[each.pk for each in game.experiments]):
        exposures = list(Exposure.objects.filter(experiment=experiment, phase=experiment.phase))
        counted, left_out = [], Counter[str]()
        for each in exposures:
            if each.overridden:
                left_out["overridden"] += 1
            elif each.second_variant:
                left_out["two"] += 1
            elif experiment.population and players[each.player_id].attributes["level"] < 5:
                left_out["population"] += 1
            else:
                counted.append(each)
        day = ExperimentDay.objects.get(
            experiment=experiment, phase=experiment.phase, day=now.date()
        )
        assert day.computed_at == now
        assert Counter(day.players) == Counter(each.variant for each in counted)
        assert Counter(day.left_out) == left_out
        results = {
            each.metric_id: each
            for each in ExperimentResult.objects.filter(
                experiment=experiment, phase=experiment.phase, day=now.date()
            )
        }
        uses = ExperimentMetric.objects.filter(experiment=experiment).select_related("metric")
        assert len(uses) == len(results) == 10
        for use in uses:
            found = recomputed(experiment, use.metric, exposures, raw, players, now)
            for each in exposures:
                value, before, is_ripe = found[each.player_id]
                assert each.figures
                assert each.before
                # A day of retention that has not ended may still be active.
                if is_ripe or use.metric.kind != MetricKind.RETENTION:
                    assert equal(each.figures[use.position], value), use.metric
                assert equal(each.before[use.position], before), use.metric
            result = results[use.metric_id]
            expected = expected_arms(counted, use.metric, found)
            assert result.arms.keys() == expected.keys()
            for variant, arm in expected.items():
                for name, amount in arm.items():
                    stored = result.arms[variant][name]
                    assert equal(stored, amount), (use.metric, name)
            assert result.breakdowns
            yes = result.breakdowns["payer"].get("yes", {})
            no = result.breakdowns["payer"].get("no", {})
            for variant, arm in result.arms.items():
                parts = [part[variant]["players"] for part in (yes, no) if variant in part]
                assert sum(parts) == arm["players"]
            assert len(result.breakdowns["country"]) <= 10


@pytest.mark.slow
def test_results__equal_a_plain_recomputation(game: Game) -> None:
    for step in range(4):
        game.now += DAY
        game.see()
        game.join(3)
        game.expose(15)
        game.play(120)
        game.ledgers(10)
        refresh_until(game.environment, game.now, horizon(game.now))
        check(game, game.now)
        game.play(30)  # more arrives for the same players, or is taken back
        game.ledgers(3)
        if step:
            game.refund(3)
            game.erase()
            game.link()
        now = game.now + timedelta(minutes=20)
        refresh_until(game.environment, now, horizon(now))
        check(game, now)
    # The last day ends, so that days of retention are final.
    game.now += DAY
    refresh_until(game.environment, game.now, horizon(game.now))
    check(game, game.now)
    before = list(Exposure.objects.order_by("pk").values_list("figures", "before"))
    Exposure.objects.filter(experiment=game.experiments[0]).update(figures=[1.0], before=None)
    Experiment.objects.filter(key="one").update(rebuild=True)
    results_rebuild(game.environment)
    assert not Experiment.objects.filter(rebuild=True).exists()
    assert list(Exposure.objects.order_by("pk").values_list("figures", "before")) == before


# --- What makes a player's values be computed again -----------------------------------------------


@dataclass
class Measured:
    """One player in a running experiment, whose values are computed."""

    environment: Environment
    experiment: Experiment
    player: Player

    def refresh(self, now: datetime | None = None) -> Any:
        """The values after a refresh."""
        now = now or timezone.now()
        refresh_until(self.environment, now, horizon(now))
        return Exposure.objects.get(player_id=self.player.pk).figures


@pytest.fixture
def measured(environment: Environment, flag: Flag, player: Player) -> Measured:
    metrics = [
        make_metric(environment, key, **KINDS[key]) for key in ("count", "revenue", "sessions")
    ]
    experiment = make_experiment(flag, "one", *metrics)
    make_exposure(experiment, player, "enabled", timezone.now() - timedelta(minutes=1))
    found = Measured(environment, experiment, player)
    assert found.refresh() == [0, 0, 0]
    return found


def test_calls_of_the_api__change_the_values(measured: Measured, public_api: Api) -> None:
    path = f"{PLAYERS}/{measured.player.pk}"
    public_api.post(EVENTS, {"player_id": str(measured.player.pk), "event_name": "level"})
    assert measured.refresh() == [1, 0, 0]
    public_api.post(f"{path}/session", {})
    assert measured.refresh() == [1, 0, 1]
    public_api.post(f"{path}/purchase", {"amount": 4.99, "transaction_id": "t-1"})
    assert measured.refresh() == [1, 4.99, 1]
    purchase_refund(measured.player, "t-1", actor=ACTOR)
    assert measured.refresh() == [1, 0, 1]
    purchase_refund_undo(measured.player, "t-1", actor=ACTOR)
    assert measured.refresh() == [1, 4.99, 1]


def test_events_behind_the_horizon__wait_for_the_next_refresh(
    measured: Measured, public_api: Api
) -> None:
    now = timezone.now()
    before = horizon(now)
    public_api.post(EVENTS, {"player_id": str(measured.player.pk), "event_name": "level"})
    for reached in (before, None):
        refresh_until(measured.environment, now, reached)
        assert Exposure.objects.get().figures == [0, 0, 0]
    assert ResultRefresh.objects.get().event_id == before.id
    assert measured.refresh() == [1, 0, 0]


def test_events_before_the_first_values__are_not_read(
    environment: Environment, flag: Flag, player: Player, public_api: Api
) -> None:
    experiment = make_experiment(flag, "one", make_metric(environment, "count", **KINDS["count"]))
    now = timezone.now()
    refresh_until(environment, now, None)
    assert not ResultRefresh.objects.exists()
    refresh_until(environment, now, horizon(now))
    public_api.post(EVENTS, {"player_id": str(player.pk), "event_name": "level"})
    make_exposure(experiment, player, "enabled", now)
    refresh_until(environment, now, horizon(now))
    assert ResultRefresh.objects.get().event_id == horizon(now).id
    assert Exposure.objects.get().figures == [1]


def test_stopped_experiment__is_computed_until_its_windows_are_over(
    measured: Measured, public_api: Api
) -> None:
    Metric.objects.filter(key="sessions").update(window_days=2)
    ended = timezone.now()
    Experiment.objects.update(state=ExperimentState.STOPPED, ended_at=ended)
    path = f"{PLAYERS}/{measured.player.pk}"
    public_api.post(EVENTS, {"player_id": str(measured.player.pk), "event_name": "level"})
    public_api.post(f"{path}/session", {})
    # The session is within its window, the event came after the end.
    assert measured.refresh() == [0, 0, 1]
    for days, ripe in ((1, 0), (3, 1), (9, 1)):
        measured.refresh(ended + days * DAY)
        newest = ExperimentDay.objects.latest("day")
        assert newest.day == (ended + min(days, 3) * DAY).date()
        result = ExperimentResult.objects.get(day=newest.day, metric__key="sessions")
        assert result.arms["enabled"]["players"] == ripe


def test_sample_ratio__says_where_players_are_missing(environment: Environment, flag: Flag) -> None:
    experiment = make_experiment(flag, "one", make_metric(environment, "count", **KINDS["count"]))
    now = timezone.now()
    for number in range(80):
        player = make_player(environment, f"p-{number}")
        missing = number % 2 and number < 60
        make_exposure(
            experiment, player, "disabled" if number % 2 and not missing else "enabled", now,
            country="DE" if number < 60 else "FR", platform="ios" if number % 4 else "android",
        )  # fmt: skip
    refresh_until(environment, now, horizon(now))
    day = ExperimentDay.objects.get()
    assert day.players == {"enabled": 70, "disabled": 10}
    assert day.ratio_p is not None
    assert day.ratio_p < 0.001
    places = [(place["dimension"], place["group"]) for place in day.places]
    assert ("country", "DE") in places
    assert ("country", "FR") not in places
    assert places[0] in {("stage", ""), ("payer", "no"), ("country", "DE")}


def test_sample_ratio_of_an_ended_experiment__is_that_of_its_rule_then(
    environment: Environment, flag: Flag
) -> None:
    experiment = make_experiment(flag, "one", make_metric(environment, "count", **KINDS["count"]))
    now = timezone.now()
    for number in range(80):
        variant = "disabled" if number % 2 else "enabled"
        make_exposure(experiment, make_player(environment, f"p-{number}"), variant, now)
    Experiment.objects.update(state=ExperimentState.STOPPED, ended_at=now)
    other = (Slice("enabled", 0, 90_000), Slice("disabled", 90_000, 100_000))
    document = boolean_document(enabled=True, rules=(Rule(id="r1", split=other),))
    flag_update(flag, document=document, base_revision=flag.revision, actor=ACTOR)
    refresh_until(environment, now, horizon(now))
    assert ExperimentDay.objects.get().ratio_p == 1


def test_tick__checks_environments_with_running_experiments(
    environment: Environment, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Any] = []
    monkeypatch.setattr(rollups, "settled", lambda: None)
    now = timezone.now()
    refresh.results_tick(now, lambda *given: checked.append(given))
    assert checked == [(environment, now)]
    Experiment.objects.update(state=ExperimentState.DRAFT)
    refresh.results_tick(now, lambda *given: checked.append(given))
    assert len(checked) == 1


def test_error_in_an_experiment__leaves_the_others_and_the_checks_alone(
    flag: Flag, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, checked = make_experiment(flag, "other", rule_id="r2"), list[Any]()
    Experiment.objects.filter(pk=measured.experiment.pk).update(population=on("level", ">", 1))
    ExperimentDay.objects.all().delete()

    def fail(rule: object) -> None:
        raise RuntimeError(rule)

    monkeypatch.setattr(refresh, "parse", fail)
    monkeypatch.setattr(rollups, "settled", lambda: None)
    refresh.results_tick(timezone.now(), lambda *given: checked.append(given))
    assert ExperimentDay.objects.get().experiment == other
    assert len(checked) == 1

"""The sample game: counters match ledgers, all stages occur, filling twice adds nothing."""

import io
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.db import connection, transaction
from django.db.models import Count, F, Max, Min, Sum
from pytest_django import DjangoDbBlocker

from events.models import Event
from flags.engine.document import ValueType
from flags.models import EnvironmentUsage, Flag, FlagClient, FlagUsage
from ilara_admin.core import tokens
from ilara_admin.core.audit import Actor
from ilara_admin.core.progress import no_progress
from ilara_admin.core.projects import project_create
from ilara_admin.demo import play
from ilara_admin.demo.config import history, working_hour
from ilara_admin.demo.fill import SEED, Filled, demo_fill
from ilara_admin.demo.game import EVENT_DAYS, player_draw
from ilara_admin.management.bar import ProgressBar
from ilara_admin.management.commands import serve
from ilara_admin.models import ApiKey, AuditEntry, Environment, KeyKind, Project
from ilara_admin.starter import environment_start
from players.lifecycle import History, Stage, Thresholds, stage_at
from players.models import Player, PlayerSession, Purchase, player_id_for
from players.statements import seen
from segments.models import Segment

pytestmark = pytest.mark.slow  # each fills a project

ACTOR = Actor("manage.py serve")
NOW = datetime(2026, 3, 14, 13, 20, tzinfo=UTC)
THRESHOLDS = Thresholds()


def _fill(project: Project, size: int = 200) -> Filled:
    return demo_fill(project, ACTOR, no_progress, size=size, now=NOW)


def _stage(player: Player) -> Stage:
    history = History(
        player.first_seen_at, player.last_seen_at, player.active_since, player.returned_at
    )
    return stage_at(history, THRESHOLDS, NOW)


@pytest.fixture
def project(db: None) -> Project:
    return project_create(name="Demo", slug="demo", actor=ACTOR)


@pytest.fixture(scope="module")
def filled(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Project]:
    """Filled once per module in a transaction; each test runs in a savepoint."""
    with django_db_blocker.unblock(), transaction.atomic():
        project = project_create(name="Filled", slug="filled", actor=ACTOR)
        _fill(project)
        yield project
        transaction.set_rollback(True)


@pytest.fixture
def live(filled: Project, db: None) -> Environment:
    return filled.environments.get(slug="live")


# --- The drawn players, without a database ------------------------------------------------------


def test_same_seed_and_moment__draws_the_same_player() -> None:
    assert player_draw(7, 200, NOW, 1) == player_draw(7, 200, NOW, 1)
    assert player_draw(7, 200, NOW, 1) != player_draw(7, 200, NOW, 2)


@pytest.mark.parametrize("now", [NOW, datetime(2026, 3, 15, 0, 1, tzinfo=UTC)])
def test_every_player__has_ordered_sessions_in_the_past(now: datetime) -> None:
    oldest = now - timedelta(days=EVENT_DAYS)
    for number in range(300):
        player = player_draw(number, 300, now, 3)
        moments = [m for s in player.sessions for m in (s.started_at, s.ended_at)]
        assert all(earlier <= later for earlier, later in pairwise(moments))
        assert moments[-1] <= now
        spans = {session.session_id: session for session in player.sessions}
        for event in player.events:
            span = spans[event.session_id or ""]
            assert oldest <= event.at <= span.ended_at
            assert span.started_at <= event.at
        assert [event.at for event in player.events] == sorted(e.at for e in player.events)


def test_every_stage__is_drawn() -> None:
    stages = set()
    for number in range(1_500):
        player = player_draw(number, 1_500, NOW, SEED).seen(timedelta(days=7), timedelta(days=30))
        history = History(
            player.first_seen_at, player.last_seen_at, player.active_since, player.returned_at
        )
        stages.add(stage_at(history, THRESHOLDS, NOW))
    assert stages == set(Stage)


def test_seen_columns__match_the_sql(db: None) -> None:
    """The Python version of the columns agrees with players/statements.py."""
    keys = ("last_seen_at", "last_active_on", "active_since", "active_days", "activity",
            "returned_at", "gap_before_return")  # fmt: skip
    numbers = [n for n in range(400) if len(player_draw(n, 400, NOW, 5).sessions) in (2, 3, 4)]
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE p (last_seen_at timestamptz, last_active_on date, "
            "active_since timestamptz, active_days int, activity varbit, "
            "returned_at timestamptz, gap_before_return interval)"
        )
        for number in numbers[:40]:
            player = player_draw(number, 400, NOW, 5)
            expected = player.seen(timedelta(days=7), timedelta(days=30))
            start = player.sessions[0].started_at
            cursor.execute("TRUNCATE p")
            cursor.execute(
                "INSERT INTO p VALUES (%s, %s, %s, 1, '1', NULL, NULL)",
                [start, start.date(), start],
            )
            for session in player.sessions:
                for moment in (session.started_at, session.ended_at):
                    now = f"'{moment.isoformat()}'::timestamptz"
                    cursor.execute(f"UPDATE p SET {seen(now, '7', '30')}")
            cursor.execute(f"SELECT {', '.join(keys)} FROM p")
            assert cursor.fetchone() == tuple(getattr(expected, key) for key in keys)


# --- The filled environments --------------------------------------------------------------------


def test_counters__match_the_ledgers(live: Environment) -> None:
    sessions = {
        row["player_id"]: row
        for row in PlayerSession.objects.values("player_id").annotate(
            number=Count("digest"), first=Min("started_at"), last=Max("received_at")
        )
    }
    purchases = {
        row["player_id"]: row
        for row in Purchase.objects.filter(refunded_at=None)
        .values("player_id")
        .annotate(number=Count("digest"), amount=Sum("amount"))
    }
    players = Player.objects.of(live)
    assert players.count() == 200
    for player in players:
        ledger = sessions[player.pk]
        assert player.session_count == ledger["number"]
        assert (player.first_seen_at, player.last_seen_at) == (ledger["first"], ledger["last"])
        assert player.last_active_on == player.last_seen_at.date()
        assert player.last_seen_at <= NOW
        bought = purchases.get(player.pk, {"number": 0, "amount": 0})
        assert (player.purchase_count, player.total_revenue) == (
            bought["number"],
            bought["amount"],
        )
        assert player.is_payer == (player.pk in purchases)


def test_active_days_and_returns__match_the_sessions(live: Environment) -> None:
    for player in Player.objects.of(live).prefetch_related("sessions"):
        sessions = sorted(player.sessions.all(), key=lambda session: session.started_at)
        days = {m.date() for s in sessions for m in (s.started_at, s.received_at)}
        assert player.active_days == len(days)
        silences = [(b.started_at - a.received_at, b.started_at) for a, b in pairwise(sessions)]
        returns = [silence for silence in silences if silence[0] >= timedelta(days=30)]
        expected = returns[-1] if returns else (None, None)
        assert (player.gap_before_return, player.returned_at) == expected
        runs = [moment for silence, moment in silences if silence >= timedelta(days=7)]
        assert player.active_since == (runs[-1] if runs else player.first_seen_at)


def test_names_and_attributes__are_complete_and_leave_player_123_free(
    live: Environment,
) -> None:
    assert not Player.objects.filter(external_id="player_123").exists()
    player = Player.objects.get(environment=live, external_id="player_10001")
    assert player.pk == player_id_for(live.namespace, "player_10001")
    assert {"username", "level", "country", "platform", "app_version", "is_vip", "language"} <= set(
        player.attributes
    )
    test = live.project.environments.get(slug="test")
    assert 1 <= Player.objects.of(test).count() <= 20


def test_payer_seen_last__has_a_note_and_a_linked_id(live: Environment) -> None:
    player = Player.objects.of(live).payers().recent_first()[0]
    assert "gems" in player.notes.get().text
    assert player.aliases.get().external_id.startswith("guest_")


def test_lists_and_refunds__exist(live: Environment) -> None:
    care = Segment.objects.get(environment=live, key="personal-care")
    assert (care.included, care.excluded) == (1, 3)
    refunded = Purchase.objects.filter(player__environment=live).exclude(refunded_at=None)
    logged = (
        Event.objects.of(live).filter(name="ilara.refund").values_list("received_at", flat=True)
    )
    recent = NOW - timedelta(days=EVENT_DAYS - 2)
    assert refunded.exists()
    assert set(refunded.filter(refunded_at__gt=recent).values_list("refunded_at", flat=True)) == {
        moment for moment in logged if moment > recent
    }


def test_events__are_from_the_last_30_days_ordered_by_receipt(live: Environment) -> None:
    events = list(Event.objects.of(live).order_by("id").values_list("received_at", "name"))
    moments = [moment for moment, _ in events]
    assert moments == sorted(moments)
    assert NOW - timedelta(days=EVENT_DAYS) <= moments[0]
    assert moments[-1] <= NOW
    names = Counter(name for _, name in events)
    assert set(names) >= {"session_start", "level_start", "level_complete", "level_fail",
                          "item_collect", "purchase"}  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM event_default WHERE environment_id = %s", [live.pk])
        assert cursor.fetchone() == (0,)


def test_flags__are_mid_rollout_with_a_history(live: Environment) -> None:
    flags = {flag.key: flag for flag in Flag.objects.filter(environment=live)}
    assert 8 <= len(flags) <= 12
    assert {flag.spec.value_type for flag in flags.values()} == set(ValueType)
    assert any(flag.archived_at for flag in flags.values())
    assert any(not flag.spec.enabled and not flag.archived_at for flag in flags.values())
    shop = flags["new-shop"]
    assert shop.spec.rules[0].rollout == 25_000
    authors = list(shop.revisions.order_by("number").values_list("author_name", "created_at"))
    assert len(authors) == shop.revision >= 4
    assert len({name for name, _ in authors}) > 1
    times = [moment for _, moment in authors]
    assert times == sorted(times)
    assert times[-1] < NOW
    assert 6 <= Segment.objects.filter(environment=live).count() <= 12


def test_audit_entries__are_ordered_by_time(live: Environment) -> None:
    entries = AuditEntry.objects.filter(environment=live, actor_name__endswith="(sample)")
    times = list(entries.order_by("id").values_list("created_at", flat=True))
    assert len(times) > 20
    assert times == sorted(times)


def test_history__is_in_the_past_at_any_hour() -> None:
    for hour in range(24):
        now = NOW.replace(hour=hour)
        assert all(working_hour(now, change.days_ago) < now for change in history(now))


def test_filling_again__adds_nothing_and_reports_it(live: Environment) -> None:
    version = Environment.objects.get(pk=live.pk).config_version
    again = _fill(live.project)
    assert again == Filled("filled")
    assert "already" in str(again)
    assert Environment.objects.get(pk=live.pk).config_version == version


def test_serve_demo_with_other_games__does_not_change_them(
    monkeypatch: pytest.MonkeyPatch, db: None
) -> None:
    before = Project.objects.count()
    for slug in ("my-game", "zelda"):
        project_create(name=slug, slug=slug, actor=ACTOR)
    filled: list[str] = []
    monkeypatch.setattr(serve, "demo_fill", lambda project, *_: filled.append(project.slug))
    for _ in range(2):
        serve.Command(stdout=io.StringIO()).prepare_content(demo=True, tier=None)
    assert filled == ["sample-game", "sample-game"]
    assert Project.objects.count() == before + 3


def test_existing_flag_with_the_same_key__is_unchanged(project: Project) -> None:
    live = project.environments.get(slug="live")
    environment_start(live, ACTOR)
    Flag.objects.filter(environment=live, key="new-feature").update(key="new-shop")
    _fill(project, size=20)
    assert Flag.objects.get(environment=live, key="new-shop").revision == 1


def test_progress__without_a_terminal_is_one_line_per_step(project: Project) -> None:
    stream = io.StringIO()
    demo_fill(project, ACTOR, ProgressBar(stream), size=5, now=NOW)
    assert stream.getvalue().splitlines() == [
        "  Players: done",
        "  Events: done",
        "  Flags and segments: done",
        "  Counts: done",
    ]


@pytest.mark.slow
def test_full_size_game__has_realistic_totals(project: Project) -> None:
    filled = _fill(project, size=5_000)
    live = project.environments.get(slug="live")
    assert 100_000 < filled.events < 220_000
    stages = Counter(_stage(player) for player in Player.objects.of(live))
    assert min(stages[stage] for stage in Stage) >= 5
    assert stages[Stage.ACTIVE] > 500
    revenue = sorted(Player.objects.of(live).values_list("total_revenue", flat=True), reverse=True)
    payers = [amount for amount in revenue if amount]
    assert 0.02 < len(payers) / 5_000 < 0.08
    assert sum(payers[: len(payers) // 10]) > 0.4 * float(sum(payers))


# --- Evaluations and the simulated players ------------------------------------------------------


def served(live: Environment, key: str) -> dict[str, set[str]]:
    """The variants served, by the revision of the flag at the hour's begin."""
    flag = Flag.objects.get(environment=live, key=key)
    found: dict[str, set[str]] = {}
    revisions = list(flag.revisions.order_by("number"))
    for row in FlagUsage.objects.filter(flag=flag):
        at = [each for each in revisions if each.created_at <= row.hour][-1]
        found.setdefault(f"{at.number} {at.reason}", set()).add(row.variant)
    return found


def test_evaluations__follow_the_revisions_of_each_flag(live: Environment) -> None:
    both = {"enabled", "disabled"}
    cloud = served(live, "cloud-saves")
    assert cloud == {"1 ": both, "2 No save was lost": {"enabled"}}
    ads = served(live, "interstitial-ads")
    assert ads["2 Day-1 retention dropped by 2 points"] == {"disabled"}
    assert served(live, "new-shop")["1 "] == {"disabled"}
    rows = FlagUsage.objects.filter(flag__environment=live)
    assert not rows.filter(last_at__gt=NOW).exists()
    assert not rows.filter(single__gt=F("count")).exists()
    together = EnvironmentUsage.objects.filter(environment=live)
    assert together.aggregate(Sum("count")) == rows.aggregate(Sum("count"))
    assert rows.aggregate(first=Min("hour"))["first"] < NOW - timedelta(days=80)
    region = rows.filter(flag__key="match-region").aggregate(single=Sum("single"))
    assert region["single"] == 0, "only evaluated with all others"
    archived = Flag.objects.get(environment=live, key="winter-event").archived_at
    since = rows.filter(flag__key="winter-event", hour__gt=archived)
    assert since.exists()
    assert not since.exclude(single=F("count")).exists(), "old versions still ask for it"


def test_one_flag_is_stale_and_one_in_its_shadow_period(live: Environment) -> None:
    flags = Flag.objects.of(live)
    assert [flag.key for flag in flags.stale(NOW)] == ["cloud-saves"]
    (leaving,) = flags.filter(archives_at__isnull=False)
    assert leaving.key == "legacy-matchmaker"
    clients = FlagClient.objects.filter(flag=leaving).values_list("client", flat=True)
    assert set(clients) == {"sample-game/1.9.4", "sample-game/2.0.1"}
    assert leaving.revisions.exclude(tags=["servers"]).count() == 0


def test_simulated_players__have_one_key_that_the_next_start_replaces(db: None) -> None:
    command = serve.Command(stdout=io.StringIO())
    children = [command.simulated_players("http://127.0.0.1:1") for _ in range(2)]
    old, new = ApiKey.objects.filter(name=play.KEY_NAME).order_by("pk")
    assert old.revoked_at
    assert not new.revoked_at
    assert (new.kind, new.environment.slug) == (KeyKind.PUBLIC, "live")
    assert tokens.digest(children[1].environment[play.KEY]) == new.digest
    assert children[1].environment[play.KEY] not in " ".join(children[1].command)
    assert children[1].environment[play.KEY] not in command.stdout.getvalue()

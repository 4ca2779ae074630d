"""Compute the results of five experiments with six metrics each: all values anew, and after
100,000 new events while the fold counts them.

`uv run python -m tests.benchmarks.results [players]`, on a temporary PostgreSQL with a quarter of
the memory as shared_buffers, with ten events and an exposure to each experiment per player. Goals
on two cores with a million players: all within 10 minutes, the new ones within 60 s without
delaying the fold; pages within 100 ms.
"""

import statistics
import sys
import threading
from datetime import timedelta
from functools import partial
from typing import Any

from tests.benchmarks import database, quarter_of_memory, timed

PLAYERS = 1_000_000
EVENTS_PER_PLAYER = 10
NEW_EVENTS = 100_000
DAYS = 30
PAGES = (
    ("experiment_list",), ("experiment_detail", "experiment-0"),
    ("experiment_decide", "experiment-0"), ("flag_detail", "flag-0"), ("flag_list",),
    ("metric_list",), ("metric_detail", "levels"), ("group_list",), ("overview",),
    ("game_figures",),
)  # fmt: skip
EXPERIMENTS = 5
PAGE = 250_000

PLAYERS_SQL = """
    INSERT INTO player (id, environment_id, external_id, first_seen_at, last_seen_at,
        last_active_on, active_since, activity)
    SELECT gen_random_uuid(), %(environment)s, 'player_' || n, first, now(), current_date, first,
        substring((n * 2654435761 %% 4294967296)::bigint::bit(32)::text || repeat('01', 10)
                  FROM 1 FOR current_date - first::date + 1)::varbit
    FROM generate_series(1, %(players)s) n,
        LATERAL (SELECT now() - (n %% 40) * interval '1 day' AS first) seen"""
# The ids of players in an order that has nothing to do with that of the index.
NUMBERED_SQL = """
    CREATE UNLOGGED TABLE numbered AS
    SELECT row_number() OVER (ORDER BY external_id) - 1 AS n, id FROM player"""
EVENTS_SQL = """
    INSERT INTO event (player_id, received_at, environment_id, event_id, name, properties,
                       occurred_at)
    SELECT numbered.id, at, %(environment)s, 'e-' || k,
        (ARRAY['level', 'level', 'shop', 'chat', 'ilara.session'])[1 + k %% 5],
        jsonb_build_object('stars', k %% 4, 'coins', k %% 97), at
    FROM generate_series(%(start)s::bigint, %(end)s::bigint - 1) k
    JOIN numbered ON n = k * 7919 %% %(players)s,
        LATERAL (SELECT now() - (%(events)s - k) * %(days)s * interval '1 day' / %(events)s AS at)
            moment
    ORDER BY k"""
SESSIONS_SQL = """
    INSERT INTO player_session (player_id, digest, started_at, received_at)
    SELECT id, uuid_send(gen_random_uuid()), at, at
    FROM numbered, generate_series(1, 2) k,
        LATERAL (SELECT now() - random() * %(days)s * interval '1 day' + k * interval '0' AS at) x
    """
PURCHASES_SQL = """
    INSERT INTO purchase (player_id, environment_id, digest, amount, currency, counted, verified,
                          received_at)
    SELECT id, %(environment)s, uuid_send(gen_random_uuid()),
        round((1 + random() * 20)::numeric, 2), 'USD', true, true,
        now() - random() * %(days)s * interval '1 day'
    FROM numbered WHERE n %% 20 = 0"""
EXPOSURES_SQL = """
    INSERT INTO exposure (player_id, experiment_id, phase, variant, overridden, exposed_at, stage,
                          payer, country, platform)
    SELECT id, %(experiment)s, 1, CASE WHEN n * 31 %% 2 = 0 THEN 'enabled' ELSE 'disabled' END,
        false, now() - random() * interval '20 days',
        (ARRAY['new', 'active', 'at_risk'])[1 + n %% 3],
        n %% 20 = 0, (ARRAY['US', 'DE', 'FR', 'JP', 'BR', 'IN'])[1 + n %% 6],
        (ARRAY['ios', 'android'])[1 + n %% 2]
    FROM numbered"""
NEW_SQL = """
    INSERT INTO event (player_id, received_at, environment_id, event_id, name, properties,
                       occurred_at)
    SELECT id, now(), %(environment)s, 'new-' || n, 'level', '{"stars": 3, "coins": 5}', now()
    FROM (SELECT id, n FROM numbered ORDER BY n * 7919 %% 1000003 LIMIT %(new)s) few"""

WHERE = {"operator": "AND", "conditions": [{"field": "stars", "operator": ">=", "value": 2}]}
METRICS: dict[str, dict[str, Any]] = {
    "levels": {"kind": "count", "event": "level", "conditions": WHERE},
    "shoppers": {"kind": "share", "event": "shop", "window_days": 7},
    "coins": {"kind": "sum", "event": "level", "property": "coins", "percentile": 99.0},
    "revenue": {"kind": "revenue", "percentile": 99.0},
    "sessions": {"kind": "sessions", "window_days": 3},
    "retention": {"kind": "retention", "window_days": 7},
}


def report(what: str, figure: str) -> None:
    print(f"{what:<56}{figure}", flush=True)


def run(sql: str, **values: Any) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)


def fill(environment: Any, players: int) -> None:
    """Players, events, ledgers and exposures to five experiments, all still without values."""
    from django.utils import timezone

    from events import partitions
    from flags.engine.document import Rule, Slice, boolean_document
    from flags.services import flag_create
    from tests.factories import ACTOR, make_experiment, make_metric

    partitions.ensure((timezone.now() - timedelta(days=DAYS)).date(), DAYS)
    events = players * EVENTS_PER_PLAYER
    given = {"environment": environment.pk, "players": players, "events": events, "days": DAYS}
    run("SET synchronous_commit = off")
    run(PLAYERS_SQL, **given)
    run(NUMBERED_SQL)
    run("ANALYZE numbered")
    for start in range(0, events, PAGE):
        run(EVENTS_SQL, **given, start=start, end=min(start + PAGE, events))
    run(SESSIONS_SQL, **given)
    run(PURCHASES_SQL, **given)
    metrics = [make_metric(environment, key, **values) for key, values in METRICS.items()]
    split = (Slice("enabled", 0, 50_000), Slice("disabled", 50_000, 100_000))
    document = boolean_document(enabled=True, rules=(Rule(id="r", split=split),))
    for number in range(EXPERIMENTS):
        flag = flag_create(
            environment=environment, key=f"flag-{number}", document=document, actor=ACTOR
        )
        experiment = make_experiment(flag, f"experiment-{number}", *metrics)
        run(EXPOSURES_SQL, experiment=experiment.pk)
    for table in ("player", "event", "player_session", "purchase", "exposure"):
        run(f"VACUUM ANALYZE {table}")


def fold_beside(stopping: threading.Event, times: list[float]) -> None:
    """Count events every half second, as the worker does, and note how long it takes."""
    from django.db import connection

    from events import rollups

    while not stopping.wait(0.5):
        times.append(timed(rollups.fold))
    connection.close()


def main(players: int) -> None:
    from django.db import connection
    from django.utils import timezone

    from events import rollups
    from flags.models import Experiment
    from flags.results import refresh
    from ilara_admin.models import Environment
    from tests.factories import make_environment

    environment = Environment.objects.get(pk=make_environment().pk)
    events = players * EVENTS_PER_PLAYER
    seconds = timed(lambda: fill(environment, players))
    report(f"filled with {players:,} players and {events:,} events", f"{seconds:8.1f} s")
    report("events counted by the fold", f"{timed(rollups.fold):8.1f} s")

    def first() -> None:
        refresh.results_refresh(environment, timezone.now())

    def again() -> None:
        Experiment.objects.update(rebuild=True)
        refresh.results_rebuild(environment)

    def spoil() -> None:
        run("UPDATE exposure SET figures = ARRAY[1.5], before = NULL")
        run("VACUUM exposure")

    report("first refresh: values of all exposures, and sums", f"{timed(first):8.1f} s")
    report("rebuild without changes", f"{timed(again):8.1f} s")
    spoil()
    report("rebuild of all values", f"{timed(again):8.1f} s")
    report("refresh without new events, with breakdowns", f"{timed(first):8.1f} s")
    report("refresh without new events", f"{timed(first):8.1f} s")
    before = hot()
    run(NEW_SQL, environment=environment.pk, new=NEW_EVENTS)
    stopping = threading.Event()
    folds: list[float] = []
    thread = threading.Thread(target=fold_beside, args=(stopping, folds))
    thread.start()
    report(f"refresh after {NEW_EVENTS:,} new events, beside the fold", f"{timed(first):8.1f} s")
    stopping.set()
    thread.join()
    report("longest and number of folds meanwhile", f"{max(folds):8.1f} s, {len(folds)}")
    updates, cheap = (now - then for now, then in zip(hot(), before, strict=True))
    report("updates of exposures, of which HOT", f"{updates:10,}, {cheap:,}")
    pages(environment)
    connection.close()


def pages(environment: Any) -> None:
    """The times of pages that show results, and of those that show figures of the game."""
    from django.conf import settings
    from django.utils import timezone

    from ilara_admin.models import Role
    from players.days import days_count
    from tests.pages import signed_in, url_of

    seconds = timed(lambda: days_count(environment, timezone.now(), 3_600))
    report(f"figures of {DAYS} days and more", f"{seconds:8.1f} s")
    settings.ALLOWED_HOSTS = ["*"]
    client = signed_in(Role.LIVE_OPS)
    for name, *args in PAGES:
        url = url_of(environment, name, *args)
        assert client.get(url).status_code == 200, url
        times = [timed(partial(client.get, url)) for _ in range(20)]
        middle, high = statistics.median(times), sorted(times)[-2]
        report(f"page {name}", f"{middle * 1000:8.0f} ms, p95 {high * 1000:.0f} ms")


def hot() -> tuple[int, int]:
    from time import sleep

    from django.db import connection

    sleep(2)  # until the statistics are written
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'exposure'"
        )
        updates, cheap = cursor.fetchone()
    return updates, cheap


if __name__ == "__main__":
    with database(shared_buffers=quarter_of_memory()):
        main(int(sys.argv[1]) if len(sys.argv) > 1 else PLAYERS)

"""How often the interval of a sample holds the true number of players who switch.

`uv run python -m tests.benchmarks.impact [runs]`, on a temporary PostgreSQL. Each run draws buckets
anew, by another salt, and compares the sample with all players at several percentages.
"""

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter
from uuid import uuid4

from tests.benchmarks import database

RUNS = 300
PLAYERS = 30_000
SHARES = (
    20,
    50,
    100,
    300,
    1_000,
    5_000,
    20_000,
    50_000,
    97_000,
    99_950,
)  # thousandths of a percent
PLAYERS_SQL = """
INSERT INTO player (id, environment_id, external_id, session_count, active_days, purchase_count,
    total_revenue, first_seen_at, last_seen_at, last_active_on, active_since)
SELECT gen_random_uuid(), %s, 'p-' || n, 1, 1, 0, 0, now(), now(), current_date, now()
FROM generate_series(1, %s) n"""


def main(runs: int) -> None:
    from django.db import connection

    from flags.cache import compile_draft, flags_of
    from flags.dashboard import impact as module
    from flags.engine.bucketing import gate
    from flags.engine.document import Rule, ScheduleStep, boolean_document
    from flags.services import flag_create
    from ilara_admin.api import environment_cache
    from ilara_admin.models import Environment
    from tests.factories import ACTOR, make_environment

    environment = Environment.objects.get(pk=make_environment().pk)
    with connection.cursor() as cursor:
        cursor.execute(PLAYERS_SQL, [environment.pk, PLAYERS])
        cursor.execute("ANALYZE player")
        cursor.execute("SELECT id::text FROM player")
        ids = [row[0] for row in cursor.fetchall()]
    now = datetime.now(UTC)
    flag_create(
        environment=environment, key="f", document=boolean_document(enabled=True), actor=ACTOR
    )
    steps = tuple(
        ScheduleStep(now + timedelta(days=number), share)
        for number, share in enumerate(SHARES, start=1)
    )
    document = boolean_document(
        enabled=True, rules=(Rule(id="r", variant="enabled", rollout=0, steps=steps),)
    )
    known = environment_cache.load(environment.pk)
    held, widths, seconds = [0] * len(SHARES), [0] * len(SHARES), []
    for _ in range(runs):
        salt = uuid4().hex
        live = replace(flags_of(known)["f"], salt=salt)
        draft = compile_draft(known, live, document)
        start = uuid4()
        module.sample_start = lambda *_, start=start: start
        started = perf_counter()
        impact = module.impact(known, live, draft, now)
        seconds.append(perf_counter() - started)
        assert not impact.exact
        buckets = [gate(salt, each) for each in ids]
        for place, share in enumerate(SHARES):
            true = sum(bucket < share for bucket in buckets)
            _, low, high = impact.estimate(impact.counts[place + 1].differ)
            held[place] += low <= true <= high
            widths[place] += high - low
    print(f"{runs} samples of {module.SAMPLE_SIZE:,} of {PLAYERS:,} players")
    for share, count, width in zip(SHARES, held, widths, strict=True):
        print(
            f"{share / 1000:7.2f} % switch: the interval held in {100 * count / runs:5.1f} of 100 "
            f"runs; on average it is {width / runs:,.0f} players wide"
        )
    print(f"all: {100 * sum(held) / runs / len(SHARES):.1f} of 100")
    print(f"{len(SHARES) + 1} dates: {1000 * median(seconds):.0f} ms at the median")


if __name__ == "__main__":
    with database():
        main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)

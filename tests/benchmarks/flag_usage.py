"""A flag page, the list of flags, the overview and the reads of usage, with 90 days of usage of
many flags. All flags but one did not change for 60 days, so that they could be stale.

`uv run python -m tests.benchmarks.flag_usage [flags]`, on a temporary PostgreSQL.
"""

import sys
from collections.abc import Callable
from datetime import timedelta
from statistics import median
from time import process_time
from typing import Any

from tests.benchmarks import database, timed

FLAGS = 1_000
ROUNDS = 60
LISTED = 50  # rows of the list

FILL = """
INSERT INTO flag_usage (flag_id, hour, variant, count, single, last_at)
SELECT f.id, date_trunc('hour', now(), 'UTC') - n * interval '1 hour', variant, 1 + random() * 500,
    0, now()
FROM generate_series(0, 90 * 24 - 1) n, flag f, unnest(ARRAY['enabled', 'disabled']) variant
ORDER BY n DESC"""


def main() -> None:
    flags = int(sys.argv[1]) if len(sys.argv) > 1 else FLAGS
    with database():
        measure(flags)


def measure(flags: int) -> None:
    from django.db import connection
    from django.test import Client
    from django.utils import timezone

    from flags import usage
    from flags.engine.document import Rule, boolean_document, encode_document
    from flags.models import Flag, FlagRevision
    from ilara_admin.bootstrap import first_start
    from ilara_admin.core.audit import Actor
    from ilara_admin.models import Tier, User

    started = first_start(name="Game", slug="game", tier=Tier.PRO, actor=Actor("benchmark"))
    assert started is not None
    environment = started.project.environments.get(slug="live")
    rule = Rule(id="r", variant="enabled", rollout=40_000)
    document = encode_document(boolean_document(enabled=True, rules=(rule,)))
    now = timezone.now()
    made = Flag.objects.bulk_create(
        Flag(
            environment=environment, key=f"f-{number}", name="x", document=document, revision=40,
            created_at=now - timedelta(days=90), updated_at=now - timedelta(days=60 * bool(number)),
        )
        for number in range(flags)
    )  # fmt: skip
    FlagRevision.objects.bulk_create(
        FlagRevision(
            flag=made[0], number=40 - ago, name="x", document=document, author_name="Ana",
            created_at=now - timedelta(days=2 * ago),
        )
        for ago in range(40)
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(FILL)
        cursor.execute("VACUUM ANALYZE")
    usage.environment_recount(environment)
    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.get())
    base = f"/{environment.project.slug}/{environment.slug}/"

    def page(path: str) -> Callable[[], Any]:
        return lambda: client.get(base + path, secure=True)

    ids = [flag.pk for flag in made[:LISTED]]
    since = now - timedelta(days=13)
    show("flag page by hour", page("flags/f-0/"))
    show("flag page by day", page("flags/f-0/?evaluations=day"))
    show("flag page without usage", page("flags/new_tutorial/"))
    show("overview", page(""))
    show("list of flags", page("flags/"))
    show("list of flags, search", page("flags/?q=f-1"))
    show("list of flags, rolling out", page("flags/?rollout=rolling"))
    show("stale flags", page("flags/+stale/"))
    show(f"daily, {LISTED} flags", lambda: usage.daily(ids, since))
    show("environment_daily", lambda: usage.environment_daily(environment, since))


def show(name: str, act: Callable[[], Any]) -> None:
    for _ in range(5):
        act()
    started = process_time()
    times = sorted(1_000 * timed(act) for _ in range(ROUNDS))
    used = 1_000 * (process_time() - started) / ROUNDS
    p95 = times[int(0.95 * ROUNDS)]
    print(f"{name:28} p50 {median(times):6.1f} ms  p95 {p95:6.1f} ms  CPU of Python {used:5.1f} ms")


if __name__ == "__main__":
    main()

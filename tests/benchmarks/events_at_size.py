"""Event statements with ten million events: time and rows read.

`uv run python -m tests.benchmarks.events_at_size [rows]`, on a temporary PostgreSQL. Times are
multiples of the first one, a lookup of a player by primary key.
"""

import sys
from time import perf_counter

from tests.benchmarks import database

ROWS = 10_000_000
DAYS = 30
TRIES = 5


def main(rows: int) -> None:
    from django.db import transaction

    from tests.events import test_explain
    from tests.events.conftest import make_environment

    environment = make_environment()
    started = perf_counter()
    test_explain.fill(environment, rows, DAYS)
    print(f"{rows:,} events of {DAYS} days filled in {perf_counter() - started:.0f} s")
    base = 0.0
    for statement in [test_explain.player_by_key, *test_explain.QUERIES]:
        times = []
        for _ in range(TRIES):
            with transaction.atomic():
                began = perf_counter()
                statement(environment)
                times.append(perf_counter() - began)
                transaction.set_rollback(True)
        with transaction.atomic(), test_explain.plans() as found:
            statement(environment)
            transaction.set_rollback(True)
        base = base or min(times)
        scans = ", ".join(test_explain.seq_scans(found)) or "none"
        looked_at, times_base = test_explain.read_rows(found), min(times) / base
        print(
            f"{statement.__name__:<30}{times_base:8.1f} times  {looked_at:10,} rows  scans: {scans}"
        )


if __name__ == "__main__":
    with database():
        main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)

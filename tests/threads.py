"""Running one thing in many threads at the same moment, each with a connection of its own."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from django.db import connection


def at_once[T, R](act: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """The results of `act` for each item, in their order. The first exception is raised again."""
    work = list(items)
    start = threading.Barrier(len(work))

    def run(item: T) -> R:
        try:
            connection.ensure_connection()
            start.wait(timeout=30)
            return act(item)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(run, work))


def until_somebody_waits() -> None:
    """Returns once a statement of another connection waits for a lock."""
    with connection.cursor() as cursor:
        for _ in range(500):
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
            cursor.execute("SELECT pg_sleep(0.01)")
    raise AssertionError("nobody waited for a lock")

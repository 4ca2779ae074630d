"""Run a function in many threads at once, each with its own database connection."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from django.db import connection


def at_once[T, R](act: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """The results of `act` for each item, in order. Raises the first exception."""
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

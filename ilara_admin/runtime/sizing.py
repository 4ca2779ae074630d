"""The number of web processes and threads, and the database connections that they need.

The defaults fit PostgreSQL's default of 100 connections. gunicorn's configuration imports this
before Django is set up.
"""

import os
import resource

BACKGROUND = 1  # connections of each process beside those of its threads
JOBS = 10  # connections of the job worker, five for each of its queues
SPARE = 10  # for people, backups and PostgreSQL's own reserve


def web_workers() -> int:
    """Processes. More than one per core would compete for the cores."""
    return int(os.environ.get("ILARA_WORKERS") or min(os.cpu_count() or 1, 6))


def web_threads(workers: int) -> int:
    """Threads of each process: as many as there are connections for, up to 32. A stream occupies a
    thread, slow statements one each. A waiting thread costs 50 kB and its database connection."""
    return int(os.environ.get("ILARA_THREADS") or min(max(72 // workers, 10), 32))


def web_connections() -> int:
    """How many clients a process accepts. A silent one costs a file descriptor, so this raises the
    limit of open files for this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = max(soft, 16_384 if hard == resource.RLIM_INFINITY else min(hard, 16_384))
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return min(10_000, files // 2)


def too_many_connections(workers: int, threads: int, allowed: int) -> str | None:
    """One line that says why the processes do not fit PostgreSQL's `max_connections` and what to
    change, or None if they fit."""
    needed = workers * (threads + BACKGROUND) + JOBS
    if needed <= allowed - SPARE:
        return None
    fitting = (allowed - SPARE - JOBS) // workers - BACKGROUND
    fewer = f"set ILARA_THREADS={fitting}, or " if fitting >= 4 else "use fewer ILARA_WORKERS, or "
    return (
        f"{workers} web processes with {threads} threads each, and the worker, may open {needed} "
        f"database connections, but PostgreSQL allows {allowed}, of which {SPARE} are kept free: "
        f"{fewer}raise max_connections to {needed + SPARE}."
    )

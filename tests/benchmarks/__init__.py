"""Benchmarks: `uv run python -m tests.benchmarks.<name>`. On a shared machine, only the ratios are
meaningful."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any


@contextmanager
def database(**settings: str) -> Iterator[None]:
    """A temporary embedded database with all tables, with these settings of PostgreSQL."""
    home = Path(tempfile.mkdtemp(prefix="ilara-benchmark-"))
    home.chmod(0o755)  # for root: PostgreSQL's user must enter it
    os.environ |= {"ILARA_HOME": str(home), "DJANGO_SETTINGS_MODULE": "ilara_admin.settings"}
    os.environ.pop("DATABASE_URL", None)
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from ilara_admin.runtime import embedded_postgres

    embedded_postgres.SETTINGS |= settings
    server = embedded_postgres.lease(home)
    try:
        call_command("migrate", verbosity=0)
        yield
    finally:
        connection.close()
        embedded_postgres.release(home)
        shutil.rmtree(server.data.parent)
        shutil.rmtree(home, ignore_errors=True)


def quarter_of_memory() -> str:
    """As the README asks for `shared_buffers`."""
    pages = os.sysconf("SC_PHYS_PAGES") // 4
    return f"{pages * os.sysconf('SC_PAGE_SIZE') // 2**20}MB"


def timed(act: Callable[[], Any]) -> float:
    started = perf_counter()
    act()
    return perf_counter() - started

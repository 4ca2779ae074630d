"""Processes, threads and the database connections that they need."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from django.conf import settings
from django.db import connection

from ilara_admin.runtime.embedded_postgres import SETTINGS
from ilara_admin.runtime.sizing import too_many_connections, web_threads, web_workers
from tests.running import free_port
from tests.serving import database_url

POSTGRESQL_DEFAULT = 100

type Defaults = Callable[..., tuple[int, int]]


@pytest.fixture
def defaults(monkeypatch: pytest.MonkeyPatch) -> Defaults:
    """The numbers of processes and threads on a machine, with settings."""

    def found(cores: int, **environ: str) -> tuple[int, int]:
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        for name in ("ILARA_WORKERS", "ILARA_THREADS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return web_workers(), web_threads(web_workers())

    return found


@pytest.mark.parametrize(
    ("cores", "expected"), [(1, (1, 32)), (2, (2, 32)), (4, (4, 18)), (8, (6, 12)), (64, (6, 12))]
)
def test_defaults__fit_postgresqls_default(
    defaults: Defaults, cores: int, expected: tuple[int, int]
) -> None:
    assert defaults(cores) == expected
    assert too_many_connections(*expected, POSTGRESQL_DEFAULT) is None


def test_settings__replace_the_defaults(defaults: Defaults) -> None:
    assert defaults(8, ILARA_WORKERS="3", ILARA_THREADS="5") == (3, 5)
    assert defaults(8, ILARA_WORKERS="12") == (12, 10)
    assert too_many_connections(12, 10, int(SETTINGS["max_connections"])) is None


@pytest.mark.parametrize(
    ("workers", "threads", "fix"),
    [(8, 32, "set ILARA_THREADS=9, or raise"), (40, 4, "use fewer ILARA_WORKERS, or raise")],
)
def test_too_many__names_the_numbers_and_the_fix(workers: int, threads: int, fix: str) -> None:
    line = too_many_connections(workers, threads, 100) or ""
    needed = workers * (threads + 1) + 10
    assert f"{workers} web processes with {threads} threads" in line
    assert f"may open {needed} database connections, but PostgreSQL allows 100" in line
    assert line.endswith(f"{fix} max_connections to {needed + 10}.")
    assert too_many_connections(workers, threads, needed + 10) is None


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_gunicorn__warns_once_at_its_start() -> None:
    connection.ensure_connection()
    environ = {"ILARA_WORKERS": "2", "ILARA_THREADS": "400", "SECRET_KEY": "x"}
    environ |= {"DATABASE_URL": database_url(), "ILARA_BIND": f"127.0.0.1:{free_port()}"}
    command = "gunicorn -c ilara_admin/runtime/gunicorn_conf.py --log-level warning"
    with subprocess.Popen(
        [sys.executable, "-m", *command.split(), "ilara_admin.wsgi"],
        cwd=settings.BASE_DIR, env={**os.environ, **environ}, stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stderr
        assert "2 web processes with 400 threads each" in server.stderr.readline()
        server.terminate()
        assert "web processes" not in server.stderr.read()

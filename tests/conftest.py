"""The tests' database: a temporary cluster, or the server of DATABASE_URL."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connections

from ilara_admin.runtime import embedded_postgres

pytest_plugins = ["tests.fixtures"]

# Tests start hundreds of processes: Python compiles each module once, not in each of them, also
# where PYTHONDONTWRITEBYTECODE is set, as in many images.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The data need not survive a crash.
FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}

# A separate process that holds the server, so that the server and its folder are removed however
# pytest ends: the pipe closes even on `kill -9`.
JANITOR = f"""
import shutil, sys
from pathlib import Path
from ilara_admin.runtime import embedded_postgres
home = Path(sys.argv[1])
server = embedded_postgres.lease(home, {FAST!r})
print("ready", flush=True)
sys.stdin.read()
embedded_postgres.release(home)
shutil.rmtree(server.data.parent)
shutil.rmtree(home, ignore_errors=True)
"""


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> Iterator[None]:
    """Point Django to the temporary cluster before pytest-django creates its test database."""
    if settings.DATABASE_URL:
        yield
        return
    home = Path(tempfile.mkdtemp(prefix="ilara-tests-"))
    home.chmod(0o755)  # for root: PostgreSQL's user must enter it
    with subprocess.Popen(
        [sys.executable, "-c", JANITOR, home],
        cwd=settings.BASE_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C must reach pytest only
    ) as janitor:
        assert janitor.stdin
        assert janitor.stdout
        assert janitor.stdout.readline() == b"ready\n", "the tests' PostgreSQL did not start"
        connections.settings["default"]["HOST"] = str(home)
        yield
        connections.close_all()
        embedded_postgres.release(home)
        janitor.stdin.close()

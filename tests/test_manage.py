"""manage.py itself: commands end quietly when stdout is closed, as in `manage.py … | head`."""

import os
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

from ilara_admin.runtime import embedded_postgres
from tests.conftest import FAST
from tests.homes import HANG_SECONDS
from tests.running import OURS
from tests.used_homes import UsedHomes


def run_without_reader(home: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and stderr of a command whose stdout is a closed pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with OURS.start(
            *["manage.py", *arguments],
            folder=settings.BASE_DIR,
            env={"ILARA_HOME": str(home), "PYTHONUNBUFFERED": ""},
            stdout=writer,
            stderr=subprocess.PIPE,
        ) as process:
            _, errors = process.communicate(timeout=HANG_SECONDS)
    finally:
        os.close(writer)
    return process.returncode, errors


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["help"], ["help", "serve"]])
def test_help__ends_quietly_when_stdout_is_closed(tmp_path: Path, arguments: list[str]) -> None:
    assert run_without_reader(tmp_path, *arguments) == (141, "")


@pytest.mark.slow
def test_commands__end_quietly_when_stdout_is_closed(used_homes: UsedHomes) -> None:
    if settings.DATABASE_URL:
        pytest.skip("DATABASE_URL names the server")
    with used_homes() as used:
        home = used.home
        embedded_postgres.lease(home, FAST)
        for arguments in (["showmigrations"], ["backup", "-"]):
            code, errors = run_without_reader(home, *arguments)
            assert (code, "Traceback" in errors, "Error" in errors) == (141, False, False), errors
        embedded_postgres.release(home)
        assert run_without_reader(home, "api_key_list")[0] == 141
        assert not (home / "postgresql/data/postmaster.pid").exists(), "PostgreSQL is left"

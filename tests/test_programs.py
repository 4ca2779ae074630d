"""The benchmarks and the program that draws the pictures of the README can be started."""

import subprocess
import sys

import pytest
from django.conf import settings

from tests.running import clean_environment

BENCHMARKS = (settings.BASE_DIR / "tests/benchmarks").glob("[!_]*.py")
PROGRAMS = [f"tests.benchmarks.{path.stem}" for path in BENCHMARKS]


@pytest.mark.slow
def test_programs__are_imported_without_pytest() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {', '.join([*PROGRAMS, 'tests.browser.screenshots'])}"],
        cwd=settings.BASE_DIR, env=clean_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

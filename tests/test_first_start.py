"""A new installation: a fresh clone and only the packages, then `serve`, then the tests."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from django.conf import settings

from ilara_admin.runtime.postgresql import site
from tests.homes import HANG_SECONDS, remove_server
from tests.replay import CASES, lists_players, renamed, replay
from tests.running import OTHER_USER, OURS, Python, Serve, python_of_other_user

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(settings.DATABASE_URL), reason="a fresh machine has no DATABASE_URL"),
]

AS_ROOT = os.geteuid() == 0
PROMISED_SECONDS = 20


def seconds_here() -> float:
    """The promised start time of an idle machine, scaled by the load of this one."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return PROMISED_SECONDS * max(1.0, load)


@pytest.fixture(params=["ourselves", "ordinary user"])
def python(request: pytest.FixtureRequest) -> Iterator[Python]:
    if request.param == "ordinary user" and not AS_ROOT:
        pytest.skip("ourselves is an ordinary user already")
    with nullcontext(OURS) if request.param == "ourselves" else python_of_other_user() as python:
        yield python


@pytest.fixture
def clone(python: Python) -> Iterator[Path]:
    """A fresh clone below a folder that no other user may enter."""
    if not (settings.BASE_DIR / ".git").exists():
        pytest.skip("this checkout is not a git repository, so there is nothing to clone")
    private = Path(tempfile.mkdtemp(prefix="ilara-private-"))
    folder = private / "ilara"
    command = ["git", "clone", "--quiet", "--no-hardlinks", str(settings.BASE_DIR), str(folder)]
    subprocess.run(command, check=True, timeout=HANG_SECONDS)
    (private / "home").mkdir(mode=0o700)
    if python.uid is not None:
        for path in (private, *private.rglob("*")):
            os.chown(path, python.uid, OTHER_USER.pw_gid, follow_symlinks=False)
    yield folder
    remove_server(folder / ".ilara")
    shutil.rmtree(private)


def test_fresh_clone__serves_the_published_api_and_passes_its_tests(
    python: Python, clone: Path
) -> None:
    home = clone.parent / "home"
    env = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    places = [clone, Path(sys.executable), site.program("postgres")]
    above = {folder for place in places for folder in place.parents}
    before = {folder: owner_and_mode(folder) for folder in above}

    patience, started = seconds_here(), time.monotonic()
    serve = Serve(clone / ".ilara", python=python, folder=clone, env=env)
    try:
        serve.ready()
        assert serve.get("/readyz")[0] == 200
        assert time.monotonic() - started < max(patience, seconds_here())

        for kind in ("public", "secret"):
            for number, steps in enumerate(CASES.values()):
                # Only a secret key may list players, and the list must have only those of the case.
                environment = "test" if kind == "secret" and lists_players(steps) else "live"
                api = serve.api(f"{environment} {kind}")
                replay(renamed(steps, f"player_{kind}_{number}"), api, f"${kind}")

        if python is not OURS or not AS_ROOT:  # once is enough
            with python.start(
                *["-m", "pytest", "-q", "tests/test_contract.py"],
                folder=clone,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            ) as tests:
                output, _ = tests.communicate(timeout=2 * HANG_SECONDS)
            assert tests.returncode == 0, output
            assert serve.get("/readyz")[0] == 200, "the tests stopped the server"
        serve.stop()
        assert serve.err == ""
    finally:
        serve.clean_up()
    assert {folder: owner_and_mode(folder) for folder in above} == before


def owner_and_mode(folder: Path) -> tuple[int, int, int]:
    found = folder.stat()
    return found.st_uid, found.st_gid, found.st_mode

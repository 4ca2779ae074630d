"""The folder in which the web processes of one server keep their metrics.

It belongs to one gunicorn server, so servers of the same installation never mix, and only its user
may read it. It is removed when the server ends; what a killed server left, when the next starts.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

PREFIX = "ilara-metrics-"

# Inherited by the web processes: the folder is in use while one of them runs.
_locks: list[IO[str]] = []


def create() -> str:
    """Create the folder of a server, to be named by METRICS_FOLDER in its web processes."""
    _remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = _lock_of(folder).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    _locks.append(lock)
    return str(folder)


def remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def forget_ended(folder: str) -> None:
    """Drop the gauges of processes that have ended. What they counted stays."""
    for path in Path(folder).glob("gauge_live*_*.db"):
        try:
            os.kill(int(path.stem.rpartition("_")[2]), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)  # another process may answer a scrape, too
        except PermissionError:
            pass  # the number is another user's process by now; the gauges stay until it ends


def _remove_abandoned() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # Another user's folder, a folder that is being created, or one in use is left alone.
        with suppress(OSError):
            if folder.lstat().st_uid == os.geteuid():
                with _lock_of(folder).open("r+") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)


def _lock_of(folder: Path) -> Path:
    return folder / "lock"

"""When each API key was last used: noted in memory, written by a thread off the hot path."""

import atexit
import logging
import os
import threading
from time import monotonic

from django.db import DatabaseError, InterfaceError, connection

logger = logging.getLogger("ilara.last_used")

FLUSH_SECONDS = 10
# A key in steady use is written once in this time, so that its row stays calm.
MINIMUM_SECONDS_BETWEEN_WRITES = 60

_noted: set[int] = set()
_written: dict[int, float] = {}
_thread_of_process = 0
_starting = threading.Lock()


def note(key_id: int) -> None:
    """Remember that this key was used just now."""
    written = _written.get(key_id)
    if written is None or monotonic() - written >= MINIMUM_SECONDS_BETWEEN_WRITES:
        _noted.add(key_id)
        if _thread_of_process != os.getpid():
            _start()


def flush() -> None:
    """Write what was noted. Rows that somebody else holds are left to the next time."""
    noted = list(_noted)
    if not noted:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE api_key SET last_used_at = now() WHERE id IN (
                   SELECT id FROM api_key WHERE id = ANY(%s) FOR UPDATE SKIP LOCKED)
               RETURNING id""",
            [noted],
        )
        written = [row[0] for row in cursor.fetchall()]
    _noted.difference_update(noted)
    _written.update(dict.fromkeys(written, monotonic()))


def _start() -> None:
    global _thread_of_process
    with _starting:
        if _thread_of_process == os.getpid():
            return
        _thread_of_process = os.getpid()
        threading.Thread(target=_run, name="last-used", daemon=True).start()
        atexit.register(_flush_quietly)


def _run() -> None:
    wait = threading.Event()
    while not wait.wait(FLUSH_SECONDS):
        _flush_quietly()


def _flush_quietly() -> None:
    try:
        flush()
    except (DatabaseError, InterfaceError):
        logger.warning("the last use of %d keys could not be written yet", len(_noted))
    finally:
        connection.close()

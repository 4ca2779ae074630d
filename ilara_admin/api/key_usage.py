"""When each API key was last used: noted in memory, written by a thread off the hot path."""

import logging
from time import monotonic

from django.db import DatabaseError, InterfaceError, connection

from ilara_admin.core import background

logger = logging.getLogger("ilara.last_used")

FLUSH_SECONDS = 10
# A key in steady use is written once in this time, so that its row stays calm.
MINIMUM_SECONDS_BETWEEN_WRITES = 60

_noted: set[int] = set()
_written: dict[int, float] = {}


def note(key_id: int) -> None:
    """Remember that this key was used just now."""
    written = _written.get(key_id)
    if written is None or monotonic() - written >= MINIMUM_SECONDS_BETWEEN_WRITES:
        _noted.add(key_id)
        start_thread()


def forget() -> None:
    """Drop everything, as a process that has just started."""
    _noted.clear()
    _written.clear()


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


def flush_quietly() -> None:
    try:
        flush()
    except (DatabaseError, InterfaceError):
        logger.warning("the last use of %d keys could not be written yet", len(_noted))


start_thread = background.run_every(FLUSH_SECONDS, "last-used", flush_quietly)

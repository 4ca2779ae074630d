"""Last use of API keys: collected in memory, written by a background thread."""

import logging
from time import monotonic
from typing import NamedTuple

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest

from ilara_admin.api.environment_cache import Key
from ilara_admin.core import background
from ilara_admin.core.client_address import client_address
from ilara_admin.core.client_name import client_name

logger = logging.getLogger("ilara.last_used")

FLUSH_SECONDS = 10
# Limits the writes to the row of a key in constant use.
MINIMUM_SECONDS_BETWEEN_WRITES = 60
MAX_ADDRESS = 64  # characters


class Use(NamedTuple):
    """The address is "" for public keys: it would be a player's."""

    at: float  # monotonic seconds
    client: str
    address: str


_noted: dict[int, Use] = {}
_written: dict[int, float] = {}


def note(key: Key, request: HttpRequest) -> None:
    """Record that this key was used now. Of several uses between two writes, the first stays."""
    if key.id in _noted:
        return
    now, written = monotonic(), _written.get(key.id)
    if written is None or now - written >= MINIMUM_SECONDS_BETWEEN_WRITES:
        address = client_address(request)[:MAX_ADDRESS] if key.secret else ""
        agent = client_name(request.META.get("HTTP_USER_AGENT", ""))
        _noted[key.id] = Use(now, agent, address)
        start_thread()


def forget() -> None:
    """Clear the state, as in a new process."""
    _noted.clear()
    _written.clear()


# Skips locked rows, and what another process wrote of a later use.
WRITE = """
UPDATE api_key k SET last_used_at = seen.at, last_client = seen.client, last_address = seen.address
FROM (SELECT id, now() - make_interval(secs => age) AS at, client, address
      FROM unnest(%s::bigint[], %s::float8[], %s::text[], %s::text[])
          u (id, age, client, address)) seen
WHERE k.id = seen.id AND (k.last_used_at IS NULL OR k.last_used_at < seen.at)
  AND k.id IN (SELECT id FROM api_key WHERE id = ANY(%s) FOR UPDATE SKIP LOCKED)
RETURNING k.id"""


def flush() -> None:
    """Write the recorded uses."""
    noted = dict(_noted)
    if not noted:
        return
    ids, now = list(noted), monotonic()
    ages = [max(now - use.at, 0) for use in noted.values()]
    clients, addresses = ([use[place] for use in noted.values()] for place in (1, 2))
    with connection.cursor() as cursor:
        cursor.execute(WRITE, [ids, ages, clients, addresses, ids])
        written = [row[0] for row in cursor.fetchall()]
    for key_id in ids:
        _noted.pop(key_id, None)
    _written.update(dict.fromkeys(written, now))


def flush_quietly() -> None:
    try:
        flush()
    except (DatabaseError, InterfaceError):
        logger.warning("cannot write the last use of %d keys yet", len(_noted))


start_thread = background.run_every(FLUSH_SECONDS, "last-used", flush_quietly)

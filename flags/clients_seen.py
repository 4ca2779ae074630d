"""Which kinds of clients evaluate a flag: counted in memory, written with the usage counts.

Only evaluations of one flag count: who evaluates all flags at once does not choose one. A kind is a
name and a version, never a person.
"""

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import DatabaseError, InterfaceError, connection

from flags.models import FlagClient
from ilara_admin.core.client_name import OTHER, client_name

MAX_CLIENTS = 20  # per flag
KEPT_DAYS = 90

_seen: dict[int, dict[str, int]] = {}
_lock = threading.Lock()


def note(flag_id: int, user_agent: str) -> None:
    """Count the evaluation of a flag by a client with this User-Agent."""
    client = client_name(user_agent)
    with _lock:
        clients = _seen.get(flag_id)
        if clients is None:
            clients = _seen[flag_id] = {}
        if client not in clients and len(clients) >= MAX_CLIENTS:
            client = OTHER
        clients[client] = clients.get(client, 0) + 1


def forget() -> None:
    """Drop all counts."""
    with _lock:
        _seen.clear()


# All processes lock rows in the same order, which prevents deadlocks.
WRITE = """
INSERT INTO flag_client (flag_id, client, count, last_at)
SELECT f.id, seen.client, seen.count, now()
FROM unnest(%s::bigint[], %s::text[], %s::bigint[]) seen (flag_id, client, count)
JOIN flag f ON f.id = seen.flag_id
ORDER BY f.id, seen.client
ON CONFLICT (flag_id, client)
DO UPDATE SET count = flag_client.count + excluded.count, last_at = excluded.last_at"""
# Skips rows that another process is writing: those are recent.
TRIM = """
DELETE FROM flag_client WHERE (flag_id, client) IN (
    SELECT extra.flag_id, extra.client FROM unnest(%s::bigint[]) AS seen (flag_id), LATERAL (
        SELECT c.flag_id, c.client FROM flag_client c WHERE c.flag_id = seen.flag_id
        ORDER BY c.last_at DESC, c.count DESC, c.client OFFSET %s FOR UPDATE SKIP LOCKED) extra)"""


def flush() -> None:
    """Write the counts, and keep the MAX_CLIENTS that asked last per flag. If that fails, the
    counts are kept for the next flush."""
    with _lock:
        seen = dict(_seen)
        _seen.clear()
    if not seen:
        return
    rows = [(id, name, count) for id, names in seen.items() for name, count in names.items()]
    try:
        with connection.cursor() as cursor:
            cursor.execute(WRITE, [list(column) for column in zip(*rows, strict=True)])
            cursor.execute(TRIM, [sorted(seen), MAX_CLIENTS])
    except (DatabaseError, InterfaceError):
        _put_back(seen)
        raise


def _put_back(seen: Mapping[int, Mapping[str, int]]) -> None:
    with _lock:
        for flag_id, names in seen.items():
            clients = _seen.setdefault(flag_id, {})
            for name, count in names.items():
                clients[name] = clients.get(name, 0) + count


def clients_forget(now: datetime) -> int:
    """Delete clients that did not ask for KEPT_DAYS; returns how many."""
    old = FlagClient.objects.filter(last_at__lt=now - timedelta(days=KEPT_DAYS))
    return old.delete()[0]

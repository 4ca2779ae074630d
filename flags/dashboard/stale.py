"""Evidence that a flag is no longer needed, and who asks for a flag."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection

from flags.models import STALE_DAYS, Flag, FlagClient


def hints(flag: Flag, now: datetime) -> list[str]:
    """Sentences; none unless the flag is stale. Requires a flag `with_evidence`."""
    if flag.archived_at or flag.archives_at:
        return []
    last, only = flag.last_evaluated_at, flag.only_variant
    found = []
    if flag.expected_end and flag.expected_end < now.date():
        end = f"{flag.expected_end.day} {flag.expected_end:%b %Y}"
        found.append(f"It was expected to end on {end}.")
    if now - (last or flag.created_at) > timedelta(days=STALE_DAYS):
        found.append(f"No game has evaluated it for {STALE_DAYS} days.")
    if only is not None:
        found.append(f"Everyone has got {only} for {STALE_DAYS} days, and it did not change.")
    return found


# --- Who asks -------------------------------------------------------------------------------------

NEWEST = """
SELECT DISTINCT ON (flag_id) * FROM flag_client WHERE flag_id = ANY(%s)
ORDER BY flag_id, last_at DESC, client"""


def asked_last(flags: Collection[Flag]) -> dict[int, FlagClient]:
    """The kind of client that asked last for each flag alone, by the flag's id."""
    found = FlagClient.objects.raw(NEWEST, [[flag.pk for flag in flags]])
    return {client.flag_id: client for client in found}


class Asked(NamedTuple):
    """The kinds of clients that asked for a flag alone, newest first, and how often the API
    evaluated it in the last STALE_DAYS: alone, and together with all flags."""

    clients: list[FlagClient]
    single: int
    bulk: int

    @property
    def last(self) -> FlagClient | None:
        return self.clients[0] if self.clients else None

    @property
    def is_only_bulk(self) -> bool:
        return bool(self.bulk) and not self.single


CLIENTS = "SELECT * FROM flag_client WHERE flag_id = %s ORDER BY last_at DESC, count DESC, client"
TIMES = """
SELECT coalesce(sum(single), 0)::bigint, coalesce(sum(count - single), 0)::bigint
FROM flag_usage WHERE flag_id = %s AND hour >= %s"""


def asked_of(flag: Flag, now: datetime) -> Asked:
    clients = list(FlagClient.objects.raw(CLIENTS, [flag.pk]))
    with connection.cursor() as cursor:
        cursor.execute(TIMES, [flag.pk, now - timedelta(days=STALE_DAYS)])
        single, bulk = cursor.fetchone()
    return Asked(clients, single, bulk)

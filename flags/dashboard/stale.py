"""Evidence that a flag is no longer needed, the page of such flags, and who asks for a flag."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

from django.db import connection
from django.db.models import Exists, F, OuterRef
from django.http import HttpResponse
from django.utils import timezone

from flags.models import STALE_DAYS, Flag, FlagClient
from ilara_admin.models import Role
from ilara_admin.templatetags.ilara import reltime_words
from ilara_admin.web.access import staff_view
from ilara_admin.web.filters import render_list
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.pagination import KeysetPage

SHOWN = 50
STILL_DAYS = 7  # an archived flag that was asked for in these days is still asked for


def hints(flag: Flag, now: datetime) -> list[str]:
    """Sentences; none unless the flag is stale. Requires a flag `with_evidence`."""
    if flag.archived_at or flag.archives_at:
        return []
    last = cast("datetime | None", flag.last_evaluated_at)  # type: ignore[attr-defined]
    only = cast("str | None", flag.only_variant)  # type: ignore[attr-defined]
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


def asked_text(flag: Flag, now: datetime) -> str:
    """`Asked last by ilara-go/1.1, 2 h ago.`, or "" if nobody is known to have asked for it."""
    client = asked_last([flag]).get(flag.pk)
    when = client and reltime_words(client.last_at, now)
    return f"Asked last by {client.client}, {when}." if client else ""


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


# --- The page -------------------------------------------------------------------------------------


@staff_view(Role.VIEWER)
def flag_stale_list(request: HtmxHttpRequest) -> HttpResponse:
    """Stale flags with the evidence, flags in their shadow period, and archived flags that games
    still ask for."""
    now = timezone.now()
    flags = Flag.objects.of(request.environment)
    page = KeysetPage.of(flags.stale(now).order_by("key"), request)
    shadow = list(flags.filter(archived_at=None, archives_at__isnull=False)[:SHOWN])
    asking = FlagClient.objects.filter(
        flag=OuterRef("pk"),
        last_at__gt=F("flag__archived_at"),
    ).filter(last_at__gt=now - timedelta(days=STILL_DAYS))
    still = list(flags.archived(True).filter(Exists(asking))[:SHOWN])
    asked = asked_last([*page.rows, *shadow, *still])

    def rows(chosen: Collection[Flag]) -> list[dict[str, Any]]:
        return [{"flag": flag, "asked": asked.get(flag.pk)} for flag in chosen]

    context = {
        "page": page,
        "rows": [{**row, "hints": hints(row["flag"], now)} for row in rows(page.rows)],
        "shadow": rows(shadow),
        "still": rows(still),
        "may_edit": request.user.may(Role.LIVE_OPS),
    }
    return render_list(request, "flags/stale.html", context)

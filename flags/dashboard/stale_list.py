"""The page of stale flags."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.db.models import Exists, F, OuterRef
from django.http import HttpResponse
from django.utils import timezone

from flags.dashboard.listing import flag_tabs
from flags.dashboard.stale import asked_last, hints
from flags.models import Flag, FlagClient
from ilara_admin.models import Role
from ilara_admin.web.access import may, staff_view
from ilara_admin.web.filters import render_list
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.pagination import KeysetPage

SHOWN = 50
STILL_DAYS = 7  # an archived flag that was asked for in these days is still asked for


@staff_view(Role.VIEWER)
def flag_stale_list(request: HtmxHttpRequest) -> HttpResponse:
    """Stale flags with the evidence, flags in their shadow period, and archived flags that games
    still ask for."""
    now = timezone.now()
    flags = Flag.objects.of(request.environment)
    page = KeysetPage.of(flags.stale(now).with_evidence(now).order_by("key"), request)
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
        "views": flag_tabs(request, is_stale_page=True),
        "may_edit": may(request, Role.LIVE_OPS),
    }
    return render_list(request, "flags/stale.html", context)

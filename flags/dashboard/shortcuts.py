"""Helpers of the flag pages."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpResponse

from flags.models import STALE_DAYS, Flag, last_evaluated_sql, only_variant_sql
from ilara_admin.models import AuditEntry
from ilara_admin.web.access import environment_url, get_or_404
from ilara_admin.web.confirm import changed
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast

# As Flag.objects.with_author().with_evidence(now).
GIVEN = f"""flag.id, flag.document, flag.updated_at, now() - interval '{STALE_DAYS} days',
    to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')"""
CHANGED_BY = """(SELECT r.author_name FROM flag_revision r
    WHERE r.flag_id = flag.id AND r.number = flag.revision)"""
WITH_AUTHOR_AND_EVIDENCE = f"""
    {CHANGED_BY} AS changed_by,
    {last_evaluated_sql("flag.id")} AS last_evaluated_at,
    {only_variant_sql(GIVEN)} AS only_variant"""


def get_flag_or_404(request: HtmxHttpRequest, key: str) -> Flag:
    return get_or_404(request, Flag, WITH_AUTHOR_AND_EVIDENCE, key=key)


def readable_flag(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Pass the flag instead of its key. Redirects to its page if it cannot be read."""

    @wraps(view)
    def wrapped(request: HtmxHttpRequest, key: str, **kwargs: Any) -> HttpResponse:
        flag = get_flag_or_404(request, key)
        if not flag.problem:
            return view(request, flag, **kwargs)
        response = redirect_to(request, environment_url(request, "flag_detail", key))
        return with_toast(request, response, f"{key} cannot be read.", tone="danger")

    return wrapped


def done(request: HtmxHttpRequest, flag: Flag, entry: AuditEntry | None, text: str) -> HttpResponse:
    """Redirect to the flag's page, with a toast that can undo the change."""
    return changed(request, environment_url(request, "flag_detail", flag.key), entry, text)

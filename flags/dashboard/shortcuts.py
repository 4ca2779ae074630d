"""Helpers of the flag pages."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpResponse

from flags.models import Flag
from ilara_admin.models import AuditEntry
from ilara_admin.web.access import environment_url, get_or_404
from ilara_admin.web.confirm import changed
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, with_toast


def get_flag_or_404(request: HtmxHttpRequest, key: str) -> Flag:
    return get_or_404(request, Flag.objects.with_author().with_last_evaluated(), key=key)


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

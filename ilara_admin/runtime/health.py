"""Liveness and readiness probes: `/healthz` and `/readyz`."""

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from ilara_admin.core import db, limits, outage
from ilara_admin.core.jobs import LIVE_LANES

CONNECT_SECONDS = 0.9
PROBE_KILOBYTES = 256

# Boolean SQL expressions by name: the conditions of readiness.
_checks = {"worker": f"EXISTS (SELECT FROM {LIVE_LANES})"}


def register_check(name: str, sql: str) -> None:
    """Add a boolean SQL expression that /readyz reports under this name."""
    _checks[name] = sql


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while the process responds; checks nothing else."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when the database responds and stores, else 503, within two seconds. Failed checks are
    reported but do not take the machine out of service: requests do not need them."""
    names = sorted(_checks)
    state = {"database": False, **dict.fromkeys(names, False)}
    try:
        with limits.using(limits.PROBE):
            if not db.is_reachable(CONNECT_SECONDS):
                raise OperationalError
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT {', '.join(_checks[name] for name in names)}")
                results = cursor.fetchone()
            state = {"database": True, **dict(zip(names, results, strict=True))}
            if outage.is_full:
                state["space"] = False
                _write()
                outage.is_full = False
                state["space"] = True
    except (DatabaseError, InterfaceError):
        pass
    is_ready = state["database"] and state.get("space", True)
    return JsonResponse(state, status=200 if is_ready else 503)


def _write() -> None:
    """Take space on the database's disk, and give it back."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"""CREATE TEMPORARY TABLE readiness ON COMMIT DROP AS
                SELECT repeat('x', 1000) FROM generate_series(1, {PROBE_KILOBYTES})"""
        )

"""Liveness and readiness probes: `/healthz` and `/readyz`."""

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

# Boolean SQL expressions by name: the conditions of readiness.
_checks = {
    "worker": """EXISTS (SELECT FROM procrastinate_workers
                 WHERE last_heartbeat > now() - interval '1 minute')"""
}


def register_check(name: str, sql: str) -> None:
    """Add a boolean SQL expression that /readyz reports under this name."""
    _checks[name] = sql


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while the process responds; checks nothing else."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when the database responds, else 503. Failed checks are reported but do not take the
    machine out of service: requests do not need them."""
    names = sorted(_checks)
    state = {"database": False, **dict.fromkeys(names, False)}
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(_checks[name] for name in names)}")
            results = cursor.fetchone()
        state = {"database": True, **dict(zip(names, results, strict=True))}
    except (DatabaseError, InterfaceError):
        pass
    return JsonResponse(state, status=200 if state["database"] else 503)

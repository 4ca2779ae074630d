"""Whether this process lives, and whether it can serve."""

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

# By name, a boolean SQL expression each: what should hold for this machine to serve. procrastinate
# removes workers that stop their heartbeat.
_checks = {
    "worker": """EXISTS (SELECT FROM procrastinate_workers
                 WHERE last_heartbeat > now() - interval '1 minute')"""
}


def register_check(name: str, sql: str) -> None:
    """Add a boolean SQL expression that /readyz reports under this name."""
    _checks[name] = sql


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while the process answers; asks nobody else."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when the database answers, else 503. Checks that fail are reported, but do not take the
    machine out of service: requests do not need them."""
    state = {"database": False, **dict.fromkeys(_checks, False)}
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(_checks.values())}")
            results = cursor.fetchone()
        state = {"database": True, **dict(zip(_checks, results, strict=True))}
    except (DatabaseError, InterfaceError):
        pass
    return JsonResponse(state, status=200 if state["database"] else 503)

"""Liveness and readiness probes: `/healthz` and `/readyz`."""

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

# First column: tomorrow's event partition exists and the default partition is empty. Second column:
# a worker sent a heartbeat within the last minute.
READY_SQL = """
    SELECT to_regclass(format('event_%s', to_char(now() AT TIME ZONE 'UTC' + interval '1 day',
                                                  'YYYYMMDD'))) IS NOT NULL
           AND NOT EXISTS (SELECT FROM event_default),
           EXISTS (SELECT FROM procrastinate_workers
                   WHERE last_heartbeat > now() - interval '1 minute')"""


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while the process responds; checks nothing else."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when the database responds, else 503. Missing partitions and a silent worker are reported
    but do not take the machine out of service: requests do not need them."""
    state = {"database": False, "partitions": False, "worker": False}
    try:
        with connection.cursor() as cursor:
            cursor.execute(READY_SQL)
            partitions, worker = cursor.fetchone()
        state = {"database": True, "partitions": partitions, "worker": worker}
    except (DatabaseError, InterfaceError):
        pass
    return JsonResponse(state, status=200 if state["database"] else 503)

"""`/metrics` for Prometheus: what the web processes counted, and figures read from the database.

A scrape is answered within about a second whatever state the database is in. Figures are then
missing, and `ilara_database_up` is 0.
"""

import os
import threading
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from ilara_admin.core.client_address import forwarded_address
from ilara_admin.core.jobs import LIVE_LANES
from ilara_admin.core.variables import METRICS_FOLDER
from ilara_admin.runtime import metrics_folder

# What proxies add. With such a header, the peer is a proxy and not the client.
FORWARDING = [
    "X_FORWARDED",
    "FORWARDED",
    "VIA",
    "X_REAL_IP",
    "X_CLIENT_IP",
    "TRUE_CLIENT_IP",
    "CF_",
]
FORWARDING_KEYS = tuple(f"HTTP_{name}" for name in FORWARDING)

DATABASE_SECONDS = 1.0


# --- Access ---------------------------------------------------------------------------------------


def is_allowed(request: HttpRequest) -> bool:
    """Whether the client is in one of METRICS_NETWORKS. A client behind a proxy that
    ILARA_PROXIES does not count has no known address, so it is not."""
    text = forwarded_address(request)
    if not text:
        if _is_forwarded(request):
            return False
        text = str(request.META.get("REMOTE_ADDR", ""))
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in settings.METRICS_NETWORKS)


def _is_forwarded(request: HttpRequest) -> bool:
    """Whether a proxy passed the request on. nginx without `proxy_set_header` adds nothing, but
    uses HTTP/1.0, which no scraper does."""
    if request.META.get("SERVER_PROTOCOL") == "HTTP/1.0":
        return True
    return any(key.startswith(FORWARDING_KEYS) for key in request.META)


# --- The page -------------------------------------------------------------------------------------


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The metrics in Prometheus' text format."""
    counted = REGISTRY
    if folder := os.environ.get(METRICS_FOLDER):
        metrics_folder.forget_ended(folder)
        counted = CollectorRegistry()
        MultiProcessCollector(counted)
    read = CollectorRegistry()
    read.register(Figures())
    content = generate_latest(counted) + generate_latest(read)
    return HttpResponse(content, content_type=CONTENT_TYPE_LATEST)


# --- Figures from the database --------------------------------------------------------------------


class Figure(NamedTuple):
    """A gauge. `label` is "" if it has one value only."""

    help: str
    label: str = ""


_figures = {
    "ilara_database_connections": Figure("Connections to this database, by state", "state"),
    "ilara_database_connections_max": Figure("Connections that the server allows"),
    "ilara_job_workers": Figure(
        "Lanes of job workers with a heartbeat in the last minute; a worker has two"
    ),
    "ilara_jobs_waiting": Figure("Jobs that are due and wait for a worker", "queue"),
    "ilara_jobs_running": Figure("Jobs that a worker has taken", "queue"),
    "ilara_jobs_failed": Figure("Jobs that failed and are not retried", "queue"),
    "ilara_job_lag_seconds": Figure("How long the oldest due job has waited", "queue"),
    "ilara_job_age_seconds": Figure("How long the oldest running job has run", "queue"),
}

_queries = [
    """SELECT 'ilara_database_connections', coalesce(state, 'other'), count(*)::float8
       FROM pg_stat_activity WHERE datname = current_database() GROUP BY 2""",
    "SELECT 'ilara_database_connections_max', '', current_setting('max_connections')::float8",
    f"SELECT 'ilara_job_workers', '', count(*)::float8 FROM {LIVE_LANES}",
    # A job was due when it was deferred or, if later, at its scheduled time.
    """SELECT figure.name, queue, figure.value
       FROM (
           SELECT job.queue_name AS queue,
                  count(*) FILTER (WHERE job.status = 'todo') AS waiting,
                  count(*) FILTER (WHERE job.status = 'doing') AS running,
                  count(*) FILTER (WHERE job.status = 'failed') AS failed,
                  max(now() - greatest(last.at, job.scheduled_at))
                      FILTER (WHERE job.status = 'todo') AS lag,
                  max(now() - last.at) FILTER (WHERE job.status = 'doing') AS age
           FROM procrastinate_jobs job
           LEFT JOIN LATERAL (
               SELECT max(at) AS at FROM procrastinate_events
               WHERE job_id = job.id AND job.status IN ('todo', 'doing')
                 AND type IN ('deferred', 'deferred_for_retry', 'retried', 'started')) last ON true
           WHERE job.status <> 'todo' OR job.scheduled_at IS NULL OR job.scheduled_at <= now()
           GROUP BY 1) queues,
       LATERAL (VALUES ('ilara_jobs_waiting', waiting::float8),
                       ('ilara_jobs_running', running),
                       ('ilara_jobs_failed', failed),
                       ('ilara_job_lag_seconds', coalesce(extract(epoch FROM lag), 0)),
                       ('ilara_job_age_seconds', coalesce(extract(epoch FROM age), 0))
       ) figure (name, value)""",
]

type Reading = tuple[str, str, float]  # the figure's name, the label's value, the figure


def register_figures(figures: dict[str, Figure], query: str) -> None:
    """Add gauges. The query gives rows of name, label ("" for none) and value as float8."""
    _figures.update(figures)
    _queries.append(query)


class Figures:
    """A collector for prometheus_client."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        readings = read_in_time()
        up = GaugeMetricFamily("ilara_database_up", "Whether the database answered this scrape")
        up.add_metric([], float(readings is not None))
        yield up
        for name, figure in _figures.items():
            labels = [figure.label] if figure.label else []
            family = GaugeMetricFamily(name, figure.help, labels=labels)
            for found, label, value in readings or ():
                if found == name:
                    family.add_metric([label] if labels else [], value)
            yield family


_reading = threading.Lock()


def read_in_time() -> list[Reading] | None:
    """The figures, or None if the database fails or takes longer than DATABASE_SECONDS.

    A server that hangs enforces no timeout. So another thread waits for it, at most one in this
    process."""
    if not _reading.acquire(timeout=DATABASE_SECONDS):
        return None
    readings: list[Reading] = []
    succeeded = threading.Event()

    def run() -> None:
        try:
            readings.extend(_read())
            succeeded.set()
        except (DatabaseError, InterfaceError):
            pass  # ilara_database_up says so
        finally:
            connection.close()
            _reading.release()

    thread = threading.Thread(target=run, name="metrics", daemon=True)
    thread.start()
    thread.join(DATABASE_SECONDS)
    return readings if succeeded.is_set() else None


def _read() -> list[Reading]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {DATABASE_SECONDS * 1000:.0f}")
        cursor.execute(" UNION ALL ".join(f"({query})" for query in _queries))
        rows: list[Reading] = cursor.fetchall()
    return rows

from typing import Any

from django.core.management.base import BaseCommand
from procrastinate import PsycopgConnector
from procrastinate.contrib.django import app, connector_params

from ilara_admin.core import limits

STOP_SECONDS = 5
CONCURRENCY = 2  # a long job must not hold up the short ones
# When PostgreSQL is gone, the worker exits and is restarted; the default of 30 seconds is too long.
CONNECTION_SECONDS = 5


class Command(BaseCommand):
    help = "Run the job worker: counts, partitions, cleanup. `serve` starts one."

    def handle(self, *args: Any, **options: Any) -> None:
        limits.set_for_process(limits.JOB)
        connector = PsycopgConnector(kwargs=connector_params(), timeout=CONNECTION_SECONDS)
        with app.replace_connector(connector) as worker:
            worker.run_worker(
                concurrency=CONCURRENCY,
                shutdown_graceful_timeout=STOP_SECONDS,
                delete_jobs="successful",  # some run every few seconds
            )

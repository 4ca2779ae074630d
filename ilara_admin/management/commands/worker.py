from typing import Any

from django.core.management.base import BaseCommand
from procrastinate.contrib.django import app

STOP_SECONDS = 5
CONCURRENCY = 2  # a long job must not hold up the short ones


class Command(BaseCommand):
    help = "Run the job worker: partitions, clean-up and whatever else is due. `serve` starts one."

    def handle(self, *args: Any, **options: Any) -> None:
        connector = app.connector.get_worker_connector()  # type: ignore[attr-defined]
        with app.replace_connector(connector) as worker:
            worker.run_worker(
                concurrency=CONCURRENCY,
                shutdown_graceful_timeout=STOP_SECONDS,
                delete_jobs="successful",  # some come every few seconds
            )

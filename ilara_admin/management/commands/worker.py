from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Run the job worker: partitions, clean-up and whatever else is due. `serve` starts one."

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("procrastinate", "worker", shutdown_graceful_timeout=5)

import asyncio
from typing import Any

from django.core.management.base import BaseCommand

from ilara_admin.core import limits
from ilara_admin.runtime import lanes


class Command(BaseCommand):
    help = "Run the job worker: counts, partitions, cleanup. `serve` starts one."

    def handle(self, *args: Any, **options: Any) -> None:
        limits.set_for_process(limits.JOB)
        lanes.shorten_logs()
        asyncio.run(lanes.run())

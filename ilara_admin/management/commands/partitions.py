from typing import Any

from events import partitions
from ilara_admin.management.base import IlaraCommand

MIB = 1024 * 1024


class Command(IlaraCommand):
    help = "Make the event table's missing partitions, for today and a week ahead, and list all."

    def run(self, **options: Any) -> None:
        made = set(partitions.ensure())
        self.table(
            ("PARTITION", "ROWS (ESTIMATE)", "MIB", ""),
            [
                (part.name, part.rows, round(part.bytes / MIB), "new" if part.name in made else "")
                for part in partitions.describe()
            ],
        )

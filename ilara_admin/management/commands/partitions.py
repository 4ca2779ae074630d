from datetime import timedelta
from typing import Any

from events import partitions
from events.partitions import Partition
from ilara_admin.management.base import IlaraCommand

MIB = 1024 * 1024


class Command(IlaraCommand):
    help = (
        "Create the event table's missing partitions (today, a week ahead, and days of rows in the "
        "default partition) and list all."
    )

    def run(self, **options: Any) -> None:
        created = set(partitions.ensure())
        parts = partitions.describe()
        self.table(
            ("PARTITION", "FROM", "TO (UTC)", "ROWS (ESTIMATE)", "MIB", ""),
            [
                (part.name, *_range(part), part.rows, round(part.bytes / MIB),
                 "new" if part.name in created else "")
                for part in parts
            ],
        )  # fmt: skip
        rows, size = sum(part.rows for part in parts), sum(part.bytes for part in parts)
        self.note(f"{len(parts)} partitions, about {rows:,} rows, {round(size / MIB):,} MiB.")


def _range(part: Partition) -> tuple[str, str]:
    if part.day is None:
        return "any other", "day"
    return part.day.isoformat(), (part.day + timedelta(days=1)).isoformat()

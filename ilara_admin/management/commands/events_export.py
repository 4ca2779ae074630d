import csv
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, TextIO

import msgspec
from django.core.management.base import CommandError, CommandParser, OutputWrapper
from django.utils import timezone

from events import export
from events.schemas import StreamedEvent
from ilara_admin.core import spreadsheet
from ilara_admin.core.times import read_time
from ilara_admin.management.bar import ProgressBar
from ilara_admin.management.base import IlaraCommand
from ilara_admin.management.resolve import environment_of
from segments.language.values import duration


class Command(IlaraCommand):
    help = (
        "Write the events of an environment to stdout, in order of arrival. The audit log records "
        f"the export. CSV: {spreadsheet.HELP}"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment", metavar="PROJECT/ENV")
        moments = "a date or time (2026-01-31, 2026-01-31T12:00Z), or an age: 7d, 24h, 30m"
        parser.add_argument("--since", type=moment, required=True, help=moments)
        parser.add_argument("--until", type=moment, help="same format; default: now")
        parser.add_argument("--format", choices=["jsonl", "csv"], default="jsonl")
        parser.add_argument("--event", help="only events with this name", metavar="NAME")
        parser.add_argument("--reason", default="", help="for the audit log")

    def run(
        self, *, environment: str, since: datetime, until: datetime | None, format: str,
        event: str | None, reason: str, **options: Any,
    ) -> None:  # fmt: skip
        found, now = environment_of(environment), timezone.now()
        until = min(until or now, now)
        if since >= until:
            raise CommandError("--since must be before --until, and before now.")
        # A file gets the events as they are; a terminal must not run what they contain.
        write = writer_of(self.stdout if sys.stdout.isatty() else sys.stdout, format)
        bar, count = ProgressBar(), 0
        bar("Events", 0, 1)
        try:
            for hour in export.hours(since, until):
                for exported in export.read(found.pk, hour, event):
                    write(exported)
                    count += 1
                bar("Events", *export.progress(since, until, hour))
            sys.stdout.flush()
        finally:  # also what was written before an interruption, or before the reader went
            export.record(found, since, until, event, count, actor=self.actor, reason=reason)
        self.note(f"{count:,} events of {found}.")


def moment(text: str) -> datetime:
    """Parse a date, a time or an age such as `7d`. The default time zone is UTC."""
    with suppress(ValueError):
        return timezone.now() - duration(text)
    found = read_time(text)
    if found is None:
        raise ArgumentTypeError(f"“{text}” is not a time. Write 2026-01-31 or 7d.")
    return found


def writer_of(stream: TextIO | OutputWrapper, format: str) -> Callable[[StreamedEvent], object]:
    if format == "jsonl":
        return lambda event: stream.write(msgspec.json.encode(event).decode() + "\n")
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(export.COLUMNS)
    return lambda event: rows.writerow(export.row(event))

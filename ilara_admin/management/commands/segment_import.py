import os
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, BinaryIO

from django.core.management.base import CommandError, CommandParser

from ilara_admin.management.bar import ProgressBar
from ilara_admin.management.base import IlaraCommand
from ilara_admin.management.resolve import environment_of
from ilara_admin.models import Environment
from segments.lists.chunks import SupersededError
from segments.lists.csv_reader import FileRefusedError, checked
from segments.lists.services import list_give_up, list_import, list_run
from segments.models import Segment, SegmentListChange

READ_BYTES = 64 * 1024
LEFT_OUT = 3  # exit code: imported, except for bad lines
INTERRUPTED = 130


class Command(IlaraCommand):
    help = (
        "Add the external ids of a CSV file to a list of a segment: one id per line, or a table "
        "with a column named external_id, player_id, user_id or id, separated by commas, "
        "semicolons or tabs; UTF-8, or UTF-16 with a byte order mark. Players with these ids need "
        "not exist yet; the ids of registered players, as in events_export, work as well. Running "
        f"it again adds nothing twice. Exits with {LEFT_OUT} if lines were skipped, and with 1, "
        "without a change, if the file is not such a list."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment", metavar="PROJECT/ENV")
        parser.add_argument("segment", metavar="SEGMENT", help="its key")
        parser.add_argument("file", metavar="FILE", help="- for stdin")
        parser.add_argument("--exclude", action="store_true", help="add to the exclude list")
        parser.add_argument(
            "--replace", action="store_true", help="also remove ids that are not in the file"
        )
        parser.add_argument("--reason", default="", help="for the audit log")

    def run(self, **options: Any) -> None:
        segment = _segment_of(environment_of(options["environment"]), options["segment"])
        with _opened(options["file"]) as file:
            pieces = _checked(file, options["file"])
            change = list_import(
                segment,
                excluded=options["exclude"],
                replace=options["replace"],
                file_name="" if options["file"] == "-" else _name(options["file"]),
                size=_size(file),
                actor=self.actor,
                reason=options["reason"],
            )
            self._run(change, pieces)
        segment.refresh_from_db()
        self._report(segment, change)

    def _run(self, change: SegmentListChange, pieces: Iterator[bytes]) -> None:
        bar = ProgressBar()

        def progress(step: str, done: int, total: int) -> None:
            if done < total:
                bar(step, done, total)

        try:
            list_run(change, pieces, progress)
        except SupersededError:
            raise CommandError(
                "The import was cancelled after a minute without progress. Run it again to resume."
            ) from None
        except KeyboardInterrupt:
            list_give_up(change, "The command was interrupted.")
            raise CommandError(
                f"Stopped. {change.added:,} ids were added. Run it again to resume.",
                returncode=INTERRUPTED,
            ) from None
        bar("Importing", 1, 1)

    def _report(self, segment: Segment, change: SegmentListChange) -> None:
        size = segment.excluded if change.excluded else segment.included
        self.stdout.write(
            f"{change.added:,} added, {change.present:,} already there"
            + (f", {change.removed:,} removed" if change.removed else "")
            + f". {segment.key} of {segment.environment} now "
            + f"{'excludes' if change.excluded else 'includes'} {size:,}."
        )
        if change.bad:
            first = "; ".join(f"line {number} {problem}" for number, problem in change.bad_lines)
            more = "; …" if change.bad > len(change.bad_lines) else ""
            noun = "line was" if change.bad == 1 else "lines were"
            raise CommandError(
                f"{change.bad:,} {noun} skipped: {first}{more}.", returncode=LEFT_OUT
            )


def _segment_of(environment: Environment, key: str) -> Segment:
    segments = Segment.objects.select_related("environment__project")
    segment = segments.filter(environment=environment, key=key).first()
    if segment is None:
        known = ", ".join(
            Segment.objects.filter(environment=environment).values_list("key", flat=True)[:20]
        )
        raise CommandError(f"{environment} has no segment “{key}”. It has: {known or 'none'}.")
    return segment


def _opened(path: str) -> AbstractContextManager[BinaryIO]:
    if path == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return open(path, "rb")
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {error.strerror}.") from None


def _name(path: str) -> str:
    """The file's name; bytes that are not UTF-8 are replaced."""
    return os.path.basename(path).encode(errors="replace").decode()


def _size(file: BinaryIO) -> int:
    """In bytes, 0 for a pipe."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _checked(file: BinaryIO, path: str) -> Iterator[bytes]:
    """The file in pieces. Refuses it before anything is written."""
    try:
        return checked(iter(partial(file.read, READ_BYTES), b""))
    except FileRefusedError as error:
        name = "The input" if path == "-" else _name(path)
        raise CommandError(f"{name} was not imported. {error}") from None

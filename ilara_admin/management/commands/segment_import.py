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
from segments.lists.services import list_give_up, list_import, list_run
from segments.models import Segment, SegmentListChange

READ_BYTES = 64 * 1024
LEFT_OUT = 3  # the exit code when everything but the bad lines went in
INTERRUPTED = 130


class Command(IlaraCommand):
    help = (
        "Put the external ids of a CSV file on a list of a segment: one id a line, or a column "
        "named external_id. Ids may come before their players, and running it again adds nothing "
        f"twice. Ends with {LEFT_OUT} when bad lines were left out."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment", metavar="PROJECT/ENV")
        parser.add_argument("segment", metavar="SEGMENT", help="its key")
        parser.add_argument("file", metavar="FILE", help="- reads standard input")
        parser.add_argument("--exclude", action="store_true", help="the list of who is never in")
        parser.add_argument(
            "--replace", action="store_true", help="also take off what the file does not name"
        )
        parser.add_argument("--reason", default="", help="kept in the audit log")

    def run(self, **options: Any) -> None:
        segment = _segment_of(environment_of(options["environment"]), options["segment"])
        with _opened(options["file"]) as file:
            change = list_import(
                segment,
                excluded=options["exclude"],
                replace=options["replace"],
                file_name="" if options["file"] == "-" else _name(options["file"]),
                size=_size(file),
                actor=self.actor,
                reason=options["reason"],
            )
            self._run(change, file)
        segment.refresh_from_db()
        self._tell(segment, change)

    def _run(self, change: SegmentListChange, file: BinaryIO) -> None:
        bar = ProgressBar()

        def progress(step: str, done: int, total: int) -> None:
            if done < total:
                bar(step, done, total)

        try:
            list_run(change, _pieces(file), progress)
        except SupersededError:
            raise CommandError(
                "It was given up after a minute without progress. Run it again to go on."
            ) from None
        except KeyboardInterrupt:
            list_give_up(change, "The command was interrupted.")
            raise CommandError(
                f"Stopped. {change.added:,} ids went in. Run it again to go on.",
                returncode=INTERRUPTED,
            ) from None
        bar("Importing", 1, 1)

    def _tell(self, segment: Segment, change: SegmentListChange) -> None:
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
            words = "line was" if change.bad == 1 else "lines were"
            raise CommandError(
                f"{change.bad:,} {words} left out: {first}{more}.", returncode=LEFT_OUT
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
    """The file's name, also where it is none in UTF-8."""
    return os.path.basename(path).encode(errors="replace").decode()


def _size(file: BinaryIO) -> int:
    """In bytes, 0 for a pipe."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    return iter(partial(file.read, READ_BYTES), b"")

import sys
from contextlib import nullcontext
from typing import Any, BinaryIO

from django.core.management.base import CommandError, CommandParser

from ilara_admin.checks import database_problem
from ilara_admin.management.bar import ProgressBar
from ilara_admin.management.base import IlaraCommand
from ilara_admin.runtime import supervisor
from ilara_admin.runtime.backup.manifest import BackupError
from ilara_admin.runtime.backup.restore import Restored, restore


class Command(IlaraCommand):
    help = (
        "Restore a backup into the database, which must be empty or named by --replace: completely "
        "or not at all. Restore only files that you trust: they can run any SQL."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help="- for stdin")
        parser.add_argument(
            "--replace", metavar="NAME", help="delete everything in this database first"
        )

    def run(self, *, file: str, replace: str | None, **options: Any) -> None:
        if problem := database_problem():
            raise CommandError(problem)
        try:
            with _opened(file) as stream, supervisor.stoppable():
                restored = restore(stream, replace, ProgressBar())
        except BackupError as error:
            raise CommandError(str(error)) from None
        self._report(restored)

    def _report(self, restored: Restored) -> None:
        manifest = restored.manifest
        self.stdout.write(
            f"Restored {manifest.total:,} rows in {len(manifest.rows)} tables, as counted in the "
            f"backup of {manifest.created_at}."
        )
        if restored.unknown:
            self.note(
                "The backup is from a newer version of Ilara, with the migrations "
                f"{', '.join(restored.unknown)}: upgrade Ilara before you start it."
            )
        elif restored.missing:
            self.note("The backup is from an older version of Ilara: run `manage.py migrate`.")


def _opened(path: str) -> Any:
    """The file or stdin, unbuffered."""
    try:
        if path == "-":
            return nullcontext[BinaryIO](open(sys.stdin.fileno(), "rb", buffering=0, closefd=False))
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {error.strerror}.") from None

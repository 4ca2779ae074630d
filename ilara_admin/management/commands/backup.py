import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from ilara_admin.management.bar import ProgressBar
from ilara_admin.management.base import IlaraCommand
from ilara_admin.runtime import supervisor
from ilara_admin.runtime.backup.dump import complete_file, dump
from ilara_admin.runtime.backup.manifest import BackupError

MIB = 1024 * 1024


class Command(IlaraCommand):
    help = (
        "Write a backup of the whole database to a new file, while Ilara runs. It has every change "
        "acknowledged before it began; `restore` reads it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help="- for stdout")

    def run(self, *, file: str, **options: Any) -> None:
        if file == "-" and sys.stdout.isatty():
            raise CommandError("A backup is not text: name a file, or send stdout to a program.")
        try:
            with supervisor.stoppable():
                if file == "-":
                    manifest, size = dump(sys.stdout.buffer, ProgressBar()), ""
                else:
                    with complete_file(Path(file)) as stream:
                        manifest = dump(stream, ProgressBar())
                        size = f", {stream.tell() / MIB:,.1f} MiB"
        except BackupError as error:
            raise CommandError(str(error)) from None
        self.note(f"{manifest.total:,} rows in {len(manifest.rows)} tables{size}.")
        if not settings.DATABASE_URL:
            self.note(
                f"Save {settings.ILARA_HOME / 'secret_key'}, too: without it, staff sign in again."
            )

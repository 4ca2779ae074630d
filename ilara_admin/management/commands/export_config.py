from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ilara_admin.config.document import write
from ilara_admin.config.store import read_config
from ilara_admin.management.base import IlaraCommand
from ilara_admin.management.resolve import environment_of


class Command(IlaraCommand):
    help = (
        "Write the segments and flags of an environment as a JSON document for version control, "
        "to apply with import_config. The same content always gives the same bytes. Players, keys, "
        "overrides and segment lists are not included."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment", metavar="PROJECT/ENV")
        parser.add_argument("--output", metavar="FILE", help="default: stdout")

    def run(self, *, environment: str, output: str | None, **options: Any) -> None:
        text = write(read_config(environment_of(environment)))
        if output is None:
            self.stdout.write(text, ending="")
            return
        try:
            Path(output).write_bytes(text.encode())
        except OSError as error:
            raise CommandError(f"Cannot write {output}: {error.strerror}.") from None

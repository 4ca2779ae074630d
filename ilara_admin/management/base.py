"""Base class of the commands: one-line errors, notes on stderr, tables, password input."""

import getpass
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, OutputWrapper
from django.db import OperationalError, ProgrammingError
from psycopg.errors import UndefinedTable

from ilara_admin.core import db
from ilara_admin.core.audit import Actor
from ilara_admin.core.text import columns, visible
from ilara_admin.models import User

PASSWORD_VARIABLE = "ILARA_STAFF_PASSWORD"  # noqa: S105  # the name of a variable


class VisibleOutput(OutputWrapper):
    """Shows control characters of client texts as escapes, so that none runs on the terminal. JSON
    stays the same document."""

    @classmethod
    def of(cls, output: OutputWrapper) -> "VisibleOutput":
        new = cls(output._out, output.ending)  # type: ignore[arg-type]  # the stub wants TextIO
        new.style_func = output.style_func
        return new

    def write(  # type: ignore[override]  # as the base class, whose stub differs
        self, msg: str = "", style_func: Any = None, ending: str | None = None
    ) -> None:
        super().write(visible(msg, lines=True), style_func, ending)


class IlaraCommand(BaseCommand):
    """A command whose `run` gets the parsed options."""

    # `check` and `serve` run them; here they would only clutter the output.
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout = VisibleOutput.of(self.stdout)
        self.stderr = VisibleOutput.of(self.stderr)
        try:
            self.run(**options)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        except OperationalError as error:
            raise CommandError(f"Database error: {db.reason(error)}") from None
        except ProgrammingError as error:
            if not isinstance(error.__cause__, UndefinedTable):
                raise
            raise CommandError("The database has no tables yet: run `manage.py migrate`.") from None

    def run(self, *args: Any, **options: Any) -> None:
        raise NotImplementedError

    @property
    def actor(self) -> Actor:
        return Actor.of_command(type(self).__module__.rpartition(".")[2])

    def note(self, text: str) -> None:
        """Write a message to stderr; stdout is for output that programs read."""
        self.stderr.write(text, style_func=str)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Write aligned columns, numbers right-aligned."""
        rows = list(rows)
        cells = [[visible(str(cell)) for cell in row] for row in (head, *rows)]
        widths, numbers = _widths(cells), _numeric(head, rows)
        for row in cells:
            padded = (
                _gap(cell, width) + cell if number else cell + _gap(cell, width)
                for cell, width, number in zip(row, widths, numbers, strict=True)
            )
            self.stdout.write("  ".join(padded).rstrip())


def _widths(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(columns, column)) for column in zip(*cells, strict=True)]


def _gap(cell: str, width: int) -> str:
    return " " * (width - columns(cell))


def _numeric(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[bool]:
    return [all(isinstance(row[place], int) for row in rows) for place in range(len(head))]


def manage() -> str:
    """The command line for other commands, started the same way as this one."""
    if "UV" in os.environ:  # set by `uv run`
        return "uv run manage.py"
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return f"{shlex.quote(str(python))} manage.py"


def minute(moment: datetime | None) -> str:
    """A time for display, in UTC to the minute; "never" for None."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if moment else "never"


def password_for(user: User, *, from_stdin: bool) -> str:
    """A valid password: from standard input, from PASSWORD_VARIABLE, or typed twice.

    Raises CommandError and ValidationError.
    """
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif PASSWORD_VARIABLE in os.environ:
        password = os.environ[PASSWORD_VARIABLE]
    elif sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Password again: ") != password:
            raise CommandError("The two passwords differ. Nothing was changed.")
    else:
        raise CommandError(f"Pass the password with --password-stdin or in {PASSWORD_VARIABLE}.")
    validate_password(password, user)
    return password

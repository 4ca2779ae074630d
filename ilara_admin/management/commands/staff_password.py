from typing import Any

from django.core.management.base import CommandParser

from ilara_admin.core.staff import staff_set_password
from ilara_admin.management.base import PASSWORD_VARIABLE, IlaraCommand, password_for
from ilara_admin.management.resolve import staff_of


class Command(IlaraCommand):
    help = f"Set a staff password. Prompts for it, or reads it from {PASSWORD_VARIABLE}."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", metavar="USERNAME")
        parser.add_argument("--password-stdin", action="store_true", help="first line of stdin")

    def run(self, *, username: str, password_stdin: bool, **options: Any) -> None:
        user = staff_of(username)
        password = password_for(user, from_stdin=password_stdin)
        staff_set_password(user, password=password, actor=self.actor)
        self.stdout.write(f"{username} has a new password and must sign in again.")

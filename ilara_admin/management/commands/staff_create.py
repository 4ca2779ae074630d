from typing import Any

from django.core.management.base import CommandError, CommandParser

from ilara_admin.core.staff import staff_create
from ilara_admin.management.base import PASSWORD_VARIABLE, IlaraCommand, password_for
from ilara_admin.models import Role, User


class Command(IlaraCommand):
    help = f"Add a staff account. Prompts for the password, or reads it from {PASSWORD_VARIABLE}."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", metavar="USERNAME")
        parser.add_argument("--role", required=True, choices=Role.values)
        parser.add_argument("--email", default="")
        parser.add_argument("--password-stdin", action="store_true", help="first line of stdin")

    def run(
        self, *, username: str, role: str, email: str, password_stdin: bool, **options: Any
    ) -> None:
        if User.objects.filter(username=username).exists():  # before the password prompt
            raise CommandError(f"The staff account “{username}” already exists.")
        user = staff_create(
            username=username,
            role=Role(role),
            email=email,
            password=password_for(User(username=username, email=email), from_stdin=password_stdin),
            actor=self.actor,
        )
        self.stdout.write(f"{user.username} can sign in now, as {user.role}.")

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from ilara_admin.core.staff import membership_set, staff_create
from ilara_admin.management.base import PASSWORD_VARIABLE, IlaraCommand, password_for
from ilara_admin.management.resolve import project_of
from ilara_admin.models import MEMBER_ROLES, Role, User


class Command(IlaraCommand):
    help = (
        "Add a staff account: an owner of the installation, or a member of a project with a role. "
        f"Prompts for the password, or reads it from {PASSWORD_VARIABLE}."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", metavar="USERNAME")
        parser.add_argument("--owner", action="store_true", help="has every role everywhere")
        parser.add_argument("--project", metavar="PROJECT", help="its slug")
        parser.add_argument("--role", choices=MEMBER_ROLES, help="in the project")
        parser.add_argument("--email", default="")
        parser.add_argument("--password-stdin", action="store_true", help="first line of stdin")

    def run(
        self,
        *,
        username: str,
        owner: bool,
        project: str | None,
        role: str | None,
        email: str,
        password_stdin: bool,
        **options: Any,
    ) -> None:
        if (bool(project), bool(role)) != (not owner, not owner):
            raise CommandError("Pass either --owner, or --project and --role.")
        of = project_of(project) if project else None
        if User.objects.filter(username=username).exists():  # before the password prompt
            raise CommandError(f"The staff account “{username}” already exists.")
        password = password_for(User(username=username, email=email), from_stdin=password_stdin)
        with transaction.atomic():
            user = staff_create(
                username=username,
                email=email,
                password=password,
                is_owner=owner,
                actor=self.actor,
            )
            if of and role:
                membership_set(user, of, Role(role), actor=self.actor)
        what = f"{role} of {of.slug}" if of else "an owner"
        self.stdout.write(f"{user.username} can sign in now, as {what}.")

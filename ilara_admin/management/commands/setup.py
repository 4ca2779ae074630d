import os
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from events import partitions
from ilara_admin.bootstrap import (
    ADMIN_NAME,
    Tokens,
    credential_lines,
    generated_password,
    missing_migrations,
    project_with_keys,
)
from ilara_admin.core.projects import slug_from
from ilara_admin.core.staff import staff_create
from ilara_admin.management.base import PASSWORD_VARIABLE, IlaraCommand, manage, password_for
from ilara_admin.models import ApiKey, Project, Tier, User

PROJECT_NAME = "My game"


class Command(IlaraCommand):
    help = (
        "Create the first owner, and the first project with its environments and keys. It needs "
        "the tables (`manage.py migrate`). What exists stays as it is, so it can be repeated. The "
        f"password is read from {PASSWORD_VARIABLE}, or asked for on a terminal, or generated."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--project", metavar="NAME", help=f"default: “{PROJECT_NAME}”, if there is no project"
        )
        parser.add_argument("--slug", help="of the project, in URLs; default: from its name")
        parser.add_argument(
            "--admin", metavar="USERNAME", help=f"an owner; default: {ADMIN_NAME}, if there is none"
        )

    def run(
        self, *, project: str | None, slug: str | None, admin: str | None, **options: Any
    ) -> None:
        if missing := missing_migrations():
            raise CommandError(
                f"The database lacks {missing} migrations: run `{manage()} migrate` first."
            )
        partitions.ensure()  # events can arrive before the worker runs
        name = project or PROJECT_NAME
        slug = slug or (slug_from(project) if project else None)
        user = admin_found(admin)
        username = user.username if user else admin or ADMIN_NAME
        typed, generated = (None, None) if user else self.password(username)
        found = project_found(slug)
        tokens: Tokens = {}
        with transaction.atomic():
            if not user:
                staff_create(
                    username=username,
                    is_owner=True,
                    password=typed or generated or "",
                    actor=self.actor,
                )
            if not found:
                new, tokens = project_with_keys(
                    name=name,
                    slug=slug or slug_from(name),
                    tier=Tier.ENTERPRISE,
                    actor=self.actor,
                )
            rights = "" if not user or user.is_owner else ", no owner"
            self.say("owner", f"{username} {'found' if user else 'created'}{rights}")
            self.say_project(found or new, "found" if found else "created")
            for label, text in credential_lines(username, generated, tokens):
                self.say(label, text)
            self.stdout.flush()

    def password(self, username: str) -> tuple[str | None, str | None]:
        """A given password, else a generated one; the other is None."""
        if PASSWORD_VARIABLE in os.environ or sys.stdin.isatty():
            return password_for(User(username=username), from_stdin=False), None
        return None, generated_password()

    def say_project(self, project: Project, what: str) -> None:
        environments = [environment.slug for environment in project.environments.order_by("id")]
        self.say(
            "project", f"{project.slug} {what}, tier {project.tier}: {', '.join(environments)}"
        )
        if what == "found":
            keys = ApiKey.objects.filter(environment__project=project).count()
            self.say("keys", f"{keys}; issue another one with")
            example = f"{project.slug}/{environments[0]}"
            self.say("", f"{manage()} api_key_create {example} public --name NAME")

    def say(self, label: str, text: str) -> None:
        self.stdout.write(f"  {label:<13}{text}")


def admin_found(username: str | None) -> User | None:
    """The account of this name, or any active owner."""
    if username:
        return User.objects.filter(username=username).first()
    return User.objects.filter(is_owner=True, is_active=True).order_by("id").first()


def project_found(slug: str | None) -> Project | None:
    """The project with this slug, or the first one."""
    projects = Project.objects.order_by("id")
    return (projects.filter(slug=slug) if slug else projects).first()

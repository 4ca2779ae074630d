from typing import Any

from django.core.management.base import CommandError, CommandParser

from ilara_admin.core.projects import project_update
from ilara_admin.management.base import IlaraCommand
from ilara_admin.management.resolve import project_of
from ilara_admin.models import Tier


class Command(IlaraCommand):
    help = "Change a project's tier or name. In force on the next request."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", metavar="PROJECT")
        parser.add_argument("--tier", choices=Tier.values)
        parser.add_argument("--name")
        parser.add_argument("--reason", default="", help="for the audit log")

    def run(
        self, *, project: str, tier: str | None, name: str | None, reason: str, **options: Any
    ) -> None:
        if not (tier or name):
            raise CommandError("Pass --tier or --name.")
        changed = project_of(project)
        project_update(
            changed,
            tier=Tier(tier) if tier else None,
            name=name,
            actor=self.actor,
            reason=reason,
        )
        changed.refresh_from_db()
        self.stdout.write(f"{changed.slug}: “{changed.name}”, tier {changed.tier}.")

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from ilara_admin.management.base import IlaraCommand, minute
from ilara_admin.management.resolve import environment_of, project_of
from ilara_admin.models import ApiKey

HEAD = (
    "ID", "ENVIRONMENT", "KIND", "NAME", "KEY", "STATE", "SCOPES", "NETWORKS", "CREATED",
    "LAST USED", "BY", "FROM",
)  # fmt: skip


class Command(IlaraCommand):
    help = "List API keys: all, or those of one project or environment."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("scope", nargs="?", metavar="PROJECT[/ENV]")

    def run(self, *, scope: str | None, **options: Any) -> None:
        keys = ApiKey.objects.select_related("environment__project").order_by(
            "environment__project__slug", "environment_id", "id"
        )
        if scope and "/" in scope:
            keys = keys.filter(environment=environment_of(scope))
        elif scope:
            keys = keys.filter(environment__project=project_of(scope))
        now = timezone.now()
        rows = [
            (
                key.pk,
                key.environment,
                key.kind,
                key.name,
                key.masked,
                key.state_at(now),
                ",".join(key.scopes) or "-",
                ",".join(key.networks) or "any",
                minute(key.created_at),
                minute(key.last_used_at),
                key.last_client or "-",
                key.last_address or "-",
            )
            for key in keys
        ]
        self.table(HEAD, rows)
        if not rows:
            self.note("No keys yet: `api_key_create PROJECT/ENV public --name NAME` issues one.")

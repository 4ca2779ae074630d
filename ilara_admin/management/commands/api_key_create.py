from typing import Any

from django.core.management.base import CommandParser

from ilara_admin.core.api_keys import api_key_create
from ilara_admin.management.base import IlaraCommand
from ilara_admin.management.resolve import duration, environment_of
from ilara_admin.models import KeyKind, KeyScope


class Command(IlaraCommand):
    help = "Issue an API key. Only the token goes to stdout; it is shown once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment", metavar="PROJECT/ENV")
        parser.add_argument("kind", choices=KeyKind.values)
        parser.add_argument("--name", required=True, help="what the key is for")
        parser.add_argument("--expires-in", metavar="SPAN", help="such as 12h, 30d or 2w")
        parser.add_argument(
            "--scope", action="append", choices=KeyScope.values,
            help="what a secret key may do, repeatable; all but manage if left out",
        )  # fmt: skip
        parser.add_argument(
            "--network", action="append", default=[],
            help="where it may be used from, like 10.0.0.0/8, repeatable; anywhere if left out",
        )  # fmt: skip
        parser.add_argument("--reason", default="", help="for the audit log")

    def run(self, **options: Any) -> None:
        new = api_key_create(
            environment=environment_of(options["environment"]),
            kind=KeyKind(options["kind"]),
            name=options["name"],
            expires_in=duration(options["expires_in"]) if options["expires_in"] else None,
            scopes=options["scope"],
            networks=options["network"],
            actor=self.actor,
            reason=options["reason"],
        )
        self.stdout.write(new.token)
        self.note(f"Key {new.key.pk} of {new.key.environment}. Store it: it is not shown again.")

from typing import Any

from django.core.management.base import CommandParser

from ilara_admin.core.api_keys import api_key_rotate
from ilara_admin.management.base import IlaraCommand, minute
from ilara_admin.management.resolve import api_key_of, duration
from ilara_admin.models import KeyScope


class Command(IlaraCommand):
    help = "Replace an API key. Only the new token goes to stdout; it is shown once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", metavar="KEY", help="id, masked form, last four or whole token")
        parser.add_argument(
            "--grace", default="24h", metavar="SPAN",
            help="how long the old key stays valid: 90m, 24h (default), 7d, or 0",
        )  # fmt: skip
        parser.add_argument(
            "--scope", action="append", choices=KeyScope.values,
            help="what the new key may do, repeatable; the same if left out",
        )  # fmt: skip
        parser.add_argument(
            "--network", action="append",
            help="where it may be used from, repeatable; the same if left out",
        )  # fmt: skip
        parser.add_argument("--reason", default="", help="for the audit log")

    def run(self, *, key: str, grace: str, reason: str, **options: Any) -> None:
        old = api_key_of(key)
        new = api_key_rotate(
            old,
            grace=duration(grace),
            scopes=options["scope"],
            networks=options["network"],
            actor=self.actor,
            reason=reason,
        )
        old.refresh_from_db()
        self.stdout.write(new.token)
        self.note(f"Key {new.key.pk} replaces {old}, which expires {minute(old.expires_at)}.")

from typing import Any

from django.core.management.base import CommandParser

from ilara_admin.core.api_keys import api_key_revoke
from ilara_admin.management.base import IlaraCommand, minute
from ilara_admin.management.resolve import api_key_of


class Command(IlaraCommand):
    help = "Revoke an API key. The next request with it is refused."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", metavar="KEY", help="id, masked form, last four or whole token")
        parser.add_argument("--reason", default="", help="for the audit log")

    def run(self, *, key: str, reason: str, **options: Any) -> None:
        found = api_key_of(key)
        if found.revoked_at:
            self.stdout.write(f"{found} was already revoked, {minute(found.revoked_at)}.")
        else:
            api_key_revoke(found, actor=self.actor, reason=reason)
            self.stdout.write(f"Revoked {found} of {found.environment}.")

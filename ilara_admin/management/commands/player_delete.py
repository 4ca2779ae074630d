import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ilara_admin.core.text import visible
from ilara_admin.management.base import IlaraCommand
from ilara_admin.management.resolve import environment_of, player_in
from players.erasure import player_delete


class Command(IlaraCommand):
    help = (
        "Erase a player permanently: ledgers, events, overrides, list entries. The audit log "
        "records the erasure without personal data."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment", metavar="PROJECT/ENV")
        parser.add_argument("player", metavar="PLAYER", help="external id or player id")
        parser.add_argument("--yes", action="store_true", help="erase without a prompt")
        parser.add_argument("--reason", default="", help="for the audit log")

    def run(self, *, environment: str, player: str, yes: bool, reason: str, **options: Any) -> None:
        found = player_in(environment_of(environment), player)
        if not yes:
            if not sys.stdin.isatty():
                raise CommandError("Cannot prompt without a terminal. Pass --yes to erase.")
            self.note(f"This erases {found.external_id} of {found.environment} permanently.")
            typed = input("Type the external id to continue: ")
            if typed not in (found.external_id, visible(found.external_id)):
                raise CommandError("The id does not match. Nothing was erased.")
        deleted = player_delete(found, actor=self.actor, reason=reason)
        rows = [f"{count:,} in {table}" for table, count in deleted.items() if count]
        self.stdout.write(f"Erased: {', '.join(rows)}.")

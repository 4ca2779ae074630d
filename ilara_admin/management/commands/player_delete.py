import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ilara_admin.management.base import IlaraCommand
from ilara_admin.management.resolve import environment_of, player_in
from players.erasure import player_delete


class Command(IlaraCommand):
    help = (
        "Erase a player for good: ledgers, events, overrides, places on lists. The audit log keeps "
        "that it happened, not who it was."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment", metavar="PROJECT/ENV")
        parser.add_argument("player", metavar="PLAYER", help="external id, or player id")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--reason", default="", help="kept in the audit log")

    def run(self, *, environment: str, player: str, yes: bool, reason: str, **options: Any) -> None:
        found = player_in(environment_of(environment), player)
        if not yes:
            if not sys.stdin.isatty():
                raise CommandError("Nobody is there to ask. Say --yes to erase.")
            self.note(f"This erases {found.external_id} of {found.environment} for good.")
            if input("Type the external id to go on: ") != found.external_id:
                raise CommandError("That is another id. Nothing was erased.")
        gone = player_delete(found, actor=self.actor, reason=reason)
        rows = [f"{count:,} in {table}" for table, count in gone.items() if count]
        self.stdout.write(f"Erased: {', '.join(rows)}.")

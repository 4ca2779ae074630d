from typing import Any

import msgspec
from django.core.management.base import CommandParser

from ilara_admin.management.base import IlaraCommand
from ilara_admin.management.resolve import environment_of, player_in
from players.erasure import player_export


class Command(IlaraCommand):
    help = (
        "Write everything stored about a player to stdout, as JSON. The audit log records the "
        "export."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment", metavar="PROJECT/ENV")
        parser.add_argument("player", metavar="PLAYER", help="external id or player id")
        parser.add_argument("--reason", default="", help="for the audit log")

    def run(self, *, environment: str, player: str, reason: str, **options: Any) -> None:
        found = player_in(environment_of(environment), player)
        document = player_export(found, actor=self.actor, reason=reason)
        self.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())

from typing import Any

import msgspec
from django.core.management.base import CommandParser

from ilara_admin.management.base import IlaraCommand
from ilara_admin.management.resolve import environment_of, player_in
from players.erasure import player_export


class Command(IlaraCommand):
    help = "Write everything stored about a player to stdout, as JSON."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment", metavar="PROJECT/ENV")
        parser.add_argument("player", metavar="PLAYER", help="external id or player id")

    def run(self, *, environment: str, player: str, **options: Any) -> None:
        document = player_export(player_in(environment_of(environment), player))
        self.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())

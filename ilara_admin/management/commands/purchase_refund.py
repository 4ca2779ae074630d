from typing import Any

from django.core.management.base import CommandParser

from ilara_admin.management.base import IlaraCommand
from ilara_admin.management.resolve import environment_of, player_in
from ilara_admin.templatetags.ilara import amount_text
from players.services import purchase_refund


class Command(IlaraCommand):
    help = "Reverse a purchase: it stays in the ledger and leaves the player's revenue."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment", metavar="PROJECT/ENV")
        parser.add_argument("player", metavar="PLAYER", help="external id or player id")
        parser.add_argument(
            "transaction",
            metavar="TRANSACTION",
            help="the game's transaction id, or else the event_id of its ilara.purchase event",
        )
        parser.add_argument("--reason", default="", help="for the audit log")

    def run(
        self, *, environment: str, player: str, transaction: str, reason: str, **options: Any
    ) -> None:
        found = player_in(environment_of(environment), player)
        entry = purchase_refund(found, transaction, actor=self.actor, reason=reason)
        found.refresh_from_db()
        refunded = entry.after or {}
        revenue = amount_text(found.total_revenue, found.environment.currency)
        self.stdout.write(
            f"{refunded['amount']} {refunded['currency']} refunded. {found.external_id} now has "
            f"{found.purchase_count:,} purchases and {revenue} in revenue."
        )

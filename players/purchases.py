"""The purchases on a player's page, and the address of one of them."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection

from ilara_admin.models import AuditAction, Environment
from ilara_admin.web.access import url_in
from players.models import Player, Purchase
from players.services import LEDGER_ID

SHOWN = 4


def purchase_anchor(digest: bytes | memoryview) -> str:
    """The id of the row of a purchase on the player's page."""
    return f"purchase-{bytes(digest).hex()}"


def purchase_page(
    environment: Environment, player_id: uuid.UUID, digest: bytes | memoryview
) -> str:
    """The player's page with one purchase, which the page shows however old it is."""
    page = url_in(environment, "player_detail", player_id)
    return f"{page}?purchase={bytes(digest).hex()}"


def purchase_url(environment: Environment, player_id: uuid.UUID, digest: bytes | memoryview) -> str:
    """The same page at the row of the purchase."""
    return f"{purchase_page(environment, player_id, digest)}#{purchase_anchor(digest)}"


@dataclass(frozen=True, slots=True)
class PurchaseRow:
    """`refunded_by` is "" if no audit entry names the refund. `is_asked` marks the purchase that
    the address names."""

    purchase: Purchase
    refunded_by: str
    is_asked: bool

    @property
    def key(self) -> str:
        """The digest in hexadecimal."""
        return bytes(self.purchase.digest).hex()

    @property
    def anchor(self) -> str:
        return purchase_anchor(self.purchase.digest)


@dataclass(frozen=True, slots=True)
class PurchasesPanel:
    """The newest purchases of a player, and the one that was asked for if it is none of them.
    `unverified` is the part of the player's revenue that only game clients reported."""

    rows: list[PurchaseRow]
    has_more: bool
    is_missing: bool
    unverified: Decimal


def purchases_panel(player: Player, asked: str) -> PurchasesPanel:
    """`asked` is a digest in hexadecimal, or ""."""
    found = _newest(player)
    shown = found[:SHOWN]
    missing = bool(asked)
    if asked and LEDGER_ID.fullmatch(asked):
        digest = bytes.fromhex(asked)
        if all(bytes(each.digest) != digest for each in shown):
            shown += Purchase.objects.filter(player=player, digest=digest)
        missing = all(bytes(each.digest) != digest for each in shown)
    staff = _refunded_by(player, shown)
    rows = [
        PurchaseRow(each, staff.get(each.audit_name, ""), bytes(each.digest).hex() == asked)
        for each in shown
    ]
    return PurchasesPanel(rows, len(found) > SHOWN, missing, _unverified(player))


def _newest(player: Player) -> list[Purchase]:
    """One more than are shown. A plain statement takes half as long as one that Django writes."""
    sql = """SELECT * FROM purchase WHERE player_id = %s
        ORDER BY received_at DESC, digest DESC LIMIT %s"""
    return list(Purchase.objects.raw(sql, [player.pk, SHOWN + 1]))


def _unverified(player: Player) -> Decimal:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT coalesce(sum(amount), 0) FROM purchase WHERE player_id = %s
               AND counted AND NOT verified AND refunded_at IS NULL""",
            [player.pk],
        )
        found: Decimal = cursor.fetchone()[0]
    return found


def _refunded_by(player: Player, purchases: Iterable[Purchase]) -> dict[str, str]:
    """Who marked purchases as refunded, by their names in the audit log."""
    names = [each.audit_name for each in purchases if each.refunded_at]
    if not names:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT ON (after->>'purchase') after->>'purchase', actor_name
               FROM audit_entry
               WHERE object_type = 'player' AND object_id = %s AND action = %s
                 AND after->>'purchase' = ANY(%s)
               ORDER BY after->>'purchase', id DESC""",
            [str(player.pk), AuditAction.PLAYER_PURCHASE_REFUNDED, names],
        )
        return dict(cursor.fetchall())

"""Writes to players that staff ask for. Games write through /v1, in statements of their own."""

import re
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from msgspec import UNSET

from ilara_admin import db
from ilara_admin.audit import Actor, audit_record, changes
from ilara_admin.idempotency import digest_of
from ilara_admin.models import AuditAction, AuditEntry
from players import statements
from players.aliases import player_alias_link, player_alias_unlink
from players.models import Player, Purchase, attributes_problem
from players.notes import note_delete, note_restore
from players.schemas import PlayerPatch

LEDGER_ID = re.compile("[0-9a-f]{32}")


@transaction.atomic
def player_update(
    player: Player, patch: PlayerPatch, *, actor: Actor, reason: str = ""
) -> AuditEntry | None:
    """Change some fields by the rules of PATCH under /v1: absent fields stay, null clears,
    attributes merge at the top level and a null attribute is removed.

    Answers with the entry in the audit log, or None when everything was so already.
    """
    player = (
        Player.objects.select_for_update(of=("self",))
        .select_related("environment__project")
        .get(pk=player.pk)
    )
    old = {"email": player.email, "device_id": player.device_id}
    new = {
        "email": player.email if patch.email is UNSET else patch.email,
        "device_id": player.device_id if patch.device_id is UNSET else patch.device_id,
    }
    given = patch.attributes if isinstance(patch.attributes, dict) else {}
    merged = {**player.attributes, **given}
    attributes = {name: value for name, value in merged.items() if value is not None}
    before, after = changes(old, new)
    attributes_before, attributes_after = changes(player.attributes, attributes)
    if attributes_before or attributes_after:
        before["attributes"], after["attributes"] = attributes_before, attributes_after
    if not after:
        return None
    player.email, player.device_id, player.attributes = new["email"], new["device_id"], attributes
    try:
        with transaction.atomic():
            player.save(update_fields=["email", "device_id", "attributes"])
    except IntegrityError as error:
        problem = attributes_problem(error)
        if problem is None:
            raise
        raise ValidationError({"attributes": f"{problem}."}) from None
    return audit_record(
        AuditAction.PLAYER_UPDATED,
        actor,
        environment=player.environment,
        object_id=player.pk,
        object_name=player.external_id,
        before=before,
        after=after,
        reason=reason,
    )


@transaction.atomic
def purchase_refund(
    player: Player, transaction_id: str, *, actor: Actor, reason: str = ""
) -> AuditEntry:
    """Reverse a purchase: it stays in the ledger, marked, and leaves the player's revenue.

    `transaction_id` is the game's, or the id in the log of events where the game gave none. Raises
    ValidationError for one that the player does not have, and for a second refund.
    """
    purchase = purchase_of(player, transaction_id)
    row = db.fetch_one(statements.REFUND, [player.pk, bytes(purchase.digest)])
    if row is None:
        raise ValidationError(f"The purchase “{transaction_id}” has been refunded before.")
    return audit_record(
        AuditAction.PLAYER_PURCHASE_REFUNDED,
        actor,
        environment=player.environment,
        object_id=player.pk,
        object_name=player.external_id,
        before={"refunded_at": None},
        after={"purchase": transaction_id, **_facts(row), "refunded_at": row[-1].isoformat()},
        reason=reason,
    )


@transaction.atomic
def purchase_refund_undo(
    player: Player, transaction_id: str, *, actor: Actor, reason: str = ""
) -> AuditEntry:
    """Reverse a refund: the purchase counts again. As purchase_refund."""
    purchase = purchase_of(player, transaction_id)
    row = db.fetch_one(statements.REVERSAL, [player.pk, bytes(purchase.digest)])
    if row is None:
        raise ValidationError(f"The purchase “{transaction_id}” is not refunded.")
    return audit_record(
        AuditAction.PLAYER_REFUND_REVERSED,
        actor,
        environment=player.environment,
        object_id=player.pk,
        object_name=player.external_id,
        before={"refunded": True},
        after={"purchase": transaction_id, **_facts(row), "refunded": False},
        reason=reason,
    )


def purchase_of(player: Player, transaction_id: str) -> Purchase:
    """A purchase by the game's id of it, or by its id in the ledger, in hexadecimal. Raises
    ValidationError when the player has no such purchase."""
    purchases = Purchase.objects.filter(player=player)
    purchase = purchases.filter(digest=digest_of(transaction_id)).first()
    if purchase is None and LEDGER_ID.fullmatch(transaction_id):
        purchase = purchases.filter(digest=bytes.fromhex(transaction_id)).first()
    if purchase is None:
        raise ValidationError(f"{player.external_id} has no purchase “{transaction_id}”.")
    return purchase


def _facts(row: db.Row) -> dict[str, Any]:
    amount, currency, counted, _ = row
    return {"amount": str(amount), "currency": currency, "counted": counted}


def player_undo(player: Player, entry: AuditEntry, *, actor: Actor) -> AuditEntry | None:
    """Put back what one change of this player replaced, and nothing else. None when it is so
    already; ValidationError when it cannot be undone any more."""
    before, after = entry.before or {}, entry.after or {}
    said: Any = {"actor": actor, "reason": "Undone"}
    match entry.action:
        case AuditAction.PLAYER_ALIAS_LINKED:
            return player_alias_unlink(player, after["alias"], **said)
        case AuditAction.PLAYER_ALIAS_UNLINKED:
            return player_alias_link(player, before["alias"], **said)
        case AuditAction.PLAYER_PURCHASE_REFUNDED:
            return purchase_refund_undo(player, after["purchase"], **said)
        case AuditAction.PLAYER_REFUND_REVERSED:
            return purchase_refund(player, after["purchase"], **said)
        case AuditAction.PLAYER_NOTE_ADDED:
            return note_delete(player, after["note_id"], **said)
        case AuditAction.PLAYER_NOTE_DELETED:
            return note_restore(player, before, **said)
    return player_update(player, _patch_back(before, after), **said)


UNDOABLE = (
    AuditAction.PLAYER_UPDATED,
    AuditAction.PLAYER_ALIAS_LINKED,
    AuditAction.PLAYER_ALIAS_UNLINKED,
    AuditAction.PLAYER_PURCHASE_REFUNDED,
    AuditAction.PLAYER_REFUND_REVERSED,
    AuditAction.PLAYER_NOTE_ADDED,
    AuditAction.PLAYER_NOTE_DELETED,
)


def _patch_back(before: dict[str, Any], after: dict[str, Any]) -> PlayerPatch:
    patch = PlayerPatch()
    if "email" in after:
        patch.email = before["email"]
    if "device_id" in after:
        patch.device_id = before["device_id"]
    if "attributes" in after:
        names = {**before["attributes"], **after["attributes"]}
        patch.attributes = {name: before["attributes"].get(name) for name in names}
    return patch

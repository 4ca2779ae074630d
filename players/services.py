"""Writes to players that staff ask for. Games write through /v1, in statements of their own."""

import re
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q
from msgspec import UNSET

from ilara_admin.api.bodies import digest_of
from ilara_admin.core import db
from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.models import AuditAction, AuditEntry
from players import statements
from players.aliases import player_alias_link, player_alias_unlink
from players.models import Player, Purchase, attributes_problem
from players.notes import note_delete, note_restore
from players.schemas import PlayerPatch

LEDGER_ID = re.compile("[0-9a-f]{32}")
# What an entry is about, where it is not about the player's own row.
ABOUT = ("alias", "purchase", "note_id")


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
    before, after = changed_fields(old, new)
    attributes_before, attributes_after = changed_fields(player.attributes, attributes)
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
    player.lock()
    purchase = purchase_of(player, transaction_id)
    row = db.fetch_one(statements.refund(), [player.pk, bytes(purchase.digest)])
    if row is None:
        raise ValidationError("This purchase has been refunded before.")
    return audit_record(
        AuditAction.PLAYER_PURCHASE_REFUNDED,
        actor,
        environment=player.environment,
        object_id=player.pk,
        object_name=player.external_id,
        before={"refunded_at": None},
        after={**_audit_fields(purchase, row), "refunded_at": row[-1].isoformat()},
        reason=reason,
    )


@transaction.atomic
def purchase_refund_undo(
    player: Player, transaction_id: str, *, actor: Actor, reason: str = ""
) -> AuditEntry:
    """Reverse a refund: the purchase counts again. As purchase_refund."""
    player.lock()
    purchase = purchase_of(player, transaction_id)
    row = db.fetch_one(statements.reversal(), [player.pk, bytes(purchase.digest)])
    if row is None:
        raise ValidationError("This purchase is not refunded.")
    return audit_record(
        AuditAction.PLAYER_REFUND_REVERSED,
        actor,
        environment=player.environment,
        object_id=player.pk,
        object_name=player.external_id,
        before={"refunded": True},
        after={**_audit_fields(purchase, row), "refunded": False},
        reason=reason,
    )


def purchase_of(player: Player, transaction_id: str) -> Purchase:
    """A purchase by its id in the ledger, in hexadecimal, or by the game's id of it. Raises
    ValidationError when the player has no such purchase.

    The ledger's comes first: pages name purchases by it, and no client chooses it.
    """
    purchases = Purchase.objects.filter(player=player)
    purchase = None
    if LEDGER_ID.fullmatch(transaction_id):
        purchase = purchases.filter(digest=bytes.fromhex(transaction_id)).first()
    if purchase is None:
        purchase = purchases.filter(digest=digest_of(transaction_id)).first()
    if purchase is None:
        raise ValidationError(f"{player.external_id} has no purchase “{transaction_id}”.")
    return purchase


def _audit_fields(purchase: Purchase, row: db.Row) -> dict[str, Any]:
    amount, currency, counted, _ = row
    # One name for each purchase, however it was asked for: undoing compares them.
    name = purchase.transaction_id or bytes(purchase.digest).hex()
    return {"purchase": name, "amount": str(amount), "currency": currency, "counted": counted}


@transaction.atomic
def player_undo(player: Player, entry: AuditEntry, *, actor: Actor) -> AuditEntry | None:
    """Put back what one change of this player replaced, and nothing else. None when it is so
    already; ValidationError when it cannot be undone any more."""
    undone = _undo(player, entry, actor)
    if undone is not None and _overtaken(entry, undone):
        raise ValidationError("This was changed again since. Undo the newer change instead.")
    return undone


def _overtaken(entry: AuditEntry, undone: AuditEntry) -> bool:
    """Whether the same id, purchase or note was changed between an entry and its undoing: what is
    now comes from that change, and is not this entry's to take back. Asked once the undoing holds
    its locks, so that nobody comes between."""
    fields = [*(entry.before or {}).items(), *(entry.after or {}).items()]
    same = {name: value for name, value in fields if name in ABOUT and value is not None}
    if not same:
        return False
    return (
        AuditEntry.objects.filter(object_type=entry.object_type, object_id=entry.object_id)
        .filter(pk__gt=entry.pk, pk__lt=undone.pk)
        .filter(Q(before__contains=same) | Q(after__contains=same))
        .exists()
    )


def _undo(player: Player, entry: AuditEntry, actor: Actor) -> AuditEntry | None:
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

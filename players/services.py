"""Writes to players by staff. Games write through /v1, see api.py."""

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from msgspec import UNSET

from ilara_admin.core import db
from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.changes import Conflict, Fields, merge_changes
from ilara_admin.core.text import isolated
from ilara_admin.models import AuditAction, AuditEntry, Environment
from players import late_days, statements
from players.models import Player, Purchase, attributes_problem
from players.schemas import PlayerPatch

LEDGER_ID = re.compile("[0-9a-f]{32}")


@transaction.atomic
def player_update(
    player: Player, patch: PlayerPatch, *, actor: Actor, seen: Fields | None = None,
    reason: str = "",
) -> AuditEntry | None:  # fmt: skip
    """Change some fields as PATCH under /v1 does: absent fields stay, null clears, attributes merge
    at the top level, and a null attribute is removed.

    Returns None if nothing changed. Raises Conflict if a changed field differs from `seen` (email,
    device_id and attributes).
    """
    player = (
        Player.objects.select_for_update(of=("self",))
        .select_related("environment__project")
        .get(pk=player.pk)
    )
    _check_seen(player, patch, seen)
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


def personal_data_seen(player: Player, *, actor: Actor, shown: bool = False) -> None:
    """Record that an account sees personal data of a player, if there is any: once per account,
    player and UTC day. `shown`: there is, beside what is stored with the player."""
    marked = player.attributes.keys() & set(player.environment.personal_attributes)
    if shown or player.email or player.device_id or marked or player.aliases.exists():
        personal_data_listed(player.environment, {player.pk: player.external_id}, actor=actor)


def personal_data_listed(
    environment: Environment, players: Mapping[uuid.UUID, str], *, actor: Actor
) -> None:
    """Record, as personal_data_seen does, that an account sees personal data of these players,
    given by id with their external ids."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    entries = AuditEntry.objects.filter(
        object_type="player",
        object_id__in=list(map(str, players)),
        actor_user=actor.user,
        action=AuditAction.PLAYER_DATA_SEEN,
        created_at__gte=today,
    )
    recorded = set(entries.values_list("object_id", flat=True)) if players else set()
    for player_id, external_id in players.items():
        if str(player_id) not in recorded:
            audit_record(
                AuditAction.PLAYER_DATA_SEEN,
                actor,
                environment=environment,
                object_id=player_id,
                object_name=external_id,
            )


ATTRIBUTE = "attributes."


def _check_seen(player: Player, patch: PlayerPatch, seen: Fields | None) -> None:
    if seen is None:
        return
    given = {"email": patch.email, "device_id": patch.device_id, "attributes": patch.attributes}
    wanted = _flat({name: value for name, value in given.items() if value is not UNSET})
    try:
        merge_changes(
            "player",
            player.pk,
            player.external_id,
            seen=_flat(seen),
            now=_flat(editable_fields(player)),
            wanted=wanted,
        )
    except Conflict as conflict:
        conflict.current = _nested(conflict.current)
        raise


def editable_fields(player: Player) -> dict[str, Any]:
    return {
        "email": player.email,
        "device_id": player.device_id,
        "attributes": player.attributes,
    }


def _flat(fields: Fields) -> dict[str, Any]:
    """Each attribute as a field, so that changes of other attributes do not conflict."""
    found = {name: value for name, value in fields.items() if name != "attributes"}
    attributes = fields.get("attributes") or {}
    return found | {ATTRIBUTE + name: value for name, value in attributes.items()}


def _nested(fields: Fields) -> dict[str, Any]:
    found: dict[str, Any] = {"attributes": {}}
    for name, value in fields.items():
        if not name.startswith(ATTRIBUTE):
            found[name] = value
        elif value is not None:
            found["attributes"][name.removeprefix(ATTRIBUTE)] = value
    return found


@transaction.atomic
def purchase_refund(
    player: Player, transaction_id: str, *, actor: Actor, at: datetime | None = None,
    reason: str = "",
) -> AuditEntry:  # fmt: skip
    """Mark a purchase as refunded: it stays in the ledger and no longer counts as revenue. `at` is
    the time of the refund, by default now.

    For `transaction_id` see purchase_of. Raises ValidationError if the player has no such purchase,
    or if it is already refunded.
    """
    player.lock()
    purchase = purchase_of(player, transaction_id)
    row = db.fetch_one(statements.refund(), [player.pk, bytes(purchase.digest), at])
    if row is None:
        raise ValidationError("This purchase is already refunded.")
    late_days.mark_moment(player.environment_id, purchase.received_at)
    return audit_record(
        AuditAction.PLAYER_PURCHASE_REFUNDED,
        actor,
        environment=player.environment,
        object_id=player.pk,
        object_name=player.external_id,
        before={"refunded_at": None},
        after={**_audit_fields(purchase, row), "refunded_at": (at or row[-1]).isoformat()},
        reason=reason,
    )


@transaction.atomic
def purchase_refund_undo(
    player: Player, transaction_id: str, *, actor: Actor, reason: str = ""
) -> AuditEntry:
    """Reverse a refund: the purchase counts as revenue again. See purchase_refund."""
    player.lock()
    purchase = purchase_of(player, transaction_id)
    row = db.fetch_one(statements.reversal(), [player.pk, bytes(purchase.digest)])
    if row is None:
        raise ValidationError("This purchase is not refunded.")
    late_days.mark_moment(player.environment_id, purchase.received_at)
    return audit_record(
        AuditAction.PLAYER_REFUND_REVERSED,
        actor,
        environment=player.environment,
        object_id=player.pk,
        object_name=player.external_id,
        before={"refunded_at": purchase.refunded_at and purchase.refunded_at.isoformat()},
        after={**_audit_fields(purchase, row), "refunded_at": None},
        reason=reason,
    )


def purchase_of(player: Player, transaction_id: str) -> Purchase:
    """A purchase by its digest in hexadecimal, or by its transaction id. Raises ValidationError if
    the player has no such purchase.

    The digest comes first: pages use it, and clients cannot choose it.
    """
    purchases = Purchase.objects.filter(player=player)
    purchase = None
    if LEDGER_ID.fullmatch(transaction_id):
        purchase = purchases.filter(digest=bytes.fromhex(transaction_id)).first()
    if purchase is None:
        purchase = purchases.filter(transaction_id=transaction_id).first()
    if purchase is None:
        who, what = isolated(player.external_id), isolated(transaction_id)
        raise ValidationError(f"{who} has no purchase “{what}”.")
    return purchase


def _audit_fields(purchase: Purchase, row: db.Row) -> dict[str, Any]:
    amount, currency, counted, _ = row
    return {
        "purchase": purchase.audit_name,
        "amount": str(amount),
        "currency": currency,
        "counted": counted,
    }

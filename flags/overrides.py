"""Writes to overrides, the variants set for one player."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from flags.engine.document import variant_keys
from flags.models import Flag, FlagOverride
from flags.services import audit, locked
from ilara_admin.core.audit import Actor
from ilara_admin.models import AuditAction, AuditEntry
from players.models import Player


@transaction.atomic
def override_set(
    flag: Flag, player: Player, variant: str, *, actor: Actor,
    expires_at: datetime | None = None, reason: str = "",
) -> AuditEntry | None:  # fmt: skip
    """Set a variant for one player, in force on the next request."""
    fields = {
        "variant": variant, "expires_at": expires_at, "author_name": actor.name, "reason": reason,
    }  # fmt: skip
    return override_write(flag, player, fields, actor=actor, reason=reason)


@transaction.atomic
def override_write(
    flag: Flag, player: Player, fields: Mapping[str, Any], *, actor: Actor, reason: str = ""
) -> AuditEntry | None:
    """Set the columns of a player's override. Returns None if nothing changed."""
    flag = locked(flag)
    if fields["variant"] not in variant_keys(flag.document):
        raise ValidationError({"variant": f"There is no variant “{fields['variant']}”."})
    player.lock()  # the id of an erased player may become an alias
    before = override_fields(flag, player)
    FlagOverride.objects.update_or_create(flag=flag, player_id=player.pk, defaults=dict(fields))
    after = override_fields(flag, player)
    if before == after:
        return None
    return audit(
        AuditAction.FLAG_OVERRIDDEN, flag, actor, before=before, after=after, reason=reason
    )


@transaction.atomic
def override_remove(
    flag: Flag, player: Player, *, actor: Actor, reason: str = ""
) -> AuditEntry | None:
    """Remove the override of a player. Returns None if there is none."""
    flag = locked(flag)
    before = override_fields(flag, player)
    FlagOverride.objects.filter(flag=flag, player_id=player.pk).delete()
    after = override_fields(flag, player)
    if before == after:
        return None
    return audit(
        AuditAction.FLAG_OVERRIDE_REMOVED, flag, actor, before=before, after=after, reason=reason
    )


def override_fields(flag: Flag, player: Player) -> dict[str, Any]:
    """The override of a player as stored in the audit log; only the player if there is none."""
    found = FlagOverride.objects.filter(flag=flag, player_id=player.pk).first()
    if found is None:
        return {"player": player.external_id}
    return {
        "player": player.external_id,
        "variant": found.variant,
        "until": found.expires_at.isoformat() if found.expires_at else None,
        "_author": found.author_name,
        "_reason": found.reason,
        "_created_at": found.created_at.isoformat(),
    }

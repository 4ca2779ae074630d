"""Writes to overrides, the variants set for one player."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from flags.engine.document import variant_keys
from flags.models import Flag, FlagOverride
from flags.services import audit, locked
from ilara_admin.core.audit import Actor
from ilara_admin.models import AuditAction, AuditEntry
from players.models import Player, player_id_for


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
    return _record(AuditAction.FLAG_OVERRIDDEN, flag, before, after, actor, reason)


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
    return _record(AuditAction.FLAG_OVERRIDE_REMOVED, flag, before, after, actor, reason)


def override_fields(flag: Flag, player: Player) -> dict[str, Any]:
    """The override of a player as stored in the audit log; only the player if there is none."""
    found = FlagOverride.objects.filter(flag=flag, player_id=player.pk).first()
    return _fields(found, player.external_id) if found else {"player": player.external_id}


def _fields(override: FlagOverride, external_id: str) -> dict[str, Any]:
    return {
        "player": external_id,
        "variant": override.variant,
        "until": override.expires_at.isoformat() if override.expires_at else None,
        "_author": override.author_name,
        "_reason": override.reason,
        "_created_at": override.created_at.isoformat(),
    }


def columns_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a stored override."""
    until = fields["until"]
    return {
        "variant": fields["variant"],
        "expires_at": datetime.fromisoformat(until) if until else None,
        "author_name": fields["_author"],
        "reason": fields.get("_reason", ""),
        "created_at": datetime.fromisoformat(fields["_created_at"]),
    }


# --- All overrides of a flag ----------------------------------------------------------------------

MAX_KEPT = 500  # overrides in an audit entry


@transaction.atomic
def overrides_clear(flag: Flag, *, actor: Actor, reason: str = "") -> AuditEntry | None:
    """Remove all overrides of a flag, also expired ones. Returns None if there are none. The entry
    holds them for its undo if they are MAX_KEPT at most, else their number."""
    flag = locked(flag)
    total = flag.overrides.count()
    before: Any = overrides_fields(flag) if total <= MAX_KEPT else total
    flag.overrides.all().delete()
    if not total:
        return None
    return _audit_all(flag, before, [], actor, reason)


@transaction.atomic
def overrides_replace(
    flag: Flag, removed: Sequence[str], added: Sequence[Mapping[str, Any]], *, actor: Actor,
    reason: str = "",
) -> AuditEntry | None:  # fmt: skip
    """Remove the overrides of the players with these external ids and set those of `added`, as
    overrides_fields returns them. Leaves out players who were erased."""
    flag = locked(flag)
    names = [*removed, *(fields["player"] for fields in added)]
    before = overrides_fields(flag, names)
    players = _players(flag, names).select_for_update(no_key=True).order_by("pk")
    ids = {player.external_id: player.pk for player in players}
    flag.overrides.filter(player_id__in=ids.values()).delete()
    FlagOverride.objects.bulk_create(
        FlagOverride(flag=flag, player_id=ids[fields["player"]], **columns_of(fields))
        for fields in added
        if fields["player"] in ids
    )
    after = overrides_fields(flag, names)
    return None if before == after else _audit_all(flag, before, after, actor, reason)


def overrides_fields(flag: Flag, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The overrides of all players, or of those with these external ids, as the audit log stores
    them. Without those of ids that are no player: no game can use them."""
    overrides = flag.overrides.all()
    if names is not None:
        overrides = overrides.filter(player_id__in=_players(flag, names).values("pk"))
    found = {each.player_id: each for each in overrides}
    external_ids = Player.objects.filter(pk__in=found).values_list("external_id", "pk")
    return [_fields(found[pk], name) for name, pk in sorted(external_ids)]


def _players(flag: Flag, names: Sequence[str]) -> QuerySet[Player]:
    namespace = flag.environment.namespace
    return Player.objects.filter(pk__in=[player_id_for(namespace, name) for name in names])


def _audit_all(flag: Flag, before: Any, after: Any, actor: Actor, reason: str) -> AuditEntry:
    sides = {"overrides": before}, {"overrides": after}
    return _record(AuditAction.FLAG_OVERRIDES_REPLACED, flag, *sides, actor, reason)


def _record(
    action: AuditAction, flag: Flag, before: Any, after: Any, actor: Actor, reason: str
) -> AuditEntry:
    """Overrides do not depend on the rest of the flag."""
    return audit(action, flag, actor, before=before, after=after, reason=reason, whole=None)

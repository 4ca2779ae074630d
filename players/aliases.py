"""Aliases: further external ids of a player, such as the guest id from before the account.

An alias works wherever an external id does. Requests by player id do not use aliases.
"""

import uuid
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models.functions import Collate
from psycopg.errors import LockNotAvailable

from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.core.changes import create_or_conflict
from ilara_admin.core.names import name_problem
from ilara_admin.core.text import isolated
from ilara_admin.models import AuditAction, AuditEntry, Environment
from players import moved_rows
from players.models import Player, PlayerAlias, player_id_for
from players.moved_rows import Moved

MAX_EXTERNAL_ID = 255
MAX_FOUND = 10
PATIENCE = "3s"
MAX_ALIASES = 100  # per player: a reply and a page show all of them


# --- Reading --------------------------------------------------------------------------------------


def player_id_of(environment: Environment, external_id: str) -> uuid.UUID:
    """The id of the player with this external id or alias, registered or not."""
    computed = player_id_for(environment.namespace, external_id)
    linked = PlayerAlias.objects.filter(pk=computed).values_list("player_id", flat=True)
    return linked.first() or computed


def player_id_named(environment: Environment, text: str) -> uuid.UUID:
    """The id of the player with this external id or alias, else with this player id in any
    spelling. If there is none, the id that the external id would give."""
    found = player_id_of(environment, text)
    try:
        given = uuid.UUID(text)
    except ValueError:
        return found
    known = Player.objects.filter(environment=environment, pk__in=[found, given])
    known_ids = set(known.values_list("pk", flat=True))
    return given if found not in known_ids and given in known_ids else found


def canonical(player_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, tuple[uuid.UUID, str]]:
    """The player's id and external id, by alias id, for those of these ids that are aliases."""
    rows = PlayerAlias.objects.filter(pk__in=player_ids).values_list(
        "pk", "player_id", "player__external_id"
    )
    return {alias: (player_id, external_id) for alias, player_id, external_id in rows}


def aliases_starting_with(environment: Environment, prefix: str) -> list[PlayerAlias]:
    """The first MAX_FOUND aliases with this prefix, in order, with their players. See
    PlayerQuerySet.starting_with."""
    found = PlayerAlias.objects.filter(environment=environment).select_related("player")
    found = found.annotate(sort_id=Collate("external_id", "C")).filter(sort_id__startswith=prefix)
    return list(found.order_by("sort_id")[:MAX_FOUND])


def linked_among(environment: Environment, external_ids: Iterable[str]) -> set[str]:
    """Those of the external ids that are linked to a player under another one."""
    ids = [player_id_for(environment.namespace, each) for each in external_ids]
    found = PlayerAlias.objects.filter(pk__in=ids)
    return set(found.values_list("external_id", flat=True))


def former_aliases_of(player: Player) -> list[str]:
    """External ids unlinked from a player that no player uses now, from the audit log."""
    entries = AuditEntry.objects.filter(
        object_type="player", object_id=str(player.pk), action=AuditAction.PLAYER_ALIAS_UNLINKED
    )
    names = {(before or {})["alias"] for before in entries.values_list("before", flat=True)}
    ids = {player_id_for(player.environment.namespace, name): name for name in names}
    taken = {
        *Player.objects.filter(pk__in=ids).values_list("pk", flat=True),
        *PlayerAlias.objects.filter(pk__in=ids).values_list("pk", flat=True),
    }
    return sorted(name for alias_id, name in ids.items() if alias_id not in taken)


def aliases_of(player_id: uuid.UUID) -> list[str]:
    """The aliases of a player, oldest link first."""
    found = PlayerAlias.objects.filter(player_id=player_id).order_by("created_at", "external_id")
    return list(found.values_list("external_id", flat=True))


# --- Locks ----------------------------------------------------------------------------------------
# Linking an id excludes registration by that id and list changes, which write rows by id. All locks
# last until the transaction ends. Lock order:
#
#   1. the player's key: linking and erasure, exclusive
#   2. the id's key: linking, exclusive; registration by that id, shared
#   3. the environment's key: linking, exclusive; each chunk of a list change, shared
#   4. rows: aliases by id, the player, segments by id, everything else
#
# The first two are advisory locks on a hash of the id, so they do not block other players. A
# statement takes its snapshot before it waits for a lock. Registration therefore locks and then
# reads the alias in the function player_registered_by, where each statement has a new snapshot.

ID_SEED, PLAYER_SEED = 1, 2
LISTS_LOCK = 0xA11  # first key of the advisory lock; the second is the environment's id


class BusyError(ValidationError):
    """The locks were not granted within PATIENCE."""


def lock_for_link(environment_id: int, player_id: uuid.UUID, alias_id: uuid.UUID) -> None:
    """Take the locks for linking this id to this player. Raises BusyError."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
            _lock_key(cursor, player_id, PLAYER_SEED)
            _lock_key(cursor, alias_id, ID_SEED)
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LISTS_LOCK, environment_id])
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            message = "The player is being erased or a list is being changed. Try again."
            raise BusyError({"external_id": message}) from None
        raise


def lock_for_lists(environment_id: int) -> None:
    """Exclude linking in this environment, so that no id changes its player until the transaction
    ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s, %s)", [LISTS_LOCK, environment_id])


def lock_for_erasure(player: Player) -> list[str]:
    """Exclude linking to this player and registration by its aliases. Returns the aliases."""
    with connection.cursor() as cursor:
        _lock_key(cursor, player.pk, PLAYER_SEED)
        cursor.execute(
            "SELECT external_id FROM player_alias WHERE player_id = %s ORDER BY id FOR UPDATE",
            [player.pk],
        )
        return [external_id for (external_id,) in cursor.fetchall()]


def _lock_key(cursor: CursorWrapper, key: uuid.UUID, seed: int) -> None:
    cursor.execute("SELECT pg_advisory_xact_lock(uuid_hash_extended(%s, %s))", [key, seed])


# --- Writing --------------------------------------------------------------------------------------


@transaction.atomic
def player_alias_link(
    player: Player, external_id: str, *, actor: Actor, linked_at: datetime | None = None,
    reason: str = "",
) -> AuditEntry | None:  # fmt: skip
    """Link an external id to a player. Its rows in lists and flags move to the player, whose own
    rows win, and stay there when the id is unlinked.

    `linked_at` is the time of the link, by default now. Returns None if it is already linked to
    this player. Raises ValidationError for `external_id`.
    """
    _check(player, external_id)
    alias_id = player_id_for(player.environment.namespace, external_id)
    lock_for_link(player.environment_id, player.pk, alias_id)
    found = PlayerAlias.objects.filter(pk=alias_id).select_related("player").first()
    if found is not None:
        if found.player_id == player.pk:
            return None
        other = isolated(found.player.external_id)
        raise _refusal(f"“{isolated(external_id)}” is linked to another player, {other}.")
    if Player.objects.filter(pk=alias_id).exists():
        raise _refusal(
            f"“{isolated(external_id)}” is the id of another player. Only an id without a player "
            "can be linked. Erase that player first if it is not needed."
        )
    if not Player.objects.filter(pk=player.pk).exists():
        raise _refusal(f"{isolated(player.external_id)} was erased.")
    if PlayerAlias.objects.filter(player=player).count() >= MAX_ALIASES:
        raise _refusal(f"A player has {MAX_ALIASES} linked ids at most. Unlink one first.")
    alias = PlayerAlias(
        id=alias_id, environment=player.environment, external_id=external_id, player=player,
        **({"created_at": linked_at} if linked_at else {}),
    )  # fmt: skip
    create_or_conflict(
        alias, {"player_alias_pkey": _refusal(f"“{isolated(external_id)}” is already linked.")}
    )
    alias.refresh_from_db()
    moved = moved_rows.take_over(alias)
    return _record(
        AuditAction.PLAYER_ALIAS_LINKED,
        player,
        {"alias": None},
        link_fields(alias, moved),
        actor,
        reason,
    )


@transaction.atomic
def player_alias_unlink(
    player: Player, external_id: str, *, actor: Actor, reason: str = ""
) -> AuditEntry | None:
    """Unlink an external id: the next registration with it creates a new player.

    Returns None if it is not an alias of this player.
    """
    aliases = PlayerAlias.objects.select_for_update(of=("self",))
    alias_id = player_id_for(player.environment.namespace, external_id)
    alias = aliases.filter(pk=alias_id, player=player).first()
    if alias is None:
        return None
    before = link_fields(alias)
    alias.delete()
    return _record(
        AuditAction.PLAYER_ALIAS_UNLINKED, player, before, {"alias": None}, actor, reason
    )


def link_fields(alias: PlayerAlias, moved: Moved | None = None) -> dict[str, Any]:
    """A link as stored in the audit log, with the moved rows."""
    found: dict[str, Any] = {
        "alias": alias.external_id,
        "_linked_at": alias.created_at.isoformat(),
    }
    if moved:
        found |= {"moved": moved_rows.counts(moved), "_rows": moved}
    return found


def _check(player: Player, external_id: str) -> None:
    if not external_id:
        raise _refusal("Enter the external id to link.")
    if len(external_id) > MAX_EXTERNAL_ID:
        raise _refusal(f"An external id has {MAX_EXTERNAL_ID} characters at most.")
    if "\0" in external_id:
        raise _refusal("An external id must not contain the character NUL.")
    if problem := name_problem(external_id):
        raise _refusal(f"An external id {problem}.")
    if external_id == player.external_id:
        raise _refusal(f"“{isolated(external_id)}” is the external id of this player.")


def _refusal(message: str) -> ValidationError:
    return ValidationError({"external_id": message})


def _record(
    action: AuditAction,
    player: Player,
    before: dict[str, Any],
    after: dict[str, Any],
    actor: Actor,
    reason: str,
) -> AuditEntry:
    return audit_record(
        action,
        actor,
        environment=player.environment,
        object_id=player.pk,
        object_name=player.external_id,
        before=before,
        after=after,
        reason=reason,
    )

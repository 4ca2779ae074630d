"""Other external ids of a player: the guest's, once the guest has an account.

Whoever names a player by an external id may give an alias; calls by player id know nothing of it.
The tables of other apps are named here and not imported: they lie above this one.
"""

import uuid
from collections.abc import Collection
from typing import Any

from django.core.exceptions import ValidationError
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models.functions import Collate
from psycopg.errors import LockNotAvailable

from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.models import AuditAction, AuditEntry, Environment
from players.models import Player, PlayerAlias, player_id_for

MAX_EXTERNAL_ID = 255
MAX_FOUND = 10
PATIENCE = "3s"
MAX_ALIASES = 100  # of one player: a reply and a page show all of them


# --- Reading --------------------------------------------------------------------------------------


def player_id_of(environment: Environment, external_id: str) -> uuid.UUID:
    """The id of the player with this external id or alias, whether or not it is registered."""
    computed = player_id_for(environment.namespace, external_id)
    linked = PlayerAlias.objects.filter(pk=computed).values_list("player_id", flat=True)
    return linked.first() or computed


def canonical(player_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, tuple[uuid.UUID, str]]:
    """Of these ids that follow from external ids, those of aliases, each with the player's own id
    and external id."""
    rows = PlayerAlias.objects.filter(pk__in=player_ids).values_list(
        "pk", "player_id", "player__external_id"
    )
    return {alias: (player_id, external_id) for alias, player_id, external_id in rows}


def aliases_starting_with(environment: Environment, prefix: str) -> list[PlayerAlias]:
    """The first few aliases that start so, with their players, in the order of the aliases. As
    PlayerQuerySet.starting_with."""
    found = PlayerAlias.objects.filter(environment=environment).select_related("player")
    found = found.annotate(sort_id=Collate("external_id", "C")).filter(sort_id__startswith=prefix)
    return list(found.order_by("sort_id")[:MAX_FOUND])


def former_aliases_of(player: Player) -> list[str]:
    """External ids that were unlinked from a player and mean nobody by now, by the audit log."""
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
    """The other external ids of a player, the oldest link first."""
    found = PlayerAlias.objects.filter(player_id=player_id).order_by("created_at", "external_id")
    return list(found.values_list("external_id", flat=True))


# --- Locks ----------------------------------------------------------------------------------------
# All who write aliases, or rows under ids that follow from external ids, lock this table before any
# row of a player or a segment. So they cannot deadlock.


class BusyError(ValidationError):
    """Somebody holds the aliases for longer than players should wait to be registered."""


def lock() -> None:
    """Keep everybody else from registering players by external id and from writing lists until the
    transaction ends. Reading goes on. Raises BusyError rather than let them queue behind a long
    erasure."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
            cursor.execute("LOCK TABLE player_alias IN EXCLUSIVE MODE")
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise BusyError({"external_id": "A player is being erased. Try again soon."}) from None
        raise


def hold() -> None:
    """Have no alias linked until the transaction ends: ids are resolved now and written below."""
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE player_alias IN ROW SHARE MODE")


def take(player: Player) -> list[str]:
    """The aliases of a player who is about to go, locked until the transaction ends, so that nobody
    registers by one of them meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE player_alias IN ROW EXCLUSIVE MODE")
        cursor.execute(
            "SELECT external_id FROM player_alias WHERE player_id = %s ORDER BY id FOR UPDATE",
            [player.pk],
        )
        return [external_id for (external_id,) in cursor.fetchall()]


# --- Writing --------------------------------------------------------------------------------------


@transaction.atomic
def player_alias_link(
    player: Player, external_id: str, *, actor: Actor, reason: str = ""
) -> AuditEntry | None:
    """Let an external id mean this player from now on. What lists and flags hold for it moves to
    the player, whose own rows win, and stays there when the id is unlinked.

    Answers with the entry in the audit log, or None when it was linked to this player before.
    Raises ValidationError for `external_id`.
    """
    _check(player, external_id)
    lock()
    alias_id = player_id_for(player.environment.namespace, external_id)
    found = PlayerAlias.objects.filter(pk=alias_id).select_related("player").first()
    if found is not None:
        if found.player_id == player.pk:
            return None
        raise _refusal(f"“{external_id}” is linked to another player, {found.player.external_id}.")
    if Player.objects.filter(pk=alias_id).exists():
        raise _refusal(
            f"“{external_id}” is a player of its own; only an id that no player was registered by "
            "can be linked. Erase that player first if it is not needed."
        )
    if not Player.objects.filter(pk=player.pk).exists():
        raise _refusal(f"{player.external_id} was erased meanwhile.")
    if PlayerAlias.objects.filter(player=player).count() >= MAX_ALIASES:
        raise _refusal(f"A player has {MAX_ALIASES} linked ids at most. Unlink one first.")
    PlayerAlias.objects.create(
        id=alias_id, environment=player.environment, external_id=external_id, player=player
    )
    with connection.cursor() as cursor:
        _move_lists(cursor, alias_id, player)
        _move(cursor, "flag_override", "flag_id, variant, expires_at, author_name, created_at",
              alias_id, player)  # fmt: skip
    return _record(AuditAction.PLAYER_ALIAS_LINKED, player, None, external_id, actor, reason)


@transaction.atomic
def player_alias_unlink(
    player: Player, external_id: str, *, actor: Actor, reason: str = ""
) -> AuditEntry | None:
    """Let an external id mean nobody again: the next registration by it is a player of its own.

    Answers with the entry in the audit log, or None when it is no alias of this player.
    """
    gone, _ = PlayerAlias.objects.filter(
        pk=player_id_for(player.environment.namespace, external_id), player=player
    ).delete()
    if not gone:
        return None
    return _record(AuditAction.PLAYER_ALIAS_UNLINKED, player, external_id, None, actor, reason)


def _check(player: Player, external_id: str) -> None:
    if not external_id:
        raise _refusal("Give the external id to link.")
    if len(external_id) > MAX_EXTERNAL_ID:
        raise _refusal(f"An external id has {MAX_EXTERNAL_ID} characters at most.")
    if "\0" in external_id:
        raise _refusal("An external id must not contain the character NUL.")
    if external_id == player.external_id:
        raise _refusal(f"“{external_id}” is this player's own external id.")


def _refusal(message: str) -> ValidationError:
    return ValidationError({"external_id": message})


def _move_lists(cursor: CursorWrapper, alias_id: uuid.UUID, player: Player) -> None:
    """Segments are locked before their members, as by everybody who writes lists."""
    cursor.execute(
        """SELECT id FROM segment
           WHERE id IN (SELECT segment_id FROM segment_member WHERE player_id = %s)
           ORDER BY id FOR NO KEY UPDATE""",
        [alias_id],
    )
    doubles = _move(cursor, "segment_member", "segment_id, excluded, change_id", alias_id, player)
    for segment_id, excluded, _ in doubles:
        size = "excluded" if excluded else "included"
        cursor.execute(f"UPDATE segment SET {size} = {size} - 1 WHERE id = %s", [segment_id])
    _move(cursor, "segment_former_member", "change_id, added_by", alias_id, player)


def _move(
    cursor: CursorWrapper, table: str, columns: str, alias_id: uuid.UUID, player: Player
) -> list[tuple[Any, ...]]:
    """Give rows under an alias's own id to its player; returns those that the player had already.

    Where players are distributed a row cannot change its player: it goes and comes back.
    """
    named = {"external_id": player.external_id} if table.startswith("segment_") else {}
    cursor.execute(f"DELETE FROM {table} WHERE player_id = %s RETURNING {columns}", [alias_id])
    rows = cursor.fetchall()
    names = ", ".join(["player_id", *named, columns])
    doubles = []
    for row in rows:
        values = [player.pk, *named.values(), *row]
        marks = ", ".join(["%s"] * len(values))
        cursor.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING", values
        )
        if not cursor.rowcount:
            doubles.append(row)
    return doubles


def _record(
    action: AuditAction,
    player: Player,
    before: str | None,
    after: str | None,
    actor: Actor,
    reason: str,
) -> AuditEntry:
    return audit_record(
        action,
        actor,
        environment=player.environment,
        object_id=player.pk,
        object_name=player.external_id,
        before={"alias": before},
        after={"alias": after},
        reason=reason,
    )

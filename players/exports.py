"""Exports of the list of players: CSV that a job writes and PostgreSQL keeps for a day.

Each chunk is a transaction that stores its rows together with the position, so that a job that was
killed continues where it was and writes no row twice. A chunk also stores the ids of its players:
erasing one of them deletes the exports that contain that player, and no others. Were all exports of
the environment deleted, a game that erases players every few minutes could hardly export any.
"""

import gzip
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.models import AuditAction, Environment, SavedView, User
from players.models import PlayerExport, PlayerExportChunk
from players.player_data import Erasure, PlayerData
from players.redaction import Redaction

KEPT = timedelta(days=1)
MAX_ROWS = 1_000_000
MAX_RUNNING = 3  # of one account
# Each chunk updates `touched_at`. An export untouched for this long has no live worker.
DEAD = timedelta(minutes=1)
ERASURE_LOCK = 0xA12  # first key of the advisory lock; the second is the environment's id


def exports_of(user: User, environment: Environment) -> QuerySet[PlayerExport]:
    """An account's own exports, the newest first. Those of others are not shown."""
    kept = PlayerExport.objects.filter(created_at__gt=timezone.now() - KEPT)
    return kept.filter(user=user, environment=environment).order_by("-id")


def exports_forget() -> int:
    """Delete the exports that were made KEPT ago; returns how many."""
    old = PlayerExport.objects.filter(created_at__lte=timezone.now() - KEPT)
    ids = list(old.values_list("pk", flat=True))
    _delete(ids)
    return len(ids)


def _delete(ids: Sequence[int]) -> None:
    """Django would read all chunks into memory first."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM player_export_chunk WHERE export_id = ANY(%s)", [list(ids)])
        cursor.execute("DELETE FROM player_export WHERE id = ANY(%s)", [list(ids)])


def lock_for_chunk(environment_id: int) -> None:
    """Exclude erasure in this environment until the transaction ends: no chunk may contain a player
    whose erasure has not seen that chunk."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock_shared(%s, %s)", [ERASURE_LOCK, environment_id]
        )


def chunk_add(export: PlayerExport, text: str, players: Sequence[uuid.UUID]) -> None:
    """Store a chunk; the caller holds the lock of the export and saves its position."""
    PlayerExportChunk.objects.create(
        export=export, number=export.chunks, data=gzip.compress(text.encode()), players=players
    )


def export_text(export: PlayerExport) -> Iterator[bytes]:
    """The CSV, one chunk in memory at a time. A statement reads each, because a slow
    download must hold no transaction open."""
    for number in range(export.chunks):
        part = PlayerExportChunk.objects.filter(export=export, number=number).first()
        if part is None:
            return  # deleted meanwhile
        yield gzip.decompress(part.data)


@transaction.atomic
def export_finish(export: PlayerExport, problem: str = "") -> None:
    """Close an export and record it."""
    open_exports = PlayerExport.objects.filter(pk=export.pk, done=False)
    if not open_exports.update(done=True, problem=problem, touched_at=Now()):
        return
    audit_record(
        AuditAction.ENVIRONMENT_PLAYERS_EXPORTED,
        Actor.of_user(export.user),
        environment=export.environment,
        object_id=export.environment.pk,
        object_name=str(export.environment),
        after={
            "players": export.rows,
            "columns": ["external_id", *export.columns],
            "masked": export.masked,
            **({"filters": export.filters} if export.filters else {}),
        },
    )


def _erase(erasure: Erasure) -> int:
    """Delete the exports that contain the player, or whose filters name the player."""
    environment_id = erasure.player.environment_id
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [ERASURE_LOCK, environment_id])
        cursor.execute(
            """SELECT id FROM player_export e WHERE environment_id = %s AND (
                   ids @> to_jsonb(%s::text) OR EXISTS (
                       SELECT FROM player_export_chunk c
                       WHERE c.export_id = e.id AND c.players @> ARRAY[%s::uuid]))""",
            [environment_id, str(erasure.player.pk), erasure.player.pk],
        )
        ids = {row[0] for row in cursor.fetchall()}
    redaction = Redaction(erasure.identifiers)
    rules = PlayerExport.objects.filter(environment=environment_id, rule__isnull=False)
    ids |= {pk for pk, rule in rules.values_list("pk", "rule") if _names(rule, redaction)}
    _delete(sorted(ids))
    return len(ids)


def _names(document: Any, redaction: Redaction) -> bool:
    """Whether a text in the document names the player."""
    match document:
        case str():
            return document.lower() in redaction.folded or redaction.text(document) != document
        case dict():
            return any(_names(each, redaction) for each in document.values())
        case list():
            return any(_names(each, redaction) for each in document)
    return False


def _erase_views(erasure: Erasure) -> int:
    """Delete the saved views of the list that search for the player."""
    redaction = Redaction(erasure.identifiers)
    views = SavedView.objects.filter(
        project=erasure.player.environment.project_id, page="player_list"
    )
    ids = [
        view.pk
        for view in views
        for name, value in parse_qsl(view.query)
        if (name == "q" or name.startswith("value")) and _names(value, redaction)
    ]
    return SavedView.objects.filter(pk__in=ids).delete()[0]


DATA = (
    PlayerData("player_export", None, _erase),
    PlayerData("saved_view", None, _erase_views),
)

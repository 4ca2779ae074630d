"""Writes to the include and exclude lists of segments.

A change is stored as a row and then run in chunks (chunks.py). It may be killed at any point and is
restarted from the beginning: adding and removing are idempotent, so the result is the same. A
change owns the rows it added and stores those it removed, so it can be undone for KEPT_DAYS. List
rows are read together with the player, so list changes do not increment `config_version`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import chain
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import BigIntegerField, OuterRef, QuerySet, Subquery
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Now

from ilara_admin.core.audit import Actor, audit_record, confirmed_reason, guard_check
from ilara_admin.core.changes import register_permanent
from ilara_admin.core.guard import Confirmation, Mark
from ilara_admin.core.progress import Progress, no_progress
from ilara_admin.core.spreadsheet import cell
from ilara_admin.models import AuditAction, AuditEntry
from segments.lists import chunks
from segments.lists.chunks import SupersededError, take_up
from segments.lists.csv_reader import COLUMN, CsvRow, FileRefusedError, check_id, read_ids
from segments.models import (
    ListAction,
    ListState,
    Segment,
    SegmentListChange,
    SegmentListPiece,
    SegmentMember,
)
from segments.recounts import LIST_PAUSE, size_want

MAX_IDS = 1_000  # in one change that runs within the request
KEPT_DAYS = 30
PIECE_BYTES = 1024 * 1024
AUDITED_IDS = 20
MAX_PROBLEM = 300
EXPORT_ROWS = 2_000  # fetched at once
EMPTY: Mapping[str, str] = {}


def memberships_sql(player: str) -> str:
    """A sub-select: by segment id, true if the player is on the exclude list, false if only on the
    include list. Includes deleted segments. The player's id is SQL."""
    return f"""(SELECT jsonb_object_agg(m.segment_id, m.excluded)
     FROM (SELECT segment_id, bool_or(excluded) AS excluded
           FROM segment_member WHERE player_id = {player} GROUP BY segment_id) m)"""


# --- Single ids -----------------------------------------------------------------------------------


@transaction.atomic
def ids_add(
    segment: Segment, external_ids: Sequence[str], *, excluded: bool, actor: Actor,
    reason: str = "", column: str = "",
) -> SegmentListChange:  # fmt: skip
    """Add up to MAX_IDS external ids to a list. Ids already on it stay unchanged. `column` is the
    name of their column in a table, as in CsvRow.

    If nothing changes, no change is stored and the returned one has no id.
    """
    more = {"column": column} if column else {}
    change = _few(segment, ListAction.ADD, external_ids, excluded, actor, reason, more)
    lines = [CsvRow(number, each, "", column) for number, each in enumerate(external_ids, 1)]
    chunks.add(take_up(change), lines)
    return _finish_few(change, external_ids)


@transaction.atomic
def ids_remove(
    segment: Segment, external_ids: Sequence[str], *, excluded: bool, actor: Actor,
    reason: str = "",
) -> SegmentListChange:  # fmt: skip
    """Remove up to MAX_IDS external ids from a list. Returns the same as ids_add."""
    change = _few(segment, ListAction.REMOVE, external_ids, excluded, actor, reason)
    chunks.remove(take_up(change), external_ids)
    return _finish_few(change, external_ids)


def _few(
    segment: Segment, action: ListAction, external_ids: Sequence[str], excluded: bool,
    actor: Actor, reason: str, more: Mapping[str, str] = EMPTY,
) -> SegmentListChange:  # fmt: skip
    if not external_ids:
        raise ValidationError("Give at least one external id.")
    if len(external_ids) > MAX_IDS:
        raise ValidationError(f"Give at most {MAX_IDS:,} external ids, or import a file.")
    for external_id in external_ids:
        if problem := check_id(external_id):
            shown = external_id[:60].replace("\0", "")
            raise ValidationError(f"The external id “{shown}” {problem}.")
    content = {"ids": list(external_ids), **more}
    return _create(segment, action, excluded, actor, reason, content, lines=len(external_ids))


def _finish_few(change: SegmentListChange, external_ids: Sequence[str]) -> SegmentListChange:
    change.refresh_from_db()
    if change.added or change.removed:
        return _finish(change, ids=external_ids)
    change.delete()
    return change


# --- Changes that list_run carries out ------------------------------------------------------------


def list_import(
    segment: Segment, *, excluded: bool, actor: Actor, replace: bool = False, file_name: str = "",
    size: int = 0, reason: str = "",
) -> SegmentListChange:  # fmt: skip
    """Create the change that imports a file; with `replace`, other ids are removed. `size` is in
    bytes, 0 if unknown."""
    action = ListAction.REPLACE if replace else ListAction.IMPORT
    total = 2 * size if replace else size  # the list is scanned as well
    content = {"file": file_name, "bytes": size}
    return _create(
        segment, action, excluded, actor, reason, content, file_name=file_name[:255], total=total
    )


def list_clear(
    segment: Segment, *, excluded: bool, actor: Actor, reason: str = ""
) -> SegmentListChange:
    """Create the change that removes all current entries from a list."""
    total = segment.excluded if excluded else segment.included
    return _create(
        segment, ListAction.CLEAR, excluded, actor, reason, {}, {"ids on it": total}, total=total
    )


@transaction.atomic
def list_undo(change: SegmentListChange, *, actor: Actor, reason: str = "") -> SegmentListChange:
    """Create the change that undoes another: it removes what that added and restores what it
    removed. Later changes by others stay. Raises ValidationError when it cannot be undone.
    """
    change = (
        SegmentListChange.objects.select_for_update(of=("self",))
        .select_related("segment")
        .get(pk=change.pk)
    )
    if change.state == ListState.RUNNING:
        raise ValidationError("This change is still running. Undo it when it is done.")
    if change.undone:
        raise ValidationError("This change has already been undone.")
    if not _recent(change):
        raise ValidationError(f"A change can be undone for {KEPT_DAYS} days.")
    change.undone = True
    change.save(update_fields=["undone"])
    size = change.added + change.removed
    content = {"undoes": change.pk, "added": change.added, "removed": change.removed}
    return _create(
        change.segment, ListAction.UNDO, change.excluded, actor, reason, content, undoes=change,
        total=size,
    )  # fmt: skip


def _recent(change: SegmentListChange) -> bool:
    since = Now() - timedelta(days=KEPT_DAYS)
    return SegmentListChange.objects.filter(pk=change.pk, finished_at__gt=since).exists()


def _create(
    segment: Segment, action: ListAction, excluded: bool, actor: Actor, reason: str,
    content: Mapping[str, Any], now: Mapping[str, Any] | None = None, **details: Any,
) -> SegmentListChange:  # fmt: skip
    """Store a change that is about to run. Its audit entry is written at the end, perhaps by a job,
    so the environment's guard is asked here. `content` is what changes, and `now` what was there,
    as far as a change request needs them."""
    mark = guard_check(
        AuditAction.SEGMENT_LIST_CHANGED,
        actor,
        environment=segment.environment,
        object_id=segment.key,
        object_name=segment.key,
        before=dict(now or {}),
        after={"list": list_name(excluded), "change": action.value, **content},
        reason=reason,
    )
    return SegmentListChange.objects.create(
        segment=segment,
        action=action,
        excluded=excluded,
        actor_user=actor.user,
        actor_name=actor.name,
        reason=reason or confirmed_reason(actor)[:500],
        break_glass=mark.break_glass,
        change_request_id=mark.request_id,
        **details,
    )


def list_name(excluded: bool) -> str:
    return "excluded" if excluded else "included"


# --- Deleted segments -----------------------------------------------------------------------------


def lists_keep(segment: Segment) -> dict[str, int]:
    """Record that a segment is being deleted. Its list rows stay until cleanup. Returns their
    sizes, {} if the segment never had list changes."""
    if not segment.list_changes.exists():
        return {}
    SegmentListChange.objects.create(
        segment=segment,
        excluded=False,
        action=ListAction.DELETE,
        state=ListState.DONE,
        finished_at=Now(),
    )
    return {"included": segment.included, "excluded": segment.excluded}


def lists_are_kept(segment_id: int) -> bool:
    """Whether the lists of a deleted segment are still complete."""
    return _deletions(segment_id).exists()


def lists_bring_back(segment_id: int) -> None:
    """The segment is stored again under its id: its lists stay."""
    _deletions(segment_id).delete()


def _deletions(segment_id: int) -> QuerySet[SegmentListChange]:
    return SegmentListChange.objects.filter(
        segment_id=segment_id, action=ListAction.DELETE, state=ListState.DONE
    )


# --- Uploads wait in the database -----------------------------------------------------------------


def upload_keep(change: SegmentListChange, pieces: Iterable[bytes]) -> None:
    for number, data in enumerate(pieces):
        SegmentListPiece.objects.create(change=change, number=number, data=data)


def upload_read(change: SegmentListChange) -> Iterator[bytes]:
    """The pieces of an uploaded file, one in memory at a time."""
    for number in range(change.pieces.count()):
        yield bytes(change.pieces.get(number=number).data)


# --- Export ---------------------------------------------------------------------------------------


def list_export(
    segment: Segment, *, excluded: bool, actor: Actor, reason: str = ""
) -> Iterator[list[str]]:
    """The rows of a list as CSV cells, header first, which an import reads back. Records the export
    in the audit log."""
    audit_record(
        AuditAction.SEGMENT_LIST_EXPORTED,
        actor,
        environment=segment.environment,
        object_id=segment.key,
        object_name=segment.key,
        after={
            "list": "excluded" if excluded else "included",
            "rows": segment.excluded if excluded else segment.included,
        },
        reason=reason,
    )
    members = SegmentMember.objects.on(segment, excluded=excluded).values_list("external_id")
    return chain([[COLUMN]], ([cell(each)] for (each,) in members.iterator(EXPORT_ROWS)))


register_permanent({AuditAction.SEGMENT_LIST_EXPORTED: "An export changes nothing."})


# --- Running --------------------------------------------------------------------------------------


def list_run(
    change: SegmentListChange, pieces: Iterable[bytes] = (), progress: Progress = no_progress
) -> SegmentListChange:
    """Run a change from its beginning, also one that was started before. `pieces` are the bytes of
    the file to import.

    Raises SupersededError when it has finished or another run has taken it over, and
    ValidationError when it cannot be completed; the part that was done can be undone.
    """
    read = 0

    def counted() -> Iterator[bytes]:
        nonlocal read
        for piece in pieces:
            read += len(piece)
            yield piece

    try:
        run = take_up(change, progress)
        match change.action:
            case ListAction.IMPORT:
                chunks.take_in(run, read_ids(counted()), lambda: read)
            case ListAction.REPLACE:
                chunks.replace(run, read_ids(counted()), lambda: read)
            case ListAction.CLEAR:
                chunks.sweep(run, "m.change_id < %s", [change.pk])
            case ListAction.UNDO:
                chunks.undo(run)
    except FileRefusedError as error:
        _finish(change, problem=str(error)[:MAX_PROBLEM])
        raise ValidationError(str(error)) from None
    except ValidationError as error:
        _finish(change, problem=error.messages[0])
        raise
    finished = _finish(change)
    if finished.added + finished.removed > chunks.CHUNK_ROWS:
        with connection.cursor() as cursor:  # without statistics, the next pages are slow
            cursor.execute("ANALYZE segment_member, segment_former_member")
    return finished


def list_give_up(change: SegmentListChange, problem: str) -> SegmentListChange:
    """Close a change that will not continue. What it did stays and can be undone."""
    return _finish(change, problem=problem)


@transaction.atomic
def _finish(
    change: SegmentListChange, *, problem: str = "", ids: Sequence[str] = ()
) -> SegmentListChange:
    """Close a change and write its audit entry, unless its segment was deleted."""
    segments = Segment.objects.select_related("environment__project")
    locked = segments.select_for_update(of=("self",), no_key=True)  # first, as in a chunk
    segment = locked.filter(pk=change.segment_id).first()
    closed = SegmentListChange.objects.filter(
        pk=change.pk, attempt=change.attempt, state=ListState.RUNNING
    ).update(
        state=ListState.STOPPED if problem else ListState.DONE,
        problem=problem,
        touched_at=Now(),
        finished_at=Now(),
    )
    if not closed:
        raise SupersededError
    change.pieces.all().delete()
    change.refresh_from_db()
    if segment is not None:
        _audit(segment, change, ids)
        if change.added or change.removed:
            size_want(segment, members_changed=True, after=LIST_PAUSE)
    return change


def entry_of(change: SegmentListChange) -> AuditEntry | None:
    """The audit entry of a finished change."""
    return _entries(change.segment).filter(after___change_id=change.pk).first()


def with_entry_id(
    changes: QuerySet[SegmentListChange], segment: Segment
) -> QuerySet[SegmentListChange]:
    """Adds `entry_id`: the audit entry of a finished change, which undo names."""
    entries = _entries(segment).annotate(change_id=Cast(KT("after___change_id"), BigIntegerField()))
    of_change = entries.filter(change_id=OuterRef("pk")).values("pk")
    return changes.annotate(entry_id=Subquery(of_change[:1]))


def _entries(segment: Segment) -> QuerySet[AuditEntry]:
    return AuditEntry.objects.filter(
        object_type="segment",
        object_id=segment.key,
        environment=segment.environment_id,
        action=AuditAction.SEGMENT_LIST_CHANGED,
    )


def _audit(segment: Segment, change: SegmentListChange, ids: Sequence[str]) -> None:
    fields = {
        "list": list_name(change.excluded),
        "change": change.action,
        "file": change.file_name,
        "added": change.added,
        "removed": change.removed,
        "bad lines": change.bad,
        "_change_id": change.pk,
        "ids": list(ids) if len(ids) <= AUDITED_IDS else None,
        "stopped": change.problem,
    }
    confirmed = Confirmation(settled=Mark(change.break_glass, change.change_request_id))
    audit_record(
        AuditAction.SEGMENT_LIST_CHANGED,
        Actor(change.actor_name, user=change.actor_user, confirmation=confirmed),
        environment=segment.environment,
        object_id=segment.key,
        object_name=segment.key,
        after={name: value for name, value in fields.items() if value},
        reason=change.reason,
    )

"""Runs a list change in chunks, each a transaction that commits within a second.

All writers lock the segment's row for each chunk. This prevents deadlocks, keeps the segment's
counts correct, and no row can appear after the segment was deleted.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import batched
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from ilara_admin.core.progress import Progress, no_progress
from ilara_admin.models import Environment
from players import aliases
from segments.lists.csv_reader import CsvRow
from segments.lists.resolution import players_named, without_strangers
from segments.models import (
    ListState,
    Segment,
    SegmentFormerMember,
    SegmentListChange,
)

CHUNK_ROWS = 5_000
SHOWN_BAD_LINES = 10
SEGMENT_DELETED = "The segment was deleted in the meantime."


class SupersededError(Exception):
    """The change has finished, or another run has taken it over."""


@dataclass(slots=True)
class Counts:
    """What one chunk adds to the change's counters, and the fields it overwrites."""

    added: int = 0
    removed: int = 0
    overwritten: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ChunkRun:
    """One run of a change. `done` is the progress in the units of the change's total; each scanned
    row adds `row_weight`."""

    change: SegmentListChange
    environment: Environment
    progress: Progress
    done: float = 0
    row_weight: float = 1

    @property
    def one_list(self) -> tuple[int, bool]:
        return self.change.segment_id, self.change.excluded


def take_up(change: SegmentListChange, progress: Progress = no_progress) -> ChunkRun:
    """Start or restart a change. An earlier run can no longer write."""
    segment = Segment.objects.select_related("environment").filter(pk=change.segment_id).first()
    taken = _mine(change).update(attempt=F("attempt") + 1, touched_at=Now(), done=0)
    if not taken:
        raise SupersededError
    change.attempt += 1
    if segment is None:
        raise ValidationError(SEGMENT_DELETED)
    return ChunkRun(change, segment.environment, progress)


def _mine(change: SegmentListChange) -> QuerySet[SegmentListChange]:
    return SegmentListChange.objects.filter(
        pk=change.pk, state=ListState.RUNNING, attempt=change.attempt
    )


@contextmanager
def chunk(run: ChunkRun) -> Iterator[Counts]:
    """One transaction of a change: rows and counters commit together."""
    counts, change = Counts(), run.change
    with transaction.atomic():
        aliases.lock_for_lists(run.environment.pk)
        segments = Segment.objects.filter(pk=change.segment_id)
        if not segments.select_for_update(no_key=True).values_list("pk").first():
            raise ValidationError(SEGMENT_DELETED)
        yield counts
        if growth := counts.added - counts.removed:
            size = "excluded" if change.excluded else "included"
            segments.update(**{size: F(size) + growth})
        written = _mine(change).update(
            added=F("added") + counts.added,
            removed=F("removed") + counts.removed,
            done=round(run.done),
            touched_at=Now(),
            **counts.overwritten,
        )
        if not written:
            raise SupersededError
    run.progress("Importing", round(run.done), change.total)


# --- Adding ---------------------------------------------------------------------------------------


def add(run: ChunkRun, lines: Sequence[CsvRow]) -> None:
    """Add the ids of all lines. Raises ValidationError at the first that cannot be one."""
    with chunk(run) as counts:
        read, rows = without_strangers(run.environment, lines)
        if faulty := next((line for line in read if line.problem), None):
            raise ValidationError(f"Line {faulty.number} {faulty.problem}.")
        counts.added = _insert(run, rows)


def take_in(
    run: ChunkRun,
    lines: Iterable[CsvRow],
    position: Callable[[], int],
    named: set[bytes] | None = None,
) -> None:
    """Add the valid lines of a file. `position` returns the bytes read so far. If given, `named`
    collects the ids of the players in the file."""
    total = bad = 0
    bad_lines: list[tuple[int, str]] = []
    for batch in batched(lines, CHUNK_ROWS):
        run.done = position()
        with chunk(run) as counts:
            lines_read, rows = without_strangers(run.environment, batch)
            faulty = [(line.number, line.problem) for line in lines_read if line.problem]
            total, bad = total + len(batch), bad + len(faulty)
            bad_lines = (bad_lines + faulty)[:SHOWN_BAD_LINES]
            counts.added = _insert(run, rows)
            counts.overwritten = {"lines": total, "bad": bad, "bad_lines": bad_lines}
        if named is not None:
            named.update(player_id.bytes for player_id, _ in rows)


def replace(run: ChunkRun, lines: Iterable[CsvRow], position: Callable[[], int]) -> None:
    """Add the valid lines of a file, then remove earlier rows that the file does not contain.

    In this order, players who stay on the list never leave it. Rows that others add in the meantime
    stay. Uses about 100 MB of memory for a million ids.
    """
    named: set[bytes] = set()
    take_in(run, lines, position, named)
    if not named:
        raise ValidationError("The file contains no external id, so the list is unchanged.")
    # The removal is the second half of the progress bar, whatever the sizes of file and list.
    size = Segment.objects.values_list("excluded" if run.change.excluded else "included", flat=True)
    run.row_weight = position() / max(size.filter(pk=run.change.segment_id).first() or 0, 1)
    place: str | None = ""
    while place is not None:
        with chunk(run) as counts:
            rows, place = _part(run, place)
            unnamed = [player_id for player_id, _ in rows if player_id.bytes not in named]
            condition = "m.player_id = ANY(%s) AND m.change_id < %s"
            counts.removed = _move(run, condition, [unnamed, run.change.pk]) if unnamed else 0


def _insert(run: ChunkRun, rows: list[tuple[UUID, str]]) -> int:
    """Add players to the list; returns how many are new. COPY and inserting in primary key order
    are the fastest."""
    with connection.cursor() as cursor:
        cursor.execute(
            """CREATE TEMPORARY TABLE IF NOT EXISTS segment_given (player_id uuid, external_id text)
               ON COMMIT DELETE ROWS"""
        )
        cursor.execute("TRUNCATE pg_temp.segment_given")
        with cursor.copy("COPY pg_temp.segment_given FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(
            """INSERT INTO segment_member (player_id, segment_id, excluded, external_id, change_id)
               SELECT player_id, %s, %s, external_id, %s FROM pg_temp.segment_given
               ORDER BY player_id ON CONFLICT DO NOTHING""",
            [*run.one_list, run.change.pk],
        )
        return int(cursor.rowcount)


# --- Remove and restore ---------------------------------------------------------------------------


def remove(run: ChunkRun, external_ids: Iterable[str]) -> None:
    with chunk(run) as counts:
        player_ids = [player_id for player_id, _ in players_named(run.environment, external_ids)]
        counts.removed = _move(run, "m.player_id = ANY(%s)", [player_ids])


def sweep(run: ChunkRun, condition: str, params: Sequence[Any]) -> None:
    """Scan the whole list and remove the rows `m` that meet a condition."""
    place: str | None = ""
    while place is not None:
        with chunk(run) as counts:
            rows, end = _part(run, place)
            if rows:
                part = 'm.external_id COLLATE "C" > %s AND m.external_id COLLATE "C" <= %s'
                last = rows[-1][1]
                counts.removed = _move(run, f"{part} AND ({condition})", [place, last, *params])
        place = end


def _part(run: ChunkRun, place: str) -> tuple[list[tuple[UUID, str]], str | None]:
    """The next rows of the list in id order, and the position to continue from."""
    with connection.cursor() as cursor:
        _trust_indexes(cursor)
        cursor.execute(
            """SELECT player_id, external_id FROM segment_member
               WHERE segment_id = %s AND excluded = %s AND external_id COLLATE "C" > %s
               ORDER BY external_id COLLATE "C" LIMIT %s""",
            [*run.one_list, place, CHUNK_ROWS],
        )
        rows = cursor.fetchall()
    run.done += len(rows) * run.row_weight
    return rows, rows[-1][1] if len(rows) == CHUNK_ROWS else None


def undo(run: ChunkRun) -> None:
    """Restore what a change removed, then remove what it added."""
    undone = run.change.undoes
    assert undone is not None
    for part in _former(run, undone.pk):
        with chunk(run) as counts:
            counts.added = _put_back(run, undone.pk, part)
    if undone.undoes_id is not None:
        # The rows that an undo restored belong to older changes.
        for part in _former(run, undone.undoes_id):
            with chunk(run) as counts:
                counts.removed = _move(
                    run,
                    """m.player_id = ANY(%s) AND EXISTS (
                           SELECT FROM segment_former_member f WHERE f.change_id = %s
                           AND f.player_id = m.player_id AND f.added_by = m.change_id)""",
                    [part, undone.undoes_id],
                )
    elif undone.added > CHUNK_ROWS:
        sweep(run, "m.change_id = %s", [undone.pk])
    else:
        with chunk(run) as counts:
            counts.removed = _move(run, "m.change_id = %s", [undone.pk])


def _former(run: ChunkRun, change_id: int) -> Iterator[list[UUID]]:
    """The players that a change removed from its list, in batches."""
    former = SegmentFormerMember.objects.filter(change_id=change_id).order_by("player_id")
    players = former.values_list("player_id", flat=True)
    place = UUID(int=0)
    while part := list(players.filter(player_id__gt=place)[:CHUNK_ROWS]):
        run.done += len(part) * run.row_weight
        yield part
        place = part[-1]


def _move(run: ChunkRun, condition: str, params: Sequence[Any]) -> int:
    """Remove the rows `m` that meet a condition and store them for undo. Returns the row count."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""WITH deleted AS (
                DELETE FROM segment_member m
                WHERE m.segment_id = %s AND m.excluded = %s AND {condition}
                RETURNING m.player_id, m.external_id, m.change_id
            ), stored AS (
                INSERT INTO segment_former_member (change_id, player_id, external_id, added_by)
                SELECT %s, player_id, external_id, change_id FROM deleted ON CONFLICT DO NOTHING
            )
            SELECT count(*) FROM deleted""",
            [*run.one_list, *params, run.change.pk],
        )
        return int(cursor.fetchone()[0])


def _put_back(run: ChunkRun, change_id: int, part: list[UUID]) -> int:
    """Restore rows that a change removed, each with the change that originally added it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO segment_member (player_id, segment_id, excluded, external_id, change_id)
               SELECT player_id, %s, %s, external_id, added_by FROM segment_former_member
               WHERE change_id = %s AND player_id BETWEEN %s AND %s
               ORDER BY player_id ON CONFLICT DO NOTHING""",
            [*run.one_list, change_id, part[0], part[-1]],
        )
        return int(cursor.rowcount)


def _trust_indexes(cursor: Any) -> None:
    """New rows have no statistics yet, and a plan that sorts the whole list for each batch would
    take hours for a million rows."""
    cursor.execute("SET LOCAL enable_sort TO off")

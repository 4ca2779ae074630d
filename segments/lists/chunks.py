"""How a change of a list is carried out: in chunks that each commit within a second.

All writers of a segment's lists take turns by locking its row, chunk by chunk. So they cannot
deadlock, the segment's counts are right, and no row appears behind a segment that was deleted.
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
from players import aliases
from players.models import player_id_for
from segments.lists.csv_reader import CsvRow
from segments.models import (
    ListState,
    Segment,
    SegmentFormerMember,
    SegmentListChange,
)

CHUNK_ROWS = 5_000
SHOWN_BAD_LINES = 10
GONE = "The segment was deleted meanwhile."


class SupersededError(Exception):
    """The change is finished, or somebody else has taken it up."""


@dataclass(slots=True)
class Counts:
    """What one chunk adds to the change's row, and what it replaces there."""

    added: int = 0
    removed: int = 0
    told: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ChunkRun:
    """One attempt at a change. `done` is how much of the change's total was looked at, where a row
    weighs `row_weight`."""

    change: SegmentListChange
    environment_id: int
    namespace: UUID
    progress: Progress
    done: float = 0
    row_weight: float = 1

    @property
    def one_list(self) -> tuple[int, bool]:
        return self.change.segment_id, self.change.excluded


def take_up(change: SegmentListChange, progress: Progress = no_progress) -> ChunkRun:
    """Begin a change, or begin it again: whoever was at it before may write no more."""
    segment = Segment.objects.select_related("environment").filter(pk=change.segment_id).first()
    taken = _mine(change).update(attempt=F("attempt") + 1, touched_at=Now(), done=0)
    if not taken:
        raise SupersededError
    change.attempt += 1
    if segment is None:
        raise ValidationError(GONE)
    environment = segment.environment
    return ChunkRun(change, environment.pk, environment.namespace, progress)


def _mine(change: SegmentListChange) -> QuerySet[SegmentListChange]:
    return SegmentListChange.objects.filter(
        pk=change.pk, state=ListState.RUNNING, attempt=change.attempt
    )


@contextmanager
def chunk(run: ChunkRun) -> Iterator[Counts]:
    """One transaction of a change. Its rows and its counts are written together or not at all."""
    counts, change = Counts(), run.change
    with transaction.atomic():
        aliases.lock_for_lists(run.environment_id)
        segments = Segment.objects.filter(pk=change.segment_id)
        if not segments.select_for_update(no_key=True).values_list("pk").first():
            raise ValidationError(GONE)
        yield counts
        if growth := counts.added - counts.removed:
            size = "excluded" if change.excluded else "included"
            segments.update(**{size: F(size) + growth})
        written = _mine(change).update(
            added=F("added") + counts.added,
            removed=F("removed") + counts.removed,
            done=round(run.done),
            touched_at=Now(),
            **counts.told,
        )
        if not written:
            raise SupersededError
    run.progress("Importing", round(run.done), change.total)


# --- Adding ---------------------------------------------------------------------------------------


def add(run: ChunkRun, external_ids: Sequence[str]) -> None:
    with chunk(run) as counts:
        counts.added = _insert(run, _rows(run, external_ids))


def take_in(
    run: ChunkRun,
    lines: Iterable[CsvRow],
    position: Callable[[], int],
    named: set[bytes] | None = None,
) -> None:
    """Add the good lines of a file; `position` says how many bytes of it were read. The players
    that it names are noted in `named`."""
    total = bad = 0
    bad_lines: list[tuple[int, str]] = []
    for batch in batched(lines, CHUNK_ROWS):
        faulty = [(line.number, line.problem) for line in batch if line.problem]
        total, bad = total + len(batch), bad + len(faulty)
        bad_lines = (bad_lines + faulty)[:SHOWN_BAD_LINES]
        run.done = position()
        with chunk(run) as counts:
            rows = _rows(run, (line.external_id for line in batch if not line.problem))
            counts.added = _insert(run, rows)
            counts.told = {"lines": total, "bad": bad, "bad_lines": bad_lines}
        if named is not None:
            named.update(player_id.bytes for player_id, _ in rows)


def replace(run: ChunkRun, lines: Iterable[CsvRow], position: Callable[[], int]) -> None:
    """Add the good lines of a file, then take off what was there before and is not in it.

    In this order nobody who stays on the list is off it for a moment. What others add meanwhile
    stays. Takes about 100 MB of memory for a million ids.
    """
    named: set[bytes] = set()
    take_in(run, lines, position, named)
    if not named:
        raise ValidationError("The file holds no external id, so the list stays as it is.")
    # The second half of the progress bar, whatever the length of the file and of the list.
    size = Segment.objects.values_list("excluded" if run.change.excluded else "included", flat=True)
    run.row_weight = position() / max(size.filter(pk=run.change.segment_id).first() or 0, 1)
    place: str | None = ""
    while place is not None:
        with chunk(run) as counts:
            rows, place = _part(run, place)
            unnamed = [player_id for player_id, _ in rows if player_id.bytes not in named]
            condition = "m.player_id = ANY(%s) AND m.change_id < %s"
            counts.removed = _move(run, condition, [unnamed, run.change.pk]) if unnamed else 0


def _rows(run: ChunkRun, external_ids: Iterable[str]) -> list[tuple[UUID, str]]:
    """The players that external ids stand for, each with their own external id. Within a chunk: no
    alias is linked before it ends."""
    named = [(player_id_for(run.namespace, each), each) for each in external_ids]
    canonical = aliases.canonical([player_id for player_id, _ in named])
    return [canonical.get(player_id, (player_id, each)) for player_id, each in named]


def _insert(run: ChunkRun, rows: list[tuple[UUID, str]]) -> int:
    """Put players on the list; returns how many were not there. COPY is the fastest way to the
    server, and the order of the primary key the fastest into its index."""
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


# --- Removing and putting back --------------------------------------------------------------------


def remove(run: ChunkRun, external_ids: Iterable[str]) -> None:
    with chunk(run) as counts:
        player_ids = [player_id for player_id, _ in _rows(run, external_ids)]
        counts.removed = _move(run, "m.player_id = ANY(%s)", [player_ids])


def sweep(run: ChunkRun, condition: str, params: Sequence[Any]) -> None:
    """Walk over the whole list and take off what meets a condition on the row `m`."""
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
    """The next rows of the list in the order of their ids, and the place from which to go on."""
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
    """Put back what another change removed, then take off what it added."""
    undone = run.change.undoes
    assert undone is not None
    for part in _former(run, undone.pk):
        with chunk(run) as counts:
            counts.added = _put_back(run, undone.pk, part)
    if undone.undoes_id is not None:
        # What an undoing added are rows of older changes, which it had put back.
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
    """The players whom a change had taken off its list, in parts."""
    former = SegmentFormerMember.objects.filter(change_id=change_id).order_by("player_id")
    players = former.values_list("player_id", flat=True)
    place = UUID(int=0)
    while part := list(players.filter(player_id__gt=place)[:CHUNK_ROWS]):
        run.done += len(part) * run.row_weight
        yield part
        place = part[-1]


def _move(run: ChunkRun, condition: str, params: Sequence[Any]) -> int:
    """Take the rows off the list that meet a condition on `m`, and keep them with the change.
    Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""WITH gone AS (
                DELETE FROM segment_member m
                WHERE m.segment_id = %s AND m.excluded = %s AND {condition}
                RETURNING m.player_id, m.external_id, m.change_id
            ), kept AS (
                INSERT INTO segment_former_member (change_id, player_id, external_id, added_by)
                SELECT %s, player_id, external_id, change_id FROM gone ON CONFLICT DO NOTHING
            )
            SELECT count(*) FROM gone""",
            [*run.one_list, *params, run.change.pk],
        )
        return int(cursor.fetchone()[0])


def _put_back(run: ChunkRun, change_id: int, part: list[UUID]) -> int:
    """Put rows back that a change had removed, in the name of whichever change had added them."""
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
    """Rows that are new have no statistics yet. A plan that sorts the whole list for each part of
    it would take hours for a million of them."""
    cursor.execute("SET LOCAL enable_sort TO off")

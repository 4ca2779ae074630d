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

from players.models import player_id_for
from segments.ids import Line
from segments.models import ListAction, ListState, Segment, SegmentListChange

CHUNK_ROWS = 10_000
SHOWN_BAD_LINES = 10
GONE = "The segment was deleted meanwhile."

# Told how much is done and how much there is; 0 when nobody knows.
type Progress = Callable[[int, int], None]


class SupersededError(Exception):
    """The change is finished, or somebody else has taken it up."""


@dataclass(slots=True)
class Counts:
    """What one chunk adds to the change's row, and what it replaces there."""

    added: int = 0
    removed: int = 0
    told: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Run:
    """One attempt at a change. `done` counts what was looked at, rows or bytes."""

    change: SegmentListChange
    namespace: UUID
    progress: Progress
    done: int = 0

    @property
    def one_list(self) -> tuple[int, bool]:
        return self.change.segment_id, self.change.excluded


def take_up(change: SegmentListChange, progress: Progress | None = None) -> Run:
    """Begin a change, or begin it again: whoever was at it before may write no more."""
    segment = Segment.objects.select_related("environment").filter(pk=change.segment_id).first()
    taken = _mine(change).update(attempt=F("attempt") + 1, touched_at=Now(), done=0)
    if not taken:
        raise SupersededError
    change.attempt += 1
    if segment is None:
        raise ValidationError(GONE)
    return Run(change, segment.environment.namespace, progress or (lambda done, total: None))


def _mine(change: SegmentListChange) -> QuerySet[SegmentListChange]:
    return SegmentListChange.objects.filter(
        pk=change.pk, state=ListState.RUNNING, attempt=change.attempt
    )


@contextmanager
def chunk(run: Run) -> Iterator[Counts]:
    """One transaction of a change. Its rows and its counts are written together or not at all."""
    counts, change = Counts(), run.change
    with transaction.atomic():
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
            done=run.done,
            touched_at=Now(),
            **counts.told,
        )
        if not written:
            raise SupersededError
    run.progress(run.done, change.total)


# --- Adding ---------------------------------------------------------------------------------------


def add(run: Run, external_ids: Sequence[str]) -> None:
    with chunk(run) as counts:
        counts.added = _insert(run, external_ids)


def take_in(run: Run, lines: Iterable[Line], position: Callable[[], int]) -> None:
    """Add the good lines of a file; `position` says how many bytes of it were read."""
    total = bad = 0
    bad_lines: list[tuple[int, str]] = []
    for batch in batched(lines, CHUNK_ROWS):
        faulty = [(line.number, line.problem) for line in batch if line.problem]
        total, bad = total + len(batch), bad + len(faulty)
        bad_lines = (bad_lines + faulty)[:SHOWN_BAD_LINES]
        run.done = position()
        with chunk(run) as counts:
            counts.added = _insert(run, [line.external_id for line in batch if not line.problem])
            counts.told = {"lines": total, "bad": bad, "bad_lines": bad_lines}


def replace(run: Run, lines: Iterable[Line], position: Callable[[], int]) -> None:
    """Add the good lines of a file, then take off what was there before and is not in it.

    In this order nobody who stays on the list is off it for a moment. What others add meanwhile
    stays.
    """
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS pg_temp.segment_kept")
        cursor.execute("CREATE TEMPORARY TABLE segment_kept (player_id uuid PRIMARY KEY)")
    take_in(run, lines, position)
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_temp.segment_kept)")
        if cursor.fetchone() != (True,):
            raise ValidationError("The file holds no external id, so the list stays as it is.")
    condition = "NOT EXISTS (SELECT FROM pg_temp.segment_kept k WHERE k.player_id = m.player_id)"
    sweep(run, f"m.change_id < %s AND {condition}", [run.change.pk])
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE pg_temp.segment_kept")


def _insert(run: Run, external_ids: Sequence[str]) -> int:
    """Put ids on the list; returns how many were not there. COPY is the fastest way to the server,
    and rows in the order of the primary key the fastest into its index."""
    with connection.cursor() as cursor:
        cursor.execute(
            """CREATE TEMPORARY TABLE IF NOT EXISTS segment_given (player_id uuid, external_id text)
               ON COMMIT DELETE ROWS"""
        )
        cursor.execute("TRUNCATE pg_temp.segment_given")
        with cursor.copy("COPY pg_temp.segment_given FROM STDIN") as copy:
            for external_id in external_ids:
                copy.write_row((player_id_for(run.namespace, external_id), external_id))
        if run.change.action == ListAction.REPLACE:
            cursor.execute(
                """INSERT INTO pg_temp.segment_kept SELECT player_id FROM pg_temp.segment_given
                   ON CONFLICT DO NOTHING"""
            )
        cursor.execute(
            """INSERT INTO segment_member (player_id, segment_id, excluded, external_id, change_id)
               SELECT player_id, %s, %s, external_id, %s FROM pg_temp.segment_given
               ORDER BY player_id ON CONFLICT DO NOTHING""",
            [*run.one_list, run.change.pk],
        )
        return int(cursor.rowcount)


# --- Removing -------------------------------------------------------------------------------------

# A part of the rows to look at, with the place from which the next part goes on.
LIST_PART = """
    SELECT player_id, external_id COLLATE "C" AS place FROM segment_member
    WHERE segment_id = %s AND excluded = %s AND external_id COLLATE "C" > %s
    ORDER BY external_id COLLATE "C" LIMIT %s"""
ADDED_PART = "SELECT player_id, '' AS place FROM segment_member WHERE change_id = %s LIMIT %s"
FORMER_PART = """
    SELECT player_id, external_id, added_by, player_id AS place FROM segment_former_member
    WHERE change_id = %s AND player_id > %s ORDER BY player_id LIMIT %s"""
GIVEN_PART = "SELECT player_id, '' AS place FROM unnest(%s::uuid[]) AS player_id"


def remove(run: Run, external_ids: Iterable[str]) -> None:
    player_ids = [player_id_for(run.namespace, external_id) for external_id in external_ids]
    with chunk(run) as counts:
        counts.removed, _ = _move(run, GIVEN_PART, [player_ids], "TRUE", [])


def sweep(run: Run, condition: str, params: Sequence[Any]) -> None:
    """Walk over the whole list and take off what meets a condition on the row `m`."""
    place = ""
    while place is not None:
        with chunk(run) as counts:
            part = [*run.one_list, place, CHUNK_ROWS]
            counts.removed, place = _move(run, LIST_PART, part, condition, params)


def undo(run: Run) -> None:
    """Put back what another change removed, then take off what it added."""
    undone = run.change.undoes
    assert undone is not None
    place: Any = UUID(int=0)
    while place is not None:
        with chunk(run) as counts:
            counts.added, place = _put_back(run, [undone.pk, place, CHUNK_ROWS])
    if undone.undoes_id is None:
        place = ""
        while place is not None:
            with chunk(run) as counts:
                counts.removed, place = _move(run, ADDED_PART, [undone.pk, CHUNK_ROWS], "TRUE", [])
        return
    # What an undoing added are rows of older changes, which it had put back.
    place = UUID(int=0)
    while place is not None:
        with chunk(run) as counts:
            part = [undone.undoes_id, place, CHUNK_ROWS]
            counts.removed, place = _move(run, FORMER_PART, part, "m.change_id = part.added_by", [])


def _move(
    run: Run, part: str, part_params: Sequence[Any], condition: str, params: Sequence[Any]
) -> tuple[int, Any]:
    """Take rows off the list and keep them with the change. Returns how many, and the place from
    which to go on, None at the end."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""WITH part AS ({part}), gone AS (
                    DELETE FROM segment_member m USING part
                    WHERE m.player_id = part.player_id AND m.segment_id = %s AND m.excluded = %s
                      AND ({condition})
                    RETURNING m.player_id, m.external_id, m.change_id
                ), kept AS (
                    INSERT INTO segment_former_member (change_id, player_id, external_id, added_by)
                    SELECT %s, player_id, external_id, change_id FROM gone
                    ON CONFLICT DO NOTHING
                )
                SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM part),
                       (SELECT place FROM part ORDER BY place DESC LIMIT 1)""",
            [*part_params, *run.one_list, *params, run.change.pk],
        )
        return _result(run, cursor.fetchone())


def _put_back(run: Run, part_params: Sequence[Any]) -> tuple[int, Any]:
    """Put rows back that a change had removed, in the name of whichever change had added them."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""WITH part AS ({FORMER_PART}), back AS (
                    INSERT INTO segment_member
                        (player_id, segment_id, excluded, external_id, change_id)
                    SELECT player_id, %s, %s, external_id, added_by FROM part
                    ON CONFLICT DO NOTHING RETURNING 1
                )
                SELECT (SELECT count(*) FROM back), (SELECT count(*) FROM part),
                       (SELECT place FROM part ORDER BY place DESC LIMIT 1)""",
            [*part_params, *run.one_list],
        )
        return _result(run, cursor.fetchone())


def _result(run: Run, row: Any) -> tuple[int, Any]:
    moved, looked_at, place = row
    run.done += looked_at
    return moved, place

"""Background jobs: member counts and list changes. Each may be killed at any point and may run
twice, also at the same time: a count is stored only while it is wanted, a list change belongs to
the run that took it up last, and the rest only deletes what is old."""

import logging
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Case, F, When
from django.db.models.functions import Now
from django.utils import timezone
from procrastinate import JobContext
from procrastinate.contrib.django import app
from procrastinate.exceptions import JobAborted

from ilara_admin.core.jobs import RETRY
from segments.lists.chunks import SupersededError
from segments.lists.services import KEPT_DAYS, list_give_up, list_run, upload_read
from segments.models import ListAction, ListState, Segment, SegmentListChange
from segments.recounts import dependents_want, sizes_refresh
from segments.size_history import size_note, sizes_thin_out
from segments.sizes import count, rule_query, total

logger = logging.getLogger("ilara.segments")

# Each chunk updates `touched_at`. A change untouched for this long has no live worker.
DEAD_SECONDS = 60
MAX_ATTEMPTS = 10
FORGOTTEN_ROWS = 5_000
MAX_AT_ONCE = 10_000  # rows to scan, or bytes of a file, within the request


# --- Sizes --------------------------------------------------------------------------------------


@app.task(retry=RETRY, pass_context=False)
def size_count(segment_id: int, members_changed: bool = False) -> None:
    """Count the members exactly, unless another job has already fulfilled the request. With
    `members_changed`, the segments that refer to this one are counted as well."""
    segment = Segment.objects.select_related("environment").filter(pk=segment_id).first()
    if segment is None:
        return
    if members_changed:
        dependents_want(segment)
    if segment.size_wanted_at is None:
        return
    now = timezone.now()
    among = total(segment.environment_id)
    size = count(rule_query(segment.environment, segment.spec, now, segment))
    among = max(size, among)
    with transaction.atomic():
        # Store the count only for the rule that was counted; a newer rule has its own job.
        is_current = Segment.objects.filter(pk=segment_id, rule=segment.rule).update(
            size=size,
            sized_among=among,
            sized_at=now,
            size_wanted_at=Case(
                When(size_wanted_at=segment.size_wanted_at, then=None), default=F("size_wanted_at")
            ),
        )
        if is_current:
            size_note(segment_id, now, size, among)


@app.periodic(cron="11 * * * *")
@app.task(queueing_lock="segments.count_sizes", pass_context=False)
def count_sizes(timestamp: int, **_: Any) -> None:
    """Queue counts of the segments with the oldest sizes."""
    sizes_refresh()


@app.periodic(cron="43 3 * * *")
@app.task(queueing_lock="segments.forget_sizes", retry=RETRY, pass_context=False)
def forget_sizes(timestamp: int, **_: Any) -> None:
    """Delete old counts."""
    sizes_thin_out(timezone.now())


# --- Lists --------------------------------------------------------------------------------------


def list_start(change: SegmentListChange) -> None:
    """Run a small change now, so that the caller sees the result; leave a large one to the worker.
    Raises ValidationError when a small change fails."""
    if change.total <= MAX_AT_ONCE:
        with suppress(SupersededError):
            list_run(change, upload_read(change))
    else:
        list_carry_out.defer(change_id=change.pk)


@app.task(retry=RETRY, pass_context=True)
def list_carry_out(context: JobContext, change_id: int) -> None:
    """Run a change unless it has finished."""
    change = SegmentListChange.objects.filter(pk=change_id, state=ListState.RUNNING).first()
    if change:
        _carry_out(change, context)


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="segments.look_after_lists", pass_context=True)
def look_after_lists(context: JobContext, /, timestamp: int, **_: Any) -> None:
    """Continue changes whose worker or command was killed."""
    dead = SegmentListChange.objects.filter(
        state=ListState.RUNNING, touched_at__lt=Now() - timedelta(seconds=DEAD_SECONDS)
    )
    for change in dead.order_by("pk"):
        reads = change.action in (ListAction.IMPORT, ListAction.REPLACE)
        with suppress(SupersededError):
            if reads and not change.pieces.exists():
                list_give_up(change, "The command was interrupted. Run it again.")
            elif change.attempt >= MAX_ATTEMPTS:
                list_give_up(change, f"Failed {MAX_ATTEMPTS} times. See the worker's log.")
            else:
                _carry_out(change, context)


def _carry_out(change: SegmentListChange, context: JobContext) -> None:
    def progress(_step: str, _done: int, _total: int) -> None:
        if context.should_abort():
            raise JobAborted

    try:
        list_run(change, upload_read(change), progress)
    except (SupersededError, ValidationError):
        pass  # another worker runs it, or the error is stored in the change
    except JobAborted:
        raise
    except Exception:
        logger.exception("list change %s failed and will be retried", change.pk)


# --- Cleanup --------------------------------------------------------------------------------------


@app.periodic(cron="41 3 * * *")
@app.task(queueing_lock="segments.forget_lists", retry=RETRY, pass_context=False)
def forget_lists(timestamp: int, **_: Any) -> None:
    """Delete undo data that is older than KEPT_DAYS."""
    while forget_former_members():
        pass
    while forget_deleted_lists():
        pass


def forget_former_members() -> int:
    """Delete a chunk of expired removed rows, oldest change first; returns the number of rows."""
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM segment_former_member WHERE (change_id, player_id) IN (
                   SELECT change_id, player_id FROM segment_former_member f
                   LEFT JOIN segment_list_change c ON c.id = f.change_id
                   WHERE f.change_id = (SELECT min(change_id) FROM segment_former_member)
                     AND (c.id IS NULL OR c.finished_at < now() - make_interval(days => %s))
                   LIMIT %s)""",
            [KEPT_DAYS, FORGOTTEN_ROWS],
        )
        return int(cursor.rowcount)


def forget_deleted_lists() -> int:
    """Delete a chunk of the list rows of a segment deleted KEPT_DAYS ago; returns the row count."""
    deletions = SegmentListChange.objects.filter(action=ListAction.DELETE)
    deletion = deletions.filter(finished_at__lt=Now() - timedelta(days=KEPT_DAYS)).first()
    if deletion is None:
        return 0
    # The lists are incomplete from here on, so an undo must not restore them.
    deletions.filter(pk=deletion.pk).update(state=ListState.STOPPED)
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM segment_member WHERE (player_id, segment_id, excluded) IN (
                   SELECT player_id, segment_id, excluded FROM segment_member
                   WHERE segment_id = %s LIMIT %s)""",
            [deletion.segment_id, FORGOTTEN_ROWS],
        )
        if cursor.rowcount:
            return int(cursor.rowcount)
    return SegmentListChange.objects.filter(segment_id=deletion.segment_id).delete()[0]

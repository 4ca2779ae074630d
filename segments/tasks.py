"""Jobs of segments: counting who is in them, and their lists. Each may be killed at any point."""

import logging
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Case, F, When
from django.db.models.functions import Now
from django.utils import timezone
from procrastinate import JobContext
from procrastinate.contrib.django import app
from procrastinate.exceptions import AlreadyEnqueued, JobAborted

from segments.lists.chunks import SupersededError
from segments.lists.services import KEPT_DAYS, list_give_up, list_run, upload_read
from segments.models import ListAction, ListState, Segment, SegmentListChange
from segments.sizes import count, rule_query, total

logger = logging.getLogger("ilara.segments")

# Every chunk touches its change; one untouched for so long has nobody at work on it.
DEAD_SECONDS = 60
MAX_ATTEMPTS = 10
FORGOTTEN_ROWS = 5_000
MAX_AT_ONCE = 10_000  # rows to walk over, or bytes of a file, while somebody waits

HOURLY_PRIORITY = -10  # whoever waits at a page goes first


# --- Sizes --------------------------------------------------------------------------------------


def size_want(segment: Segment) -> None:
    """Have the segment counted by the worker; in a transaction, once that is committed."""
    Segment.objects.filter(pk=segment.pk).update(size_wanted_at=Now())
    size_count.defer(segment_id=segment.pk, wanted=True)


def size_forget(segment: Segment) -> None:
    """The size is one of another rule."""
    Segment.objects.filter(pk=segment.pk).update(size=None, sized_among=None, sized_at=None)


@app.task(pass_context=False)
def size_count(segment_id: int, wanted: bool) -> None:
    """Count the members of a segment exactly. With `wanted` only if somebody still waits for it:
    the wish may be older than a count that another job has made since."""
    segment = Segment.objects.select_related("environment").filter(pk=segment_id).first()
    if segment is None or (wanted and segment.size_wanted_at is None):
        return
    now = timezone.now()
    among = total(segment.environment)
    size = count(rule_query(segment.environment, segment.spec, now, segment))
    # A count belongs to the rule that was counted; one saved meanwhile has asked for its own.
    Segment.objects.filter(pk=segment_id, rule=segment.rule).update(
        size=size,
        sized_among=max(size, among),
        sized_at=now,
        size_wanted_at=Case(
            When(size_wanted_at=segment.size_wanted_at, then=None), default=F("size_wanted_at")
        ),
    )


@app.periodic(cron="11 * * * *")
@app.task(queueing_lock="segments.count_sizes", pass_context=False)
def count_sizes(timestamp: int, **_: Any) -> None:
    """Have every segment counted, one job each, so that one that fails stops no other."""
    for segment_id in Segment.objects.order_by("sized_at", "pk").values_list("pk", flat=True):
        with suppress(AlreadyEnqueued):  # the worker has not got there for an hour
            size_count.configure(
                queueing_lock=f"segments.size_count.{segment_id}", priority=HOURLY_PRIORITY
            ).defer(segment_id=segment_id, wanted=False)


# --- Lists --------------------------------------------------------------------------------------


def list_start(change: SegmentListChange) -> None:
    """Carry a small change out at once, so that its maker sees the result; leave a large one to the
    worker. Raises ValidationError when a small one cannot be done."""
    if change.total <= MAX_AT_ONCE:
        with suppress(SupersededError):
            list_run(change, upload_read(change))
    else:
        list_carry_out.defer(change_id=change.pk)


@app.task(pass_context=True)
def list_carry_out(context: JobContext, change_id: int) -> None:
    """Carry out a change, unless that has been done."""
    change = SegmentListChange.objects.filter(pk=change_id, state=ListState.RUNNING).first()
    if change:
        _carry_out(change, context)


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="segments.look_after_lists", pass_context=True)
def look_after_lists(context: JobContext, /, timestamp: int, **_: Any) -> None:
    """Go on with changes that were left half-way: their worker was killed, or their command."""
    dead = SegmentListChange.objects.filter(
        state=ListState.RUNNING, touched_at__lt=Now() - timedelta(seconds=DEAD_SECONDS)
    )
    for change in dead.order_by("pk"):
        reads = change.action in (ListAction.IMPORT, ListAction.REPLACE)
        with suppress(SupersededError):
            if reads and not change.pieces.exists():
                list_give_up(change, "Its command ended half-way. Run it again to go on.")
            elif change.attempt >= MAX_ATTEMPTS:
                list_give_up(change, f"It failed {MAX_ATTEMPTS} times; the worker's log says why.")
            else:
                _carry_out(change, context)


def _carry_out(change: SegmentListChange, context: JobContext) -> None:
    def progress(_step: str, _done: int, _total: int) -> None:
        if context.should_abort():
            raise JobAborted

    try:
        list_run(change, upload_read(change), progress)
    except (SupersededError, ValidationError):
        pass  # whoever took it up tells its end, and a fault is told by the change itself
    except JobAborted:
        raise
    except Exception:
        logger.exception("list change %s failed and will be tried again", change.pk)


# --- Forgetting -----------------------------------------------------------------------------------


@app.periodic(cron="41 3 * * *")
@app.task(queueing_lock="segments.forget_lists", pass_context=False)
def forget_lists(timestamp: int, **_: Any) -> None:
    """Drop what is kept for undoing once it is too late for that."""
    while forget_former_members():
        pass
    while forget_deleted_lists():
        pass


def forget_former_members() -> int:
    """Drop a chunk of what the oldest change had removed; returns how many rows."""
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
    """Drop a chunk of the lists of a segment that was deleted long ago; returns how many rows."""
    deletions = SegmentListChange.objects.filter(action=ListAction.DELETE)
    deletion = deletions.filter(finished_at__lt=Now() - timedelta(days=KEPT_DAYS)).first()
    if deletion is None:
        return 0
    # From here on the lists are not whole any more, so they cannot come back.
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

"""When the members of a segment are counted again: after a change of its rule, of its lists or of
a segment that it refers to, when staff look at an old size, and about once a day.

A request sets `size_wanted_at` and queues one job. A count that started earlier leaves a newer
request in place, so a change during a count leads to one more count.
"""

from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from ilara_admin.core.jobs import defer_once
from segments.models import Segment, segments_by_segment

TASK = "segments.tasks.size_count"

# Other jobs of the queue go first: staff wait for them, and many counts may be queued.
PRIORITY = -5
RARE_PRIORITY = -10
# Lists often change one id at a time; a count of all players for each would be too much.
LIST_PAUSE = timedelta(seconds=15)

OLD_ON_ITS_PAGE = timedelta(minutes=10)
OLD_IN_THE_LIST = timedelta(hours=1)
OLD = timedelta(days=1)
CHECKS_PER_DAY = 24  # runs of sizes_refresh
LOST = timedelta(hours=6)  # the job of a request this old has failed


def size_want(
    segment: Segment, *, members_changed: bool = False, after: timedelta = timedelta()
) -> None:
    """Request an exact count by the worker, after the current transaction commits. If its members
    changed, the segments that refer to it are counted as well."""
    _want([segment.pk], members_changed=members_changed, after=after)


def size_forget(segment: Segment) -> None:
    """Clear the size after a change of the rule."""
    Segment.objects.filter(pk=segment.pk).update(size=None, sized_among=None, sized_at=None)


def sizes_look(segments: Iterable[Segment], old: timedelta) -> bool:
    """Request counts of segments whose shown size is old; returns whether there are any."""
    before = timezone.now() - old
    ids = [each.pk for each in segments if each.sized_at and each.sized_at < before]
    if not ids:
        return False
    with transaction.atomic():
        # A locked segment is being changed, so a count may follow anyway.
        idle = Segment.objects.filter(pk__in=ids, size_wanted_at=None)
        free = idle.select_for_update(skip_locked=True, no_key=True).values_list("pk", flat=True)
        _want(list(free))
    return True


def sizes_refresh() -> None:
    """Request the counts that are due by age, at most a share of all segments at once, and queue
    requests again whose job was lost."""
    share = Segment.objects.count() // CHECKS_PER_DAY + 1
    due = Segment.objects.filter(Q(sized_at=None) | Q(sized_at__lt=Now() - OLD))
    oldest = due.filter(size_wanted_at=None).order_by("sized_at", "pk")
    # One transaction each: holding several rows could deadlock with a change of segments.
    for segment_id in oldest.values_list("pk", flat=True)[:share]:
        _want([segment_id], priority=RARE_PRIORITY)
    lost = Segment.objects.filter(size_wanted_at__lt=Now() - LOST)
    for segment_id in lost.values_list("pk", flat=True):
        _queue([segment_id], priority=RARE_PRIORITY)


def dependents_want(segment: Segment) -> None:
    """Request counts of the segments that refer to a segment, also through others."""
    found = waiting = {segment.key}
    while waiting:
        users = segments_by_segment(segment.environment, waiting)
        waiting = {key for keys in users.values() for key in keys} - found
        found = found | waiting
    rows = Segment.objects.filter(environment=segment.environment, key__in=found - {segment.key})
    for segment_id in rows.values_list("pk", flat=True):
        _want([segment_id])


@transaction.atomic
def _want(
    ids: list[int], *, priority: int = PRIORITY, after: timedelta = timedelta(),
    members_changed: bool = False,
) -> None:  # fmt: skip
    Segment.objects.filter(pk__in=ids).update(size_wanted_at=Now() + after)
    _queue(ids, priority=priority, after=after, members_changed=members_changed)


def _queue(
    ids: list[int], *, priority: int, after: timedelta = timedelta(), members_changed: bool = False
) -> None:
    # Arguments of a queued job stay unless they are given again.
    more = {"members_changed": True} if members_changed else {}
    jobs = {f"{TASK}.{each}": {"segment_id": each, **more} for each in ids}
    defer_once(TASK, jobs, priority=priority, after=after)

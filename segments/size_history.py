"""The size of a segment over time, from the counts that are taken anyway: one an hour is stored,
and after two days the last one of each day is kept."""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any

from django.db import connection
from django.utils import timezone

from ilara_admin.core.local_times import day_starts
from ilara_admin.models import AuditAction, AuditEntry
from ilara_admin.web.access import environment_url
from ilara_admin.web.chart_axes import time_axis
from ilara_admin.web.charts import ChartSeries, Marker, bars
from ilara_admin.web.htmx import HtmxHttpRequest
from segments.models import Segment, SegmentSize

PARAMETER = "sizes"
HOURS = 48
KEPT_DAYS = 90
# A segment is counted about once a day, so a day may lie between two counts.
STAYS = timedelta(days=2)
MARKED = 100  # changes of the rule at most, the newest ones

NOTE = """
INSERT INTO segment_size (segment_id, hour, size, among)
VALUES (%s, date_trunc('hour', %s::timestamptz, 'UTC'), %s, %s)
ON CONFLICT (segment_id, hour) DO UPDATE SET size = excluded.size, among = excluded.among"""


def size_note(segment_id: int, at: datetime, size: int, among: int) -> None:
    """Store a count of the members, among so many players."""
    with connection.cursor() as cursor:
        cursor.execute(NOTE, [segment_id, at, size, among])


THIN_OUT = """
DELETE FROM segment_size s
WHERE hour < %(hours_since)s AND EXISTS (
    SELECT FROM segment_size later
    WHERE later.segment_id = s.segment_id AND later.hour > s.hour
      AND later.hour < date_trunc('day', s.hour, 'UTC') + interval '1 day')"""


def sizes_thin_out(now: datetime) -> None:
    """Delete what is older than KEPT_DAYS, and all but the last count of each UTC day that is older
    than HOURS. The counts of a deleted segment remain for an undo, until they are too old."""
    SegmentSize.objects.filter(hour__lt=now - timedelta(days=KEPT_DAYS)).delete()
    with connection.cursor() as cursor:
        cursor.execute(THIN_OUT, {"hours_since": now - timedelta(hours=HOURS)})


# --- The chart ------------------------------------------------------------------------------------


class SizeSpan(StrEnum):
    DAYS = "day"
    HOURS = "hour"


SPANS = {
    SizeSpan.DAYS: ("By day", f"Size by day, last {KEPT_DAYS} days"),
    SizeSpan.HOURS: ("By hour", f"Size by hour, last {HOURS} hours"),
}


def sizes_of(request: HtmxHttpRequest, segment: Segment, now: datetime) -> dict[str, Any]:
    """The context of the panel: `chart` (None without counts), and `spans` to choose by `?sizes=`,
    each with its value, label and whether it is shown."""
    chosen = request.GET.get(PARAMETER, "")
    span = SizeSpan(chosen) if chosen in set(SizeSpan) else SizeSpan.DAYS
    starts = _starts(span, now)
    counts = list(
        SegmentSize.objects.filter(segment=segment, hour__gte=starts[0] - STAYS)
        .order_by("hour")
        .values_list("hour", "size")
    )
    values = at_ends(counts, starts, stays=STAYS if span is SizeSpan.DAYS else timedelta())
    chart = bars(
        time_axis(starts[:-1]),
        [ChartSeries("Players", values)],
        label=SPANS[span][1],
        unit="player",
        markers=_changes(request, segment, starts[0]),
    )
    return {
        "chart": chart if any(value is not None for value in values) else None,
        "spans": [(each, label, each is span) for each, (label, _) in SPANS.items()],
    }


def at_ends(
    counts: Sequence[tuple[datetime, int]], starts: Sequence[datetime], *, stays: timedelta
) -> list[int | None]:
    """The last count before the end of each of the spans that begin at `starts`, the last of which
    is their end; None if it was taken before the span and more than `stays` before its end. The
    counts are in order of time."""
    values: list[int | None] = []
    for start, end in pairwise(starts):
        place = bisect_left(counts, (end,))
        at, size = counts[place - 1] if place else (start, None)
        values.append(size if at >= min(start, end - stays) else None)
    return values


def _starts(span: SizeSpan, now: datetime) -> list[datetime]:
    """When each column begins and the last one ends, in the user's zone."""
    zone = timezone.get_current_timezone()
    if span is SizeSpan.DAYS:
        starts = day_starts(timezone.localdate(now), KEPT_DAYS, zone)
    else:
        hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        starts = [hour - timedelta(hours=ago) for ago in range(HOURS - 1, -2, -1)]
    return [start.astimezone(zone) for start in starts]


def _changes(request: HtmxHttpRequest, segment: Segment, since: datetime) -> list[Marker]:
    entries = AuditEntry.objects.filter(
        environment=request.environment,
        object_type="segment",
        object_id=segment.key,
        action=AuditAction.SEGMENT_UPDATED,
        created_at__gte=since,
        after__has_key="rule",
    )
    url = f"{environment_url(request, 'audit_list')}?object=segment:{segment.key}"
    return [
        Marker(at, f"{name} changed the rule", url)
        for at, name in entries.order_by("-id").values_list("created_at", "actor_name")[:MARKED]
    ]

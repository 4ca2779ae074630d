"""Figures and charts of event counts, from the rollups, so their cost does not grow with events."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from django.db.models import Sum
from django.utils import timezone

from events.models import EventFold, EventHour, EventMinute, EventName
from ilara_admin.models import Environment

HOURS = 24
# The fold job runs every ten seconds. A longer delay means that it is stopped or overloaded.
BEHIND_AFTER = timedelta(minutes=2)

type Series = list[tuple[datetime, int]]


class Span(StrEnum):
    """The range of a chart: 60 minutes, 24 hours or 30 days, including the current one."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Freshness:
    """`counted_until` is None if nothing has been counted yet. `behind` means that counting is
    overdue."""

    counted_until: datetime | None
    behind: bool


@dataclass(frozen=True, slots=True)
class Arrivals:
    """`last_minute` is the count of the last complete and counted minute, `last_day` the sum of
    `hours`, which are UTC clock hours converted to the reader's time zone."""

    last_minute: int
    last_day: int
    hours: Series
    fresh: Freshness


def arrivals(environment: Environment, now: datetime, name: EventName | None = None) -> Arrivals:
    """Counts of the last 24 hours in an environment, for all names or one."""
    fresh = freshness(environment, now)
    hours = series(environment, Span.DAY, now, name)
    until = fresh.counted_until or now
    minute = until.replace(second=0, microsecond=0) - timedelta(minutes=1)
    counts = EventMinute.objects.filter(start=minute, **_wanted(environment, name))
    return Arrivals(
        last_minute=counts.aggregate(total=Sum("count", default=0))["total"],
        last_day=sum(number for _, number in hours),
        hours=hours,
        fresh=fresh,
    )


def freshness(environment: Environment, now: datetime) -> Freshness:
    fold = EventFold.objects.filter(environment=environment).first()
    until = fold.counted_until if fold else None
    return Freshness(until, until is not None and now - until > BEHIND_AFTER)


def series(
    environment: Environment, span: Span, now: datetime, name: EventName | None = None
) -> Series:
    """The counts of a span in the reader's time zone, including zeros."""
    starts = _starts(span, now)
    model = EventMinute if span is Span.HOUR else EventHour
    counts = (
        model.objects.filter(start__gte=starts[0], **_wanted(environment, name))
        .values_list("start")
        .annotate(total=Sum("count"))
        .order_by()
    )
    return _filled(span, starts, counts)


def hours_of(
    names: Iterable[EventName], environment: Environment, now: datetime
) -> dict[int, Series]:
    """The counts of the last 24 hours by name id."""
    names = list(names)
    starts = _starts(Span.DAY, now)
    rows = EventHour.objects.filter(
        environment=environment, start__gte=starts[0], event_name__in=names
    ).values_list("event_name_id", "start", "count")
    by_name: dict[int, list[tuple[datetime, int]]] = {name.pk: [] for name in names}
    for name_id, start, count in rows:
        by_name[name_id].append((start, count))
    return {name_id: _filled(Span.DAY, starts, found) for name_id, found in by_name.items()}


def _starts(span: Span, now: datetime) -> list[datetime]:
    if span is Span.MONTH:
        today = _midnight(now)
        # Calendar days, because some have 23 or 25 hours.
        return [_midnight(today - timedelta(days=ago)) for ago in range(29, -1, -1)]
    moment = now.astimezone(UTC).replace(second=0, microsecond=0)
    if span is Span.HOUR:
        return [moment - timedelta(minutes=ago) for ago in range(59, -1, -1)]
    hour = moment.replace(minute=0)
    return [hour - timedelta(hours=ago) for ago in range(HOURS - 1, -1, -1)]


def _midnight(moment: datetime) -> datetime:
    return timezone.localtime(moment).replace(hour=0, minute=0, second=0, microsecond=0)


def _filled(span: Span, starts: list[datetime], counts: Iterable[tuple[datetime, int]]) -> Series:
    # Keyed by UTC: when clocks are set back, two hours have the same local time.
    totals = dict.fromkeys((start.astimezone(UTC) for start in starts), 0)
    for start, count in counts:
        bucket = (_midnight(start) if span is Span.MONTH else start).astimezone(UTC)
        if bucket in totals:
            totals[bucket] += count
    return [(timezone.localtime(start), total) for start, total in totals.items()]


def _wanted(environment: Environment, name: EventName | None) -> Mapping[str, object]:
    return {"environment": environment} | ({} if name is None else {"event_name": name})

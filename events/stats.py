"""Figures of event counts.

They come from the rollups and the events that are not counted yet, so an event shows as soon as it
is stored. Their cost does not grow with the number of events, except for days in zones that are not
whole hours from UTC: an hour in which a day begins is split by reading its events, and counts for
one of the two days in charts of more than 30 days.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from django.db import connection
from django.utils import timezone

from events.models import EventFold, EventHour, EventName
from events.unusual import (
    DAY,
    FEWEST_MISSED,
    FEWEST_MORE,
    WEEK,
    State,
    Unusual,
    hours_before,
    judge,
    last_hour,
    words,
)
from ilara_admin.core.local_times import day_starts
from ilara_admin.models import Environment

HOURS = 24
# The fold job runs every ten seconds. A longer delay means that it is stopped or overloaded.
BEHIND_AFTER = timedelta(minutes=2)
# More uncounted events than this are left to the fold job.
TAIL_EVENTS = 20_000
# The newest events that are read for the last minute. The second limit serves 300 events a second.
NEWEST_EVENTS = (500, 20_000)
MINUTE = timedelta(minutes=1)
RATED_NAMES = 5  # with a colour of their own in the chart of rates
OTHER_NAMES = "Other names"

type Series = list[tuple[datetime, int]]


class Span(StrEnum):
    """The range of a chart: 60 minutes, 24 hours, 30 or 90 days, including the current one."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    QUARTER = "quarter"


DAYS = {Span.MONTH: 30, Span.QUARTER: 90}


@dataclass(frozen=True, slots=True)
class Freshness:
    """`counted_until` is None if nothing has been counted yet. `behind` means that counting is
    overdue."""

    counted_until: datetime | None
    behind: bool


@dataclass(frozen=True, slots=True)
class Arrivals:
    """`last_minute` is the count of the last 60 seconds, `last_day` the sum of `hours`, which are
    UTC clock hours converted to the reader's time zone."""

    last_minute: int
    last_day: int
    hours: Series
    fresh: Freshness


def arrivals(environment: Environment, now: datetime, name: EventName | None = None) -> Arrivals:
    """Counts of the last 24 hours in an environment, for all names or one."""
    hours = series(environment, Span.DAY, now, name)
    return Arrivals(
        last_minute=last_minute(environment, now, name),
        last_day=sum(number for _, number in hours),
        hours=hours,
        fresh=freshness(environment, now),
    )


def freshness(environment: Environment, now: datetime) -> Freshness:
    fold = EventFold.objects.filter(environment=environment).first()
    until = fold.counted_until if fold else None
    return Freshness(until, until is not None and now - until > BEHIND_AFTER)


LAST_MINUTE_SQL = """
SELECT count(*) FILTER (WHERE received_at > %(since)s
                          AND (%(name)s::text IS NULL OR name = %(name)s)),
       count(*) = %(limit)s AND (array_agg(received_at ORDER BY id))[1] > %(since)s
FROM (SELECT id, received_at, name FROM event
      WHERE environment_id = %(environment)s AND received_at >= date_trunc('day', %(since)s, 'UTC')
      ORDER BY id DESC LIMIT %(limit)s) newest"""


def last_minute(environment: Environment, now: datetime, name: EventName | None = None) -> int:
    """The events of the last 60 seconds. If they are too many to read, those of the last complete
    minute."""
    values: dict[str, Any] = {
        "environment": environment.pk,
        "since": now - MINUTE,
        "name": name.name if name else None,
    }
    count = 0
    for limit in NEWEST_EVENTS:
        with connection.cursor() as cursor:
            cursor.execute(LAST_MINUTE_SQL, {**values, "limit": limit})
            count, is_cut = cursor.fetchone()
        if not is_cut:
            return int(count)
    minute = now.astimezone(UTC).replace(second=0, microsecond=0) - MINUTE
    return max(count, dict(_counts(environment, Span.HOUR, minute, name)).get(minute, 0))


def series(
    environment: Environment, span: Span, now: datetime, name: EventName | None = None
) -> Series:
    """The counts of a span in the reader's time zone, including zeros."""
    starts = _starts(span, now)
    counts = Counter[datetime]()
    for start, count in _counts(environment, span, starts[0], name):
        counts[start] += count
    if span is Span.MONTH:  # three times as many would take too long
        for start, late in _after_midnight(environment, starts, name):
            hour = start.replace(minute=0)
            moved = min(late, counts[hour])
            counts[hour] -= moved
            counts[start] += moved
    return _filled(starts, counts.items())


RATES_SQL = f"""
WITH counted AS (
    SELECT name, start, sum(count)::bigint AS count FROM (
        SELECT names.name, minutes.start, minutes.count
        FROM event_minute minutes JOIN event_name names ON names.id = minutes.event_name_id
        WHERE minutes.environment_id = %(environment)s AND minutes.start >= %(since)s
        UNION ALL
        SELECT name, date_trunc('minute', received_at, 'UTC'), 1
        FROM (SELECT received_at, name FROM event
              WHERE environment_id = %(environment)s AND received_at >= %(since)s
                AND id > coalesce((SELECT folded_id FROM event_fold
                                   WHERE environment_id = %(environment)s), 0)
              ORDER BY id LIMIT {TAIL_EVENTS}) tail) both_parts
    WHERE %(name)s::text IS NULL OR name = %(name)s
    GROUP BY name, start)
, ranked AS (
    SELECT name, row_number() OVER (ORDER BY sum(count) DESC, name) AS place
    FROM counted GROUP BY name)
SELECT CASE WHEN place <= {RATED_NAMES} THEN name END, start, sum(count)::bigint
FROM counted JOIN ranked USING (name) GROUP BY 1, 2"""


def rates(environment: Environment, now: datetime, name: str | None) -> dict[str, Series]:
    """Events per minute in the last hour by name: the most frequent ones and the rest, or one
    name."""
    starts = _starts(Span.HOUR, now)
    values: dict[str, Any] = {"environment": environment.pk, "since": starts[0], "name": name}
    by_name: dict[str | None, list[tuple[datetime, int]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(RATES_SQL, values)
        for found, start, count in cursor.fetchall():
            by_name.setdefault(found, []).append((start.astimezone(UTC), count))
    if not by_name:
        return {name or "Events": _filled(starts, [])}
    counts = {each: _filled(starts, found) for each, found in by_name.items()}
    totals = {each: sum(count for _, count in found) for each, found in counts.items()}
    names = sorted(counts, key=lambda each: (each is None, -totals[each]))
    return {OTHER_NAMES if each is None else each: counts[each] for each in names}


def hours_of(
    names: Iterable[EventName], environment: Environment, now: datetime
) -> dict[int, Series]:
    """The counts of the last 24 hours by name id, from the rollups alone: an event shows after some
    ten seconds."""
    names = list(names)
    starts = _starts(Span.DAY, now)
    rows = EventHour.objects.filter(
        environment=environment, start__gte=starts[0], event_name__in=names
    ).values_list("event_name_id", "start", "count")
    by_name: dict[int, list[tuple[datetime, int]]] = {name.pk: [] for name in names}
    for name_id, start, count in rows:
        by_name[name_id].append((start, count))
    return {name_id: _filled(starts, found) for name_id, found in by_name.items()}


def day_start(now: datetime) -> datetime:
    """When the first of the hours begins that hours_of returns."""
    return _starts(Span.DAY, now)[0]


# --- Unusual events -------------------------------------------------------------------------------

# The names that may have stopped or surged, so that only their counts are read.
CANDIDATES_SQL = """
SELECT id, first_seen_at, last_seen_at FROM event_name
WHERE environment_id = %(environment)s AND count >= %(fewest)s
  AND first_seen_at < %(week)s AND last_seen_at > %(week)s
  AND (last_seen_at < %(last)s OR id IN (
      SELECT event_name_id FROM event_hour
      WHERE environment_id = %(environment)s AND (start = %(last)s OR start = ANY(%(compared)s))
      GROUP BY event_name_id
      HAVING sum(count) FILTER (WHERE start = %(last)s) - %(more)s
             >= coalesce(max(count) FILTER (WHERE start < %(last)s), 0)))"""


def unusual_names(environment: Environment, fresh: Freshness, now: datetime) -> dict[int, Unusual]:
    """The events that stopped or surged, by name id; none while counting is behind."""
    if fresh.counted_until is None or fresh.behind:
        return {}
    last = last_hour(fresh.counted_until)
    values: dict[str, Any] = {
        "environment": environment.pk,
        "fewest": min(FEWEST_MISSED, FEWEST_MORE),
        "more": FEWEST_MORE,
        "last": last,
        "week": last - WEEK,
        "compared": hours_before(last),
    }
    with connection.cursor() as cursor:
        cursor.execute(CANDIDATES_SQL, values)
        names = cursor.fetchall()
    counts: dict[int, dict[datetime, int]] = {pk: {} for pk, _, _ in names}
    compared = EventHour.objects.filter(
        event_name__in=counts, start__gt=last - WEEK - 2 * DAY, start__lte=last
    )
    for pk, start, count in compared.values_list("event_name_id", "start", "count"):
        counts[pk][start] = count
    kept_since = now - timedelta(days=environment.retention_days)
    found = {
        pk: judge(counts[pk], known_since=max(first, kept_since), last_seen=seen, last=last)
        for pk, first, seen in names
    }
    return {pk: each for pk, each in found.items() if each}


class InWords(NamedTuple):
    """An event to point out: its state, and a sentence that says what was compared."""

    state: State
    text: str


def in_words(found: Mapping[int, Unusual], now: datetime) -> dict[int, InWords]:
    here = timezone.localtime(now)
    return {pk: InWords(each.state, words(each, here)) for pk, each in found.items()}


# --- Counts ---------------------------------------------------------------------------------------

# One statement, because the fold job moves events from the second part to the first.
COUNTS_SQL = """
SELECT start, sum(count)::bigint FROM (
    SELECT start, count FROM {table}
    WHERE environment_id = %(environment)s AND start >= %(since)s
      AND (%(name_id)s::bigint IS NULL OR event_name_id = %(name_id)s)
    UNION ALL
    SELECT date_trunc('{unit}', received_at, 'UTC'), 1
    FROM (SELECT received_at, name FROM event
          WHERE environment_id = %(environment)s AND received_at >= %(since)s
            AND id > coalesce((SELECT folded_id FROM event_fold
                               WHERE environment_id = %(environment)s), 0)
          ORDER BY id LIMIT %(limit)s) tail
    WHERE %(name)s::text IS NULL OR name = %(name)s) counted
GROUP BY start"""


def _counts(
    environment: Environment, span: Span, since: datetime, name: EventName | None
) -> list[tuple[datetime, int]]:
    """The counts by minute, or by hour, from the minute or hour of `since` on."""
    since = since.astimezone(UTC)
    unit, since = ("minute", since) if span is Span.HOUR else ("hour", since.replace(minute=0))
    sql = COUNTS_SQL.format(table=f"event_{unit}", unit=unit)
    values = {
        "environment": environment.pk,
        "since": since,
        "name_id": name.pk if name else None,
        "name": name.name if name else None,
        "limit": TAIL_EVENTS,
    }
    return _rows(sql, values)


AFTER_MIDNIGHT_SQL = """
SELECT start, (SELECT count(*) FROM event
               WHERE environment_id = %(environment)s AND received_at >= start
                 AND received_at < date_trunc('hour', start, 'UTC') + interval '1 hour'
                 AND (%(name)s::text IS NULL OR name = %(name)s))
FROM unnest(%(starts)s::timestamptz[]) start"""


def _after_midnight(
    environment: Environment, starts: Sequence[datetime], name: EventName | None
) -> list[tuple[datetime, int]]:
    """Where days begin within a clock hour, as in India: the events from there to the end of that
    hour. The rollups count an hour as a whole."""
    within = [start for start in starts if start.minute]
    if not within:
        return []
    values = {
        "environment": environment.pk,
        "starts": within,
        "name": name.name if name else None,
    }
    return _rows(AFTER_MIDNIGHT_SQL, values)


def _rows(sql: str, values: dict[str, Any]) -> list[tuple[datetime, int]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return [(start.astimezone(UTC), count) for start, count in cursor.fetchall()]


def _starts(span: Span, now: datetime) -> list[datetime]:
    """When each bar begins and the last one ends, in UTC."""
    if span in DAYS:
        today = timezone.localtime(now).date()
        return day_starts(today, DAYS[span], timezone.get_current_timezone())
    moment = now.astimezone(UTC).replace(second=0, microsecond=0)
    if span is Span.HOUR:
        return [moment - timedelta(minutes=ago) for ago in range(59, -2, -1)]
    hour = moment.replace(minute=0)
    return [hour - timedelta(hours=ago) for ago in range(HOURS - 1, -2, -1)]


def _filled(starts: Sequence[datetime], counts: Iterable[tuple[datetime, int]]) -> Series:
    totals = [0] * (len(starts) + 1)
    for start, count in counts:
        totals[bisect_right(starts, start)] += count
    # The first and the last total lie outside the chart.
    return [
        (timezone.localtime(start), total)
        for start, total in zip(starts[:-1], totals[1:-1], strict=True)
    ]

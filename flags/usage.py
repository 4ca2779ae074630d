"""Usage counts of flags by variant: counted in memory, written once a minute by a thread.

Requests never wait for the write. A killed process loses its counts since the last write.
"""

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from flags import clients_seen
from flags.cache import FlagSet
from flags.engine.evaluation import CompiledFlag, Decision
from flags.models import EnvironmentUsage, Flag, FlagUsage, FlagUsageDay
from ilara_admin.core import background, metrics
from ilara_admin.core.local_times import day_starts
from ilara_admin.models import Environment

logger = logging.getLogger("ilara.flags")

FLUSH_SECONDS = 60
KEPT_DAYS = 90

_single: Counter[tuple[int, str]] = Counter()
# Bulk evaluations: flags evaluated individually, and all constant flags of an environment at once.
_bulk: Counter[tuple[int, str]] = Counter()
_together: Counter[FlagSet] = Counter()
_lock = threading.Lock()


def note(flag: CompiledFlag, decision: Decision, user_agent: str) -> None:
    """Count the evaluation of one flag by a client with this User-Agent."""
    clients_seen.note(flag.id, user_agent)
    with _lock:
        _single[flag.id, decision.variant.key] += 1
    metrics.EVALUATIONS.inc()
    start_thread()


def note_all(flags: FlagSet, decided: Sequence[tuple[CompiledFlag, Decision]]) -> None:
    """Count the evaluation of all flags in use. `decided` are those evaluated individually."""
    served = [(flag.id, decision.variant.key) for flag, decision in decided]
    # Counted with the constant flags, but not served.
    overridden = [
        (flag.id, flag.constant.variant.key) for flag, _ in decided if flag.constant is not None
    ]
    with _lock:
        _together[flags] += 1
        _bulk.update(served)
        _bulk.subtract(overridden)
    metrics.EVALUATIONS.inc(len(flags.constant) + len(served) - len(overridden))
    start_thread()


def forget() -> None:
    """Drop all counts."""
    _single.clear()
    _bulk.clear()
    _together.clear()
    clients_seen.forget()


# Skips flags deleted in the meantime. All processes lock rows in the same order, which prevents
# deadlocks: PostgreSQL completes the last statement before those that nothing reads.
WRITE = """
WITH counted AS (
    SELECT f.id, f.environment_id, u.variant, u.count, u.single,
        date_trunc('hour', now(), 'UTC') AS hour
    FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::bigint[])
        u (flag_id, variant, count, single)
    JOIN flag f ON f.id = u.flag_id
), written AS (
    INSERT INTO flag_usage (flag_id, hour, variant, count, single, last_at)
    SELECT id, hour, variant, count, single, now() FROM counted ORDER BY id, variant
    ON CONFLICT (flag_id, hour, variant)
    DO UPDATE SET count = flag_usage.count + excluded.count,
        single = flag_usage.single + excluded.single, last_at = excluded.last_at
), by_day AS (
    INSERT INTO flag_usage_day (flag_id, day, hours)
    SELECT id, day, array_fill(0::bigint, ARRAY[before]) || sum(count)::bigint
        || array_fill(0::bigint, ARRAY[23 - before])
    FROM (SELECT id, count, (hour AT TIME ZONE 'UTC')::date AS day,
              extract(hour FROM hour AT TIME ZONE 'UTC')::int AS before FROM counted) each
    GROUP BY id, day, before ORDER BY id
    ON CONFLICT (flag_id, day)
    DO UPDATE SET hours = ARRAY(SELECT was + more
        FROM unnest(flag_usage_day.hours, excluded.hours) WITH ORDINALITY hour (was, more, place)
        ORDER BY place)
)
INSERT INTO environment_usage (environment_id, hour, count)
SELECT environment_id, hour, sum(count) FROM counted GROUP BY 1, 2 ORDER BY 1
ON CONFLICT (environment_id, hour)
DO UPDATE SET count = environment_usage.count + excluded.count"""


def flush() -> None:
    """Write the counts. If that fails, they are kept for the next flush."""
    clients_seen.flush()
    with _lock:
        single, bulk, together = _single.copy(), _bulk.copy(), _together.copy()
        _single.clear()
        _bulk.clear()
        _together.clear()
    counts = single.copy()
    counts.update(bulk)
    for flags, times in together.items():
        for flag, _ in flags.constant:
            if flag.constant is not None:
                counts[flag.id, flag.constant.variant.key] += times
    rows = [(*key, count, single[key]) for key, count in counts.items() if count > 0]
    if not rows:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute(WRITE, [list(column) for column in zip(*rows, strict=True)])
    except (DatabaseError, InterfaceError):
        with _lock:
            _single.update(single)
            _bulk.update(bulk)
            _together.update(together)
        raise


def flush_quietly() -> None:
    try:
        flush()
    except (DatabaseError, InterfaceError):
        logger.warning("could not write flag usage; will retry")


start_thread = background.run_every(FLUSH_SECONDS, "flag-usage", flush_quietly)


# --- Reads ----------------------------------------------------------------------------------------


BY_VARIANT = """
SELECT variant, width_bucket(hour, %(starts)s::timestamptz[]) - 1, sum(count)::bigint
FROM flag_usage
WHERE flag_id = %(flag)s AND hour >= %(since)s AND hour < %(until)s
GROUP BY 1, 2"""


def by_variant(flag: Flag, starts: Sequence[datetime]) -> dict[str, list[int]]:
    """How often each variant was served in each of the spans that begin at `starts`, the last of
    which is their end. Usage is counted by UTC hours: one that two spans share counts in the
    earlier."""
    values: dict[str, Any] = {
        "flag": flag.pk,
        "starts": starts[:-1],
        "since": starts[0],
        "until": starts[-1],
    }
    found: dict[str, list[int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(BY_VARIANT, values)
        for variant, index, count in cursor:
            found.setdefault(variant, [0] * (len(starts) - 1))[index] = count
    return found


HOURS = "SELECT flag_id, day, hours FROM flag_usage_day WHERE flag_id = ANY(%s) AND day >= %s"


def daily(flag_ids: Sequence[int], since: datetime) -> dict[int, list[int]]:
    """Evaluations of each flag per day, from the day of `since` to today, in the user's zone."""
    starts = _days_since(since)
    found = {flag_id: [0] * len(starts) for flag_id in flag_ids}
    parts = _parts(starts)
    with connection.cursor() as cursor:
        cursor.execute(HOURS, [list(flag_ids), min(parts)])
        for flag_id, day, hours in cursor:
            for index, start, end in parts.get(day, ()):
                found[flag_id][index] += sum(hours[start:end])
    return found


def _parts(starts: Sequence[datetime]) -> dict[date, list[tuple[int, int, int]]]:
    """The days that begin then, by UTC day: the index of a day, its first hour there and that after
    its last one."""
    found: dict[date, list[tuple[int, int, int]]] = {}
    hours = [_hour_of(start) for start in starts]
    ends = [*hours[1:], hours[-1] + timedelta(days=2)]
    for index, (start, end) in enumerate(zip(hours, ends, strict=True)):
        while start < end:
            midnight = datetime.combine(start.date() + timedelta(days=1), time(), UTC)
            last = min(end, midnight) - timedelta(hours=1)
            found.setdefault(start.date(), []).append((index, start.hour, last.hour + 1))
            start = midnight
    return found


def _hour_of(start: datetime) -> datetime:
    """The first UTC hour that begins then or later: one that two days share counts in the
    earlier."""
    utc = start.astimezone(UTC)
    hour = utc.replace(minute=0, second=0, microsecond=0)
    return hour if hour == utc else hour + timedelta(hours=1)


ENVIRONMENT_DAILY = """
SELECT width_bucket(hour, %(starts)s::timestamptz[]) - 1, sum(count)::bigint
FROM environment_usage
WHERE environment_id = %(environment)s AND hour >= %(since)s
GROUP BY 1"""


def environment_daily(environment: Environment, since: datetime) -> list[tuple[datetime, int]]:
    """When each day since then begins in the user's zone, and how often flags were evaluated."""
    starts = _days_since(since)
    values: dict[str, Any] = {"environment": environment.pk, "starts": starts, "since": starts[0]}
    with connection.cursor() as cursor:
        cursor.execute(ENVIRONMENT_DAILY, values)
        counts = dict(cursor.fetchall())
    return [(timezone.localtime(start), counts.get(day, 0)) for day, start in enumerate(starts)]


RECOUNT = """
INSERT INTO environment_usage (environment_id, hour, count)
SELECT f.environment_id, u.hour, sum(u.count)
FROM flag_usage u JOIN flag f ON f.id = u.flag_id WHERE f.environment_id = %s GROUP BY 1, 2
ON CONFLICT (environment_id, hour) DO UPDATE SET count = excluded.count"""
_OF_HOURS = ", ".join(
    f"coalesce(sum(count) FILTER (WHERE extract(hour FROM hour AT TIME ZONE 'UTC') = {hour}), 0)"
    for hour in range(24)
)
RECOUNT_DAYS = f"""
INSERT INTO flag_usage_day (flag_id, day, hours)
SELECT u.flag_id, (u.hour AT TIME ZONE 'UTC')::date, ARRAY[{_OF_HOURS}]::bigint[]
FROM flag_usage u JOIN flag f ON f.id = u.flag_id WHERE f.environment_id = %s GROUP BY 1, 2
ON CONFLICT (flag_id, day) DO UPDATE SET hours = excluded.hours"""


def environment_recount(environment: Environment) -> None:
    """Add up the usage of the environment's flags, after it was filled."""
    with connection.cursor() as cursor:
        cursor.execute(RECOUNT, [environment.pk])
        cursor.execute(RECOUNT_DAYS, [environment.pk])


def _days_since(since: datetime) -> list[datetime]:
    """When the days since then begin, in the user's zone."""
    today = timezone.localdate()
    days = (today - timezone.localdate(since)).days + 1
    return day_starts(today, days, timezone.get_current_timezone())[:-1]


def usage_forget(now: datetime) -> int:
    """Delete counts older than KEPT_DAYS; returns the number of rows."""
    old = now - timedelta(days=KEPT_DAYS)
    deleted, _ = FlagUsage.objects.filter(hour__lt=old).delete()
    deleted += FlagUsageDay.objects.filter(day__lt=old.date()).delete()[0]
    deleted += EnvironmentUsage.objects.filter(hour__lt=old).delete()[0]
    return deleted

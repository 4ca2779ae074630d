"""The daily figures of an environment: which days are counted when, and what a page reads.

Activity updates no counters, because writers would wait for each other. A job counts the current
day every minute, and a day that has ended until no request that began in it can still be open.
Then its figures are final, unless late data marks the day (see late_days.py). The job also counts
days that it missed or that an older version counted, the newest first and for a limited time in
each run: after an upgrade a long history takes some minutes.
"""

from datetime import UTC, date, datetime, timedelta
from time import monotonic

from django.db import connection
from django.db.models import Min

from ilara_admin.models import Environment
from players import late_days
from players.figures import day_count, day_end, day_store, stages_count
from players.models import Dimension, FiguresState, LateDay, Player, PlayerCohort, PlayerDay
from players.record import thresholds_of
from players.retention import cohort_store, is_due

HISTORY_DAYS = 400
SECONDS = 20.0  # of a run for days that are not current
# Requests end much earlier; see the database's time limits.
SETTLED = timedelta(minutes=10)
# A day with fewer active players is counted when it is shown, which takes milliseconds.
COUNTED_WHEN_SHOWN = 5_000
# Older figures of the current day mean that the job is stopped or overloaded.
STALE = timedelta(minutes=5)
STAGES_EVERY = timedelta(minutes=10)
# The share of the time that counting the current day may take: less often than every minute in an
# environment where that takes longer than three seconds.
BUSY = 0.05


def day_figures(environment: Environment, day: date, now: datetime) -> PlayerDay:
    """The figures of a day. Those of a large day are the job's: some minutes old or, while it is
    stopped, older (see is_late), and None if it has never counted the day."""
    return _shown(environment, day, _stored(environment, day).get(day), now)


def two_days(environment: Environment, day: date, now: datetime) -> tuple[PlayerDay, PlayerDay]:
    """The figures of the day before and of the day."""
    before = day - timedelta(days=1)
    stored = _stored(environment, before, day)
    return (
        _shown(environment, before, stored.get(before), now),
        _shown(environment, day, stored.get(day), now),
    )


def _stored(environment: Environment, *days: date) -> dict[date, PlayerDay]:
    found = PlayerDay.objects.filter(
        environment=environment, day__in=days, dimension=Dimension.TOTAL
    )
    return {each.day: each for each in found}


def _shown(
    environment: Environment, day: date, stored: PlayerDay | None, now: datetime
) -> PlayerDay:
    if stored is not None and stored.active >= COUNTED_WHEN_SHOWN and not is_late(stored, now):
        return stored
    if _is_large(environment.pk, day):
        return stored or PlayerDay(environment=environment, day=day)
    return day_count(environment.pk, day)[0]


def is_late(figures: PlayerDay, now: datetime) -> bool:
    """Whether the job should have counted the day again."""
    at = figures.counted_at
    return at is None or not (_is_final(at, figures.day) or now - at < STALE)


def _is_large(environment_id: int, day: date) -> bool:
    """Whether counting the day would read more than COUNTED_WHEN_SHOWN players."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*) FROM (SELECT FROM player
                   WHERE environment_id = %s AND last_active_on >= %s LIMIT %s) active""",
            [environment_id, day, COUNTED_WHEN_SHOWN],
        )
        return bool(cursor.fetchone()[0] == COUNTED_WHEN_SHOWN)


def days_count(environment: Environment, now: datetime, seconds: float = SECONDS) -> int:
    """Count and store what is not final yet; returns the number of days. Two runs may overlap."""
    first = Player.objects.of(environment).aggregate(first=Min("first_seen_at"))["first"]
    _forget_before(environment, first.astimezone(UTC).date() if first else date.max)
    if first is None:
        return 0
    state, _ = FiguresState.objects.get_or_create(environment=environment)
    today = now.astimezone(UTC).date()
    start = max(first.astimezone(UTC).date(), today - timedelta(days=HISTORY_DAYS))
    _find_late_sessions(environment, state, now)
    late = _late(environment)
    known = dict(
        PlayerDay.objects.filter(
            environment=environment,
            day__gte=start,
            dimension=Dimension.TOTAL,
            sessions__isnull=False,
        ).values_list("day", "counted_at")
    )
    cohorts = dict(
        PlayerCohort.objects.filter(
            environment=environment, day__gte=start, dimension=Dimension.TOTAL
        ).values_list("day", "until")
    )
    last = today - timedelta(days=1 if now >= day_end(today - timedelta(days=1)) + SETTLED else 2)
    began, counted = monotonic(), 0
    for number in range((today - start).days + 1):
        day = today - timedelta(days=number)
        figures = day in late or day not in known or not _is_final(known[day], day)
        if day == today and day in known:
            pause = min(timedelta(seconds=state.seconds / BUSY), STALE - timedelta(minutes=1))
            figures = not timedelta() <= now - known[day] < pause
        cohort = day in late or is_due(day, cohorts.get(day), last)
        if not (figures or cohort):
            continue
        at = monotonic()
        if figures:
            day_store(environment, day)
            counted += 1
        if cohort and day <= last:
            cohort_store(environment, day, last)
        LateDay.objects.filter(pk__in=late.pop(day, ())).delete()
        if day == today and figures:
            state.seconds = monotonic() - at
            state.save(update_fields=["seconds"])
        elif monotonic() - began > seconds:
            break
    else:
        LateDay.objects.filter(pk__in=[pk for pks in late.values() for pk in pks]).delete()
    if state.stages_at is None or now - state.stages_at >= STAGES_EVERY:
        state.stages = stages_count(environment, thresholds_of(environment))
        state.stages_at = now
        state.save(update_fields=["stages", "stages_at"])
    return counted


def _forget_before(environment: Environment, first: date) -> None:
    """Delete the figures of days on which no player existed: those who did were erased."""
    for model in (PlayerDay, PlayerCohort, LateDay):
        model._default_manager.filter(environment=environment, day__lt=first).delete()


def _find_late_sessions(environment: Environment, state: FiguresState, now: datetime) -> None:
    if state.sessions_until and now - state.sessions_until < late_days.SESSIONS_EVERY:
        return
    if state.sessions_until:  # else no day has been counted before
        late_days.mark_sessions(environment, state.sessions_until)
    state.sessions_until = now - SETTLED
    state.save(update_fields=["sessions_until"])


def _late(environment: Environment) -> dict[date, list[int]]:
    """The ids of the marks by day."""
    found: dict[date, list[int]] = {}
    for pk, day in LateDay.objects.filter(environment=environment).values_list("pk", "day"):
        found.setdefault(day, []).append(pk)
    return found


def _is_final(counted_at: datetime, day: date) -> bool:
    return counted_at >= day_end(day) + SETTLED

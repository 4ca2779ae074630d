"""The daily figures of an environment: active, new and paying players, purchases and revenue.

Activity updates no counters, because writers would wait for each other. A job counts the current
day every minute, and a day that has ended until no request that began in it can still be open. The
bits of players' activity tell who was active on a past day, so that missed days are made up for.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connection
from django.db.models import Min

from ilara_admin.models import Environment
from players.models import Player, PlayerDay

MAKE_UP_DAYS = 30
# Requests end much earlier; see the database's time limits.
SETTLED = timedelta(minutes=10)
# A day with fewer active players is counted when it is shown, which takes milliseconds.
COUNTED_WHEN_SHOWN = 5_000
# Older figures of the current day mean that the job is stopped or overloaded.
STALE = timedelta(minutes=5)


def day_end(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def day_figures(environment: Environment, day: date, now: datetime) -> PlayerDay:
    """The figures of a day. Those of a large day are the job's: some minutes old or, while it is
    stopped, older (see is_late), and None if it has never counted the day."""
    stored = PlayerDay.objects.filter(environment=environment, day=day).first()
    if stored is not None and stored.active >= COUNTED_WHEN_SHOWN and not is_late(stored, now):
        return stored
    if _is_large(environment.pk, day):
        return stored or PlayerDay(environment=environment, day=day)
    return _count(environment.pk, day)


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


def days_count(environment: Environment, now: datetime) -> int:
    """Count and store the days that are not final yet; returns how many. Two runs may overlap."""
    today = now.astimezone(UTC).date()
    first = Player.objects.of(environment).aggregate(first=Min("first_seen_at"))["first"]
    if first is None:
        return 0
    start = max(first.astimezone(UTC).date(), today - timedelta(days=MAKE_UP_DAYS))
    known = dict(
        PlayerDay.objects.filter(environment=environment, day__gte=start).values_list(
            "day", "counted_at"
        )
    )
    days = [start + timedelta(days=number) for number in range((today - start).days + 1)]
    missing = [day for day in days if day not in known or not _is_final(known[day], day)]
    for day in missing:
        _store(_count(environment.pk, day))
    return len(missing)


def _is_final(counted_at: datetime, day: date) -> bool:
    return counted_at >= day_end(day) + SETTLED


# Players who were active on the day and later have their bit of it set; of the current day there
# are none.
COUNT_SQL = """
SELECT now(),
    (SELECT count(*) FROM player
     WHERE environment_id = %(environment)s AND last_active_on = %(day)s)
    + (SELECT count(*) FROM player
       WHERE environment_id = %(environment)s AND last_active_on > %(day)s
         AND first_seen_at < %(end)s
         AND substring(activity
                       FROM %(day)s::date - (first_seen_at AT TIME ZONE 'UTC')::date + 1
                       FOR 1) = B'1'),
    (SELECT count(*) FROM player
     WHERE environment_id = %(environment)s AND first_seen_at >= %(start)s
       AND first_seen_at < %(end)s),
    purchases, payers, revenue, unverified
FROM (SELECT count(*) AS purchases, count(DISTINCT player_id) AS payers,
             coalesce(sum(amount), 0) AS revenue,
             coalesce(sum(amount) FILTER (WHERE NOT verified), 0) AS unverified
      FROM purchase
      WHERE environment_id = %(environment)s AND received_at >= %(start)s
        AND received_at < %(end)s AND counted AND refunded_at IS NULL) bought"""


def _count(environment_id: int, day: date) -> PlayerDay:
    end = day_end(day)
    values: dict[str, Any] = {
        "environment": environment_id,
        "day": day,
        "start": end - timedelta(days=1),
        "end": end,
    }
    with connection.cursor() as cursor:
        cursor.execute(COUNT_SQL, values)
        counted_at, active, new, purchases, payers, revenue, unverified = cursor.fetchone()
    return PlayerDay(
        environment_id=environment_id,
        day=day,
        active=active,
        new=new,
        purchases=purchases,
        payers=payers,
        revenue=revenue,
        unverified=unverified,
        counted_at=counted_at,
    )


STORE_SQL = """
INSERT INTO player_day AS known
    (environment_id, day, active, new, purchases, payers, revenue, unverified, counted_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (environment_id, day) DO UPDATE SET
    active = excluded.active, new = excluded.new, purchases = excluded.purchases,
    payers = excluded.payers, revenue = excluded.revenue, unverified = excluded.unverified,
    counted_at = excluded.counted_at
WHERE known.counted_at < excluded.counted_at"""


def _store(found: PlayerDay) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            STORE_SQL,
            [
                found.environment_id, found.day, found.active, found.new, found.purchases,
                found.payers, found.revenue, found.unverified, found.counted_at,
            ],
        )  # fmt: skip

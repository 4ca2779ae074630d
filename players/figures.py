"""Counts the figures of one environment and UTC day out of activity bits and ledgers.

Players who were active on the day and later have their bit of it set; of the current day there are
none. A session belongs to the day on which it began, a purchase to the day on which it was
received. Players are broken down by the attributes that they have when the day is counted.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connection, transaction

from ilara_admin.models import Environment
from players.builtin_fields import stage_sql
from players.lifecycle import Stage, Thresholds
from players.models import Dimension, PlayerDay

TOP_VALUES = 20
ATTRIBUTES = {
    Dimension.COUNTRY: "country",
    Dimension.PLATFORM: "platform",
    Dimension.VERSION: "app_version",
}
WEEK, MONTH = 7, 30


def day_end(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def label_sql(dimension: Dimension) -> str:
    """The value of a dimension as SQL over a row `p` of `player`: "" if the player has none."""
    return f"coalesce(left(p.attributes->>'{ATTRIBUTES[dimension]}', 64), '')"


COUNT_SQL = f"""
WITH happened AS (
    SELECT id AS player_id, 1 AS active, (first_seen_at >= %(start)s)::int AS new, 0 AS sessions,
           0 AS purchases, 0::numeric AS revenue, 0::numeric AS unverified
    FROM player WHERE environment_id = %(environment)s AND last_active_on = %(day)s
    UNION ALL
    SELECT id, 1, (first_seen_at >= %(start)s)::int, 0, 0, 0, 0
    FROM player
    WHERE environment_id = %(environment)s AND last_active_on > %(day)s
      AND first_seen_at < %(end)s
      AND substring(activity FROM %(day)s::date - (first_seen_at AT TIME ZONE 'UTC')::date + 1
                    FOR 1) = B'1'
    UNION ALL
    SELECT s.player_id, 0, 0, 1, 0, 0, 0
    FROM player_session s JOIN player p ON p.id = s.player_id
    WHERE p.environment_id = %(environment)s
      AND s.started_at >= %(start)s AND s.started_at < %(end)s
    UNION ALL
    SELECT player_id, 0, 0, 0, 1, amount, CASE WHEN verified THEN 0 ELSE amount END
    FROM purchase
    WHERE environment_id = %(environment)s AND received_at >= %(start)s AND received_at < %(end)s
      AND counted AND refunded_at IS NULL)
, of_players AS (
    SELECT player_id, sum(active) AS active, sum(new) AS new, sum(sessions) AS sessions,
           sum(purchases) AS purchases, sum(revenue) AS revenue, sum(unverified) AS unverified
    FROM happened GROUP BY player_id)
, labelled AS (
    SELECT found.*, {label_sql(Dimension.COUNTRY)} AS country,
           {label_sql(Dimension.PLATFORM)} AS platform, {label_sql(Dimension.VERSION)} AS version
    FROM of_players found JOIN player p ON p.id = found.player_id)
, counted AS (
    SELECT CASE grouping(country, platform, version) WHEN 3 THEN '{Dimension.COUNTRY}'
               WHEN 5 THEN '{Dimension.PLATFORM}' WHEN 6 THEN '{Dimension.VERSION}' ELSE '' END
               AS dimension,
           coalesce(country, platform, version, '') AS value, coalesce(sum(active), 0) AS active,
           coalesce(sum(new), 0) AS new, coalesce(sum(sessions), 0) AS sessions,
           coalesce(sum(purchases), 0) AS purchases,
           count(*) FILTER (WHERE purchases > 0) AS payers,
           coalesce(sum(revenue), 0) AS revenue, coalesce(sum(unverified), 0) AS unverified
    FROM labelled GROUP BY GROUPING SETS ((), (country), (platform), (version)))
SELECT now(), dimension, value, active::int, new::int, sessions::int, purchases::int, payers::int,
       revenue, unverified
FROM (SELECT *, row_number() OVER (PARTITION BY dimension ORDER BY active DESC, value) AS place
      FROM counted) ranked
WHERE place <= {TOP_VALUES}"""


def day_count(environment_id: int, day: date) -> list[PlayerDay]:
    """The figures of a day without weekly and monthly players, those of all players first."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT_SQL, _of_day(environment_id, day))
        rows = cursor.fetchall()
    found = [
        PlayerDay(
            environment_id=environment_id,
            day=day,
            counted_at=counted_at,
            dimension=dimension,
            value=value,
            active=active,
            new=new,
            sessions=sessions,
            purchases=purchases,
            payers=payers,
            revenue=revenue,
            unverified=unverified,
        )
        for (
            counted_at, dimension, value, active, new, sessions, purchases, payers, revenue,
            unverified,
        ) in rows
    ]  # fmt: skip
    return sorted(found, key=lambda each: each.dimension != Dimension.TOTAL)


# Of the current day, the second condition finds no rows, and the first reads the index only.
_REACHED = """
    (SELECT count(*) FROM player
     WHERE environment_id = %(environment)s
       AND last_active_on BETWEEN %(day)s::date - {before} AND %(day)s)
    + (SELECT count(*) FROM player
       WHERE environment_id = %(environment)s AND last_active_on > %(day)s
         AND first_seen_at < %(end)s
         AND position(B'1' IN substring(activity
             FROM greatest({first} - {before}, 0) + 1
             FOR {first} - greatest({first} - {before}, 0) + 1)) > 0)"""
_AT = "(%(day)s::date - (first_seen_at AT TIME ZONE 'UTC')::date)"
REACH_SQL = f"""SELECT {_REACHED.format(before=WEEK - 1, first=_AT)},
    {_REACHED.format(before=MONTH - 1, first=_AT)}"""


def day_reach(environment_id: int, day: date) -> tuple[int, int]:
    """How many players were active in the 7 and in the 30 days that end with the day."""
    with connection.cursor() as cursor:
        cursor.execute(REACH_SQL, _of_day(environment_id, day))
        weekly, monthly = cursor.fetchone()
    return weekly, monthly


def _of_day(environment_id: int, day: date) -> dict[str, Any]:
    end = day_end(day)
    return {
        "environment": environment_id,
        "day": day,
        "start": end - timedelta(days=1),
        "end": end,
    }


def day_store(environment: Environment, day: date) -> None:
    """Count a day and replace its figures, unless a run that began later has stored some."""
    found = day_count(environment.pk, day)
    total = found[0]
    total.weekly, total.monthly = day_reach(environment.pk, day)
    stored = PlayerDay.objects.filter(environment=environment, day=day)
    with transaction.atomic():
        Environment.objects.select_for_update(no_key=True).get(pk=environment.pk)
        if not stored.filter(dimension=Dimension.TOTAL, counted_at__gt=total.counted_at).exists():
            stored.delete()
            PlayerDay.objects.bulk_create(found)


def stages_count(environment: Environment, thresholds: Thresholds) -> dict[str, int]:
    """The number of players in each lifecycle stage. Reads all players."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT {stage_sql("now()", thresholds)}, count(*) FROM player p
                WHERE environment_id = %s GROUP BY 1""",
            [environment.pk],
        )
        found = dict(cursor.fetchall())
    return {stage: found.get(stage, 0) for stage in Stage}

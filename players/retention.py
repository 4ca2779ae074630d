"""Retention: how many of the players first seen on a UTC day were active N days later.

Computed from activity bits, whose first one is the day on which a player was first seen. A cohort
is counted when its day has ended, and again when the 1st, 3rd, 7th, 14th and 30th day after has.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from django.db import connection, transaction

from ilara_admin.models import Environment
from players.figures import TOP_VALUES, day_end, label_sql
from players.models import Dimension, PlayerCohort

AFTER = (1, 3, 7, 14, 30)  # days


def is_due(day: date, counted_until: date | None, last: date) -> bool:
    """Whether the cohort of a day can be counted further: `last` is the last day that has ended,
    `counted_until` the one when the cohort was counted."""
    if counted_until is None:
        return day <= last
    return any(counted_until < day + timedelta(days=after) <= last for after in AFTER)


def _kept() -> Iterator[str]:
    for after in AFTER:
        yield f"count(*) FILTER (WHERE substring(activity FROM {after + 1} FOR 1) = B'1')"


COHORT_SQL = f"""
WITH found AS (
    SELECT p.activity, {label_sql(Dimension.COUNTRY)} AS country,
           {label_sql(Dimension.PLATFORM)} AS platform
    FROM player p
    WHERE p.environment_id = %(environment)s AND p.first_seen_at >= %(start)s
      AND p.first_seen_at < %(end)s)
, counted AS (
    SELECT CASE grouping(country, platform) WHEN 1 THEN '{Dimension.COUNTRY}'
               WHEN 2 THEN '{Dimension.PLATFORM}' ELSE '' END AS dimension,
           coalesce(country, platform, '') AS value, count(*) AS players,
           ARRAY[{", ".join(_kept())}] AS kept
    FROM found GROUP BY GROUPING SETS ((), (country), (platform)))
SELECT dimension, value, players, kept
FROM (SELECT *, row_number() OVER (PARTITION BY dimension ORDER BY players DESC, value) AS place
      FROM counted) ranked
WHERE place <= {TOP_VALUES}"""


def cohort_store(environment: Environment, day: date, last: date) -> None:
    """Count the cohort of a day as of the end of the day `last`, and replace what was known."""
    end = day_end(day)
    values: dict[str, Any] = {
        "environment": environment.pk,
        "start": end - timedelta(days=1),
        "end": end,
    }
    with connection.cursor() as cursor:
        cursor.execute(COHORT_SQL, values)
        rows = cursor.fetchall()
    ended = [after for after in AFTER if day + timedelta(days=after) <= last]
    found = []
    for dimension, value, players, kept in rows:
        columns: dict[str, int] = {
            f"day_{after}": count
            for after, count in zip(AFTER, kept, strict=True)
            if after in ended
        }
        found.append(
            PlayerCohort(
                environment=environment,
                day=day,
                dimension=dimension,
                value=value,
                players=players,
                until=last,
                **columns,
            )
        )
    stored = PlayerCohort.objects.filter(environment=environment, day=day)
    with transaction.atomic():
        Environment.objects.select_for_update(no_key=True).get(pk=environment.pk)
        if not stored.filter(until__gt=last).exists():
            stored.delete()
            PlayerCohort.objects.bulk_create(found)

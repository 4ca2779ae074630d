"""Past days whose figures have to be counted again, because a ledger or a player changed.

Refunds, their reversals and erasures mark the days that they change. Sessions may be reported days
after they began: the job looks for those once an hour, so that reporting a session stays one
statement. Purchases count on the day on which they are received, so none is late, and linking an id
moves neither activity nor ledgers.
"""

import uuid
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import connection

from ilara_admin.models import Environment
from players.figures import MONTH
from players.models import LateDay, Player

SESSIONS_EVERY = timedelta(hours=1)


def mark(environment_id: int, days: Iterable[date]) -> None:
    LateDay.objects.bulk_create(LateDay(environment_id=environment_id, day=day) for day in days)


def mark_moment(environment_id: int, at: datetime) -> None:
    mark(environment_id, [at.astimezone(UTC).date()])


SESSION_DAYS = """
SELECT DISTINCT (started_at AT TIME ZONE 'UTC')::date FROM player_session WHERE player_id = %s"""


def mark_player(player: Player) -> None:
    """The days of a player who is about to be erased: those that have the player among their
    monthly players, and those with sessions. Every purchase was received on an active day."""
    first = player.first_seen_at.astimezone(UTC).date()
    active = [first + timedelta(days=at) for at, bit in enumerate(player.activity) if bit == "1"]
    reached = {day + timedelta(days=number) for day in active for number in range(MONTH)}
    mark(player.environment_id, sorted(reached | _session_days(player.pk)))


def _session_days(player_id: uuid.UUID) -> set[date]:
    with connection.cursor() as cursor:
        cursor.execute(SESSION_DAYS, [player_id])
        return {day for (day,) in cursor.fetchall()}


LATE_SESSIONS = """
INSERT INTO player_late_day (environment_id, day)
SELECT DISTINCT p.environment_id, (s.started_at AT TIME ZONE 'UTC')::date
FROM player_session s JOIN player p ON p.id = s.player_id
WHERE p.environment_id = %(environment)s AND s.received_at >= %(since)s
  AND s.started_at < date_trunc('day', s.received_at, 'UTC')"""


def mark_sessions(environment: Environment, since: datetime) -> None:
    """The days of sessions received since then that began on an earlier day."""
    values: dict[str, Any] = {"environment": environment.pk, "since": since}
    with connection.cursor() as cursor:
        cursor.execute(LATE_SESSIONS, values)

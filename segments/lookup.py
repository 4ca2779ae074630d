"""Loads a player as a subject: the player row, list memberships and event counts, in one query."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ilara_admin.api.dispatch import ApiRequest, run_one
from ilara_admin.core import db
from ilara_admin.core.db import Row
from ilara_admin.models import Environment
from players.cache import parameters_of
from players.lookup import player_or_404
from players.record import COLUMNS, PlayerRow, thresholds_of
from players.statements import BY_ID
from segments.language.compiler import Subject
from segments.language.parser import EventCount
from segments.language.sql import count_sql
from segments.lists.services import MEMBERSHIPS_SQL
from segments.subject import subject_of

# Tolerated clock difference from the database. The lower bound on event times moves back by this.
SLACK = timedelta(hours=1)


def find_subject(
    request: ApiRequest,
    player_id: uuid.UUID,
    event_counts: Iterable[EventCount],
    context: Mapping[str, Any] | None = None,
    more: Sequence[str] = (),
    by: str = BY_ID,
) -> tuple[PlayerRow, Subject, Row]:
    """Load the player as a subject in one statement. Raises 404 if the player does not exist.

    `more` are extra SQL expressions over the player `p` and `env.now`; the last item of the result
    holds their values. Only `event_counts` are read from the events. With `by=BY_EXTERNAL_ID` the
    player is found by the external id.
    """
    wanted = list(event_counts)
    params: list[Any] = [player_id]
    counts = _counts(wanted, params, "env.now", first=4)
    selects = ", ".join((COLUMNS, MEMBERSHIPS_SQL, *more, *counts))
    row = run_one(
        request,
        f"SELECT env.config_version, env.now, {selects} FROM env "
        f"LEFT JOIN player p ON {by} AND p.environment_id = env.id",
        params,
    )
    return _subject(row, len(more), wanted, request.snapshot, request.now, context)


def stored_subject(
    environment: Environment,
    player_id: uuid.UUID,
    event_counts: Iterable[EventCount],
    context: Mapping[str, Any] | None = None,
) -> tuple[PlayerRow, Subject] | None:
    """find_subject without an API request, for the dashboard. None if the player does not exist."""
    wanted = list(event_counts)
    params: list[Any] = [player_id, environment.pk]
    counts = _counts(wanted, params, "statement_timestamp()", first=1)
    selects = ", ".join((COLUMNS, MEMBERSHIPS_SQL, *counts))
    row = db.fetch_one(
        f"""SELECT statement_timestamp(), {selects} FROM player p
            WHERE p.id = $1 AND p.environment_id = $2""",
        params,
        safe_to_repeat=True,
    )
    if row is None:
        return None
    player, subject, _ = _subject(row[1:], 0, wanted, environment, row[0], context)
    return player, subject


def _counts(
    event_counts: list[EventCount], params: list[Any], now: str, *, first: int
) -> list[str]:
    def bind(value: Any) -> str:
        params.append(value)
        return f"${first + len(params) - 1}"

    earliest = datetime.now(UTC) - SLACK
    return [count_sql(item, bind, now, earliest - item.span) for item in event_counts]


def _subject(
    row: Row,
    more: int,
    event_counts: list[EventCount],
    source: Any,
    now: datetime,
    context: Mapping[str, Any] | None,
) -> tuple[PlayerRow, Subject, Row]:
    width = len(PlayerRow._fields)
    player = player_or_404(row[:width])
    lists = msgspec.json.decode(row[width], type=dict[int, bool]) if row[width] else {}
    extra = row[width + 1 : width + 1 + more]
    counts = dict(zip(event_counts, row[width + 1 + more :], strict=True))
    subject = subject_of(
        player, thresholds_of(source), parameters_of(source), now, context, lists, counts
    )
    return player, subject, extra

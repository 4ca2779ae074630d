"""Loads a player as a subject: the player row, list memberships and event counts, in one query."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ilara_admin.api.dispatch import ApiRequest, run_one
from ilara_admin.api.environment_cache import Snapshot
from ilara_admin.core import db
from ilara_admin.core.db import Row
from players.record import COLUMNS, BuiltinFields, PlayerRow, player_of
from players.statements import BY_ID, unknown_player
from segments.language.compiler import Subject
from segments.language.parser import EventCount
from segments.language.sql import count_sql, counts_sql
from segments.lists.services import MEMBERSHIPS_SQL

WIDTH = len(PlayerRow._fields)
# Tolerated clock difference from the database. The lower bound on event times moves back by this.
SLACK = timedelta(hours=1)
NO_LISTS: Mapping[int, bool] = {}
NO_COUNTS: Mapping[EventCount, int] = {}


def find_subject(
    request: ApiRequest,
    player_id: uuid.UUID,
    event_counts: Iterable[EventCount],
    context: Mapping[str, Any] | None = None,
    more: Sequence[str] = (),
    by: str = BY_ID,
) -> tuple[PlayerRow, Subject, Row] | None:
    """Load the player as a subject in one statement. None if the player does not exist.

    `more` are extra SQL expressions over the player `p` and `env.now`; the last item of the result
    holds their values. Only `event_counts` are read from the events. With `by=BY_EXTERNAL_ID` the
    player is found by the external id.
    """
    wanted = list(event_counts)
    params: list[Any] = [player_id]
    columns = subject_columns(wanted, params, "env.now", more, first=4)
    row = run_one(
        request,
        f"SELECT env.config_version, env.now, {columns} FROM env "
        f"LEFT JOIN player p ON {by} AND p.environment_id = env.id",
        params,
    )
    if row[0] is None:
        return None
    return subject_in(row, wanted, request.snapshot, request.now, context)


def subject_or_404(
    request: ApiRequest, player_id: uuid.UUID, event_counts: Iterable[EventCount]
) -> Subject:
    found = find_subject(request, player_id, event_counts)
    if found is None:
        raise unknown_player(request, player_id)
    return found[1]


def stored_subject(
    snapshot: Snapshot,
    player_id: uuid.UUID,
    event_counts: Iterable[EventCount],
    more: Sequence[str] = (),
) -> tuple[PlayerRow, Subject, Row] | None:
    """find_subject without an API request, for the dashboard. None if the player does not exist.
    In `more` the time is `statement_timestamp()`."""
    wanted = list(event_counts)
    params: list[Any] = [player_id, snapshot.environment_id]
    columns = subject_columns(wanted, params, "statement_timestamp()", more)
    row = db.fetch_one(
        f"""SELECT statement_timestamp(), {columns} FROM player p
            WHERE p.id = $1 AND p.environment_id = $2""",
        params,
        safe_to_repeat=True,
    )
    return None if row is None else subject_in(row[1:], wanted, snapshot, row[0])


def subject_columns(
    event_counts: list[EventCount],
    params: list[Any],
    now: str,
    more: Sequence[str] = (),
    *,
    first: int = 1,
) -> str:
    """The select list for `subject_in`, over the player `p` and the SQL time `now`. Appends to
    `params`, whose first item is the placeholder `$first`."""

    def bind(value: Any) -> str:
        params.append(value)
        return f"${first + len(params) - 1}"

    earliest = datetime.now(UTC) - SLACK
    counts = [count_sql(item, bind, now, earliest - item.span) for item in event_counts]
    return ", ".join((COLUMNS, MEMBERSHIPS_SQL, *counts, *more))


def subjects_sql(
    few: str,
    environment_id: int,
    event_counts: list[EventCount],
    params: list[Any],
    now: str,
    more: Sequence[str] = (),
) -> str:
    """A statement with a row for `subject_in` for each player that the query `few` selects, in the
    order of their ids. Appends to `params`, whose first item is the placeholder `$1`. Events of all
    players are counted at once: a search per player and partition takes ten times as long."""

    def bind(value: Any) -> str:
        params.append(value)
        return f"${len(params)}"

    those = "e.player_id = ANY((SELECT ids FROM those)::uuid[])"
    scope = f"e.environment_id = {environment_id:d} AND {those}"
    earliest = datetime.now(UTC) - SLACK
    joins = [
        f"LEFT JOIN {counts_sql(item, bind, now, earliest - item.span, scope)} b{number} "
        f"ON b{number}.player_id = p.id"
        for number, item in enumerate(event_counts)
    ]
    counts = [f"coalesce(b{number}.times, 0)" for number in range(len(event_counts))]
    return f"""WITH few AS MATERIALIZED ({few}),
            those AS MATERIALIZED (SELECT array_agg(id) AS ids FROM few)
        SELECT {", ".join((COLUMNS, MEMBERSHIPS_SQL, *counts, *more))}
        FROM few p {" ".join(joins)} ORDER BY p.id"""


def subject_in(
    row: Row,
    event_counts: list[EventCount],
    snapshot: Snapshot,
    now: datetime,
    context: Mapping[str, Any] | None = None,
) -> tuple[PlayerRow, Subject, Row]:
    """The player, the subject and the values of `more`, from a row of `subject_columns`."""
    player = player_of(row[:WIDTH])
    lists = msgspec.json.decode(row[WIDTH], type=dict[int, bool]) if row[WIDTH] else NO_LISTS
    end = WIDTH + 1 + len(event_counts)
    counts = (
        dict(zip(event_counts, row[WIDTH + 1 : end], strict=True)) if event_counts else NO_COUNTS
    )
    return player, subject_of(player, snapshot, now, context, lists, counts), row[end:]


def subject_of(
    player: PlayerRow,
    snapshot: Snapshot,
    now: datetime,
    context: Mapping[str, Any] | None = None,
    lists: Mapping[int, bool] = NO_LISTS,
    counts: Mapping[EventCount, int] = NO_COUNTS,
) -> Subject:
    """`context` overrides attributes for this evaluation only; it is not stored."""
    attributes = {**player.attributes, **context} if context else player.attributes
    return Subject(attributes, BuiltinFields(player, snapshot, now), now, lists, counts)

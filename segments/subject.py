"""Loads a player as a subject: the player row, list memberships and event counts, in one query."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from ilara_admin.api.dispatch import ApiRequest, run_one
from ilara_admin.api.environment_cache import Snapshot
from ilara_admin.core import db
from ilara_admin.core.db import Row
from ilara_admin.core.structs import decoder
from players.record import COLUMNS, BuiltinFields, PlayerRow, player_of
from players.statements import BY_ID, unknown_player
from segments.language.compiler import Subject
from segments.language.parser import EventCount
from segments.language.sql import LATEST, Window, count_sql, counts_sql
from segments.lists.services import memberships_sql

WIDTH = len(PlayerRow._fields)
# Tolerated clock difference from the database. The lower bound on event times moves back by this.
SLACK = timedelta(hours=1)
NO_LISTS: Mapping[int, bool] = {}
_decode_lists = decoder(dict[int, bool]).decode
NO_COUNTS: Mapping[EventCount, int] = {}


def find_subject(
    request: ApiRequest,
    player_id: uuid.UUID,
    event_counts: Iterable[EventCount],
    context: Mapping[str, Any] | None = None,
    more: tuple[str, ...] = (),
    by: str = BY_ID,
) -> tuple[PlayerRow, Subject, Row] | None:
    """Load the player as a subject in one statement. None if the player does not exist.

    `more` are extra SQL expressions over the id `by` and `env.now`; the last item of the result
    holds their values. Only `event_counts` are read from the events. With `by=BY_EXTERNAL_ID` the
    player is found by the external id.
    """
    find = _find(frozenset(event_counts), more, by)
    row = run_one(request, find.sql, [player_id, *find.params()])
    if row[0] is None:
        return None
    return subject_in(row, find.event_counts, request.snapshot, request.now, context)


def subject_or_404(
    request: ApiRequest, player_id: uuid.UUID, event_counts: Iterable[EventCount]
) -> Subject:
    found = find_subject(request, player_id, event_counts)
    if found is None:
        raise unknown_player(request, player_id)
    return found[1]


def stored_subject(
    snapshot: Snapshot, player_id: uuid.UUID, event_counts: Iterable[EventCount]
) -> tuple[PlayerRow, Subject, Row] | None:
    """find_subject without an API request, for the dashboard. None if the player does not exist."""
    find = _stored(frozenset(event_counts))
    params = [player_id, snapshot.environment_id, *find.params()]
    row = db.fetch_one(find.sql, params, safe_to_repeat=True)
    return None if row is None else subject_in(row[1:], find.event_counts, snapshot, row[0])


class SubjectQuery(NamedTuple):
    """A statement with a row for `subject_in`, but for its first columns. The parameters about its
    event counts come last."""

    sql: str
    event_counts: tuple[EventCount, ...]
    values: tuple[Any, ...]

    def params(self) -> list[Any]:
        if not self.event_counts:
            return []
        earliest = datetime.now(UTC) - SLACK
        starts = [earliest - item.span for item in self.event_counts]
        return [earliest + LATEST, *starts, *self.values]


# The texts are built once: they depend on the configuration only.
@lru_cache(maxsize=1_000)
def _find(event_counts: frozenset[EventCount], more: tuple[str, ...], by: str) -> SubjectQuery:
    return _subject_query(
        f"SELECT env.config_version, env.now, {{columns}} FROM env "
        f"LEFT JOIN player p ON p.id = {by} AND p.environment_id = env.id",
        event_counts, by, "env.now", more, first=5,
    )  # fmt: skip


@lru_cache(maxsize=1_000)
def _stored(event_counts: frozenset[EventCount]) -> SubjectQuery:
    return _subject_query(
        """SELECT statement_timestamp(), {columns} FROM player p
           WHERE p.id = $1 AND p.environment_id = $2""",
        event_counts, "$1", "statement_timestamp()", (), first=3,
    )  # fmt: skip


def _subject_query(
    template: str,
    event_counts: Iterable[EventCount],
    player: str,
    now: str,
    more: tuple[str, ...],
    *,
    first: int,
) -> SubjectQuery:
    """`template` with the select list in place of `{columns}`. The parameters for `params` begin
    with `$first`."""
    wanted = tuple(event_counts)
    values: list[Any] = []

    def bind(value: Any) -> str:
        values.append(value)
        return f"${first + len(wanted) + len(values)}"

    counts = [
        count_sql(item, player, bind, Window(now, f"${first + 1 + number}", f"${first}"))
        for number, item in enumerate(wanted)
    ]
    columns = ", ".join((COLUMNS, memberships_sql(player), *counts, *more))
    return SubjectQuery(template.format(columns=columns), wanted, tuple(values))


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
        SELECT {", ".join((COLUMNS, memberships_sql("p.id"), *counts, *more))}
        FROM few p {" ".join(joins)} ORDER BY p.id"""


def subject_in(
    row: Row,
    event_counts: Sequence[EventCount],
    snapshot: Snapshot,
    now: datetime,
    context: Mapping[str, Any] | None = None,
) -> tuple[PlayerRow, Subject, Row]:
    """The player, the subject and the values of `more`, from a row of these columns: COLUMNS, the
    memberships, the event counts, `more`."""
    player = player_of(row[:WIDTH])
    lists = _decode_lists(row[WIDTH]) if row[WIDTH] else NO_LISTS
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

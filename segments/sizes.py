"""Segment sizes: exact counts, estimates and pages of members.

Player ids are uniformly distributed, so the players that follow a random id are a random sample.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from math import sqrt
from time import monotonic
from typing import Any, NamedTuple

from django.db import connection, transaction

from ilara_admin.api.environment_cache import Snapshot, at_version
from ilara_admin.core.db import Row
from ilara_admin.models import Environment
from players.builtin_fields import builtin_fields_sql
from players.cache import churn_part
from players.record import COLUMNS, PlayerRow, player_of, thresholds_of
from segments.cache import matchers_of, segments_part
from segments.language.compiler import Matcher, compile_rule, no_player, with_lists
from segments.language.parser import Node
from segments.language.sql import NOW, KnownSegment, QueryContext, SqlQuery, sql_query
from segments.models import Segment
from segments.subject import subject_of

SAMPLE_SIZE = 6_000
# For samples that count events or evaluate rows in Python, which costs more per player.
SMALL_SAMPLE_SIZE = 2_500
SHOWN = 10
PAGE_SIZE = 50
CHUNK_SIZE = 5_000
SMALL_CHUNK_SIZE = 1_000  # likewise, of a page of members
SEARCH_SECONDS = 0.03  # of the 0.1 that a page may take
LOWEST_ID = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class RuleQuery:
    """A rule, compiled to SQL and, for what SQL cannot express, to Python. With a `segment_id` that
    segment's lists count as well."""

    snapshot: Snapshot
    now: datetime
    rule: Node | None
    segment_id: int | None
    query_context: QueryContext
    matches: Matcher

    def sql_query(self, *, one_by_one: bool) -> SqlQuery:
        return sql_query(
            self.rule, self.query_context, segment_id=self.segment_id, one_by_one=one_by_one
        )


class SampleMember(NamedTuple):
    id: uuid.UUID
    external_id: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """`exact` when the sample holds all players. `share` and `margin` are percentages; the margin
    is for 95 % confidence."""

    sampled: int
    matched: int
    exact: bool
    examples: list[SampleMember]

    @property
    def share(self) -> float:
        return 100 * self.matched / self.sampled if self.sampled else 0.0

    @property
    def margin(self) -> float:
        if self.exact or not self.sampled:
            return 0.0
        part = self.matched / self.sampled
        # Never 0: a sample without a match does not prove that no player matches (rule of three).
        return 100 * max(1.96 * sqrt(part * (1 - part) / self.sampled), 3 / self.sampled)


@dataclass(frozen=True, slots=True)
class Members:
    """One page of members, ordered by id. `after` is the cursor of the next page, None at the end.
    A page may be short when few players match: a search stops after SEARCH_SECONDS."""

    players: list[PlayerRow]
    after: uuid.UUID | None


def rule_query(
    environment: Environment, rule: Node | None, now: datetime, segment: Segment | None = None
) -> RuleQuery:
    """Prepare queries for a rule. Without a rule only the lists count."""
    snapshot = at_version(environment)
    compiled = segments_part.of(snapshot)
    if segment is not None and compiled[segment.key].rule is None and rule == segment.spec:
        rule = None  # part of a cycle, so requests match no players either
    matches = no_player if rule is None else compile_rule(rule, matchers_of(compiled))
    query_context = query_context_of(snapshot, now)
    if segment is None:
        return RuleQuery(snapshot, now, rule, None, query_context, matches)
    return RuleQuery(
        snapshot, now, rule, segment.pk, query_context, with_lists(segment.pk, matches)
    )


def query_context_of(snapshot: Snapshot, now: datetime) -> QueryContext:
    compiled = segments_part.of(snapshot)
    return QueryContext(
        environment_id=snapshot.environment_id,
        now=now,
        builtin_fields=builtin_fields_sql(NOW, thresholds_of(snapshot), churn_part.of(snapshot)),
        segments={key: KnownSegment(item.id, item.rule) for key, item in compiled.items()},
    )


@transaction.atomic
def count(query: RuleQuery) -> int:
    """The exact number of matching players."""
    found = query.sql_query(one_by_one=False)
    what = "count(*)" if found.exact else columns_of(found)
    sql = f"SELECT {what} FROM player p {found.joins} WHERE {IN_ENVIRONMENT} AND {found.where}"
    with connection.cursor() as cursor:
        # JIT compilation takes longer than it saves, in each parallel worker.
        cursor.execute("SET LOCAL jit = off")
    if found.exact:
        return int(_fetch(query, found, sql)[0][0])
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql, {**found.params, "environment": query.snapshot.environment_id})
        chunks = iter(partial(cursor.fetchmany, CHUNK_SIZE), [])
        return sum(1 for rows in chunks for _ in matching(query, found, rows))


def total(environment_id: int) -> int:
    """The number of players in the environment."""
    sql = "SELECT count(*) FROM player p WHERE p.environment_id = %s"
    with connection.cursor() as cursor:
        cursor.execute(sql, [environment_id])
        return int(cursor.fetchone()[0])


def total_lately(environment_id: int) -> int:
    """The number of players when the members of a segment were last counted; a count takes too long
    for a page."""
    counted = Segment.objects.filter(environment=environment_id, sized_at__isnull=False)
    newest = counted.order_by("-sized_at").values_list("sized_among", flat=True).first()
    return newest or total(environment_id)


def members(query: RuleQuery, after: uuid.UUID = LOWEST_ID) -> Members:
    until = monotonic() + SEARCH_SECONDS
    found: list[PlayerRow] = []
    for players, last in _walk(query, after):
        found += players
        if len(found) > PAGE_SIZE:
            return Members(found[:PAGE_SIZE], found[PAGE_SIZE - 1].id)
        if last is not None and monotonic() > until:
            return Members(found, last)
    return Members(found, None)


def estimate(query: RuleQuery, start: uuid.UUID | None = None, *, counted: int = 0) -> Estimate:
    """The share of matching players and some examples, from a random sample. With a `start` it is
    always the same sample, so that results for several rules can be compared. Where the segment was
    `counted` among more players than a sample has, a small one is enough."""
    found = query.sql_query(one_by_one=True)
    is_small = counted > SAMPLE_SIZE or not is_cheap(found)
    size = SMALL_SAMPLE_SIZE if is_small else SAMPLE_SIZE
    part = f"SELECT * FROM player p WHERE {IN_ENVIRONMENT} AND id"
    # The id order wraps around, so a start near the end still fills the sample.
    sample = f"""(SELECT * FROM (
        (({part} >= %(start)s ORDER BY id LIMIT {size})
        UNION ALL ({part} < %(start)s ORDER BY id LIMIT {size}))) ring LIMIT {size}) p"""
    first = {"start": start or uuid.uuid4()}
    few = f"WITH few AS MATERIALIZED (SELECT * FROM {sample}){found.ctes}"
    if found.exact:
        sql = f"""{few}, matched AS (
                SELECT p.id, p.external_id FROM few p {found.joins} WHERE {found.where})
            SELECT (SELECT count(*) FROM few), count(*),
                (array_agg(id))[1:{SHOWN}], (array_agg(external_id))[1:{SHOWN}] FROM matched"""
        sampled, matched, ids, names = _fetch(query, found, sql, first)[0]
        examples = [SampleMember(*each) for each in zip(ids or (), names or (), strict=True)]
    else:
        matched = f"SELECT {columns_of(found)} FROM few p {found.joins} WHERE {found.where}"
        sql = f"""{few} SELECT sample.size, matched.* FROM (SELECT count(*) AS size FROM few) sample
            LEFT JOIN ({matched}) matched ON true"""
        rows = _fetch(query, found, sql, first)
        may_match = [row[1:] for row in rows if row[1] is not None]
        players = list(matching(query, found, may_match))
        sampled, matched = rows[0][0], len(players)
        examples = [SampleMember(player.id, player.external_id) for player in players[:SHOWN]]
    return Estimate(sampled, matched, sampled < size, examples)


# --- Statements ---------------------------------------------------------------------------------

IN_ENVIRONMENT = "p.environment_id = %(environment)s"


def _fetch(
    query: RuleQuery, found: SqlQuery, sql: str, more: dict[str, Any] | None = None
) -> list[Row]:
    params = {**found.params, "environment": query.snapshot.environment_id, **(more or {})}
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[Row] = cursor.fetchall()
        return rows


def is_cheap(found: SqlQuery) -> bool:
    """Whether the SQL decides alone, without events."""
    return found.exact and not found.counts


def columns_of(found: SqlQuery) -> str:
    return ", ".join((COLUMNS, *found.lists.values(), *found.counts.values()))


def matching(query: RuleQuery, found: SqlQuery, rows: list[Row]) -> Iterator[PlayerRow]:
    """The players whose rows (of columns_of) match in Python."""
    width = len(PlayerRow._fields)
    for row in rows:
        player, rest = player_of(row[:width]), row[width:]
        lists = {
            segment_id: excluded
            for segment_id, excluded in zip(found.lists, rest, strict=False)
            if excluded is not None
        }
        counts = dict(zip(found.counts, rest[len(found.lists) :], strict=True))
        if query.matches(subject_of(player, query.snapshot, query.now, None, lists, counts)):
            yield player


def _walk(query: RuleQuery, after: uuid.UUID) -> Iterator[tuple[list[PlayerRow], uuid.UUID | None]]:
    """Members after an id, one chunk of players at a time. Each chunk comes with its last id, or
    None if it is the last chunk."""
    found = query.sql_query(one_by_one=True)
    size = CHUNK_SIZE if is_cheap(found) else SMALL_CHUNK_SIZE
    ids = f"""SELECT p.id FROM player p WHERE {IN_ENVIRONMENT} AND p.id > %(after)s
        ORDER BY p.id OFFSET {size - 1} LIMIT 1"""
    # A page needs no more, and where many match this ends after a few of the chunk's players.
    columns, limit = (COLUMNS, f"LIMIT {PAGE_SIZE + 1}") if found.exact else (columns_of(found), "")
    sql = f"""WITH few AS (SELECT * FROM player p WHERE {IN_ENVIRONMENT}
            AND p.id > %(after)s AND (%(last)s::uuid IS NULL OR p.id <= %(last)s::uuid)){found.ctes}
        SELECT {columns} FROM few p {found.joins} WHERE {found.where} ORDER BY p.id {limit}"""
    last: uuid.UUID | None = after
    while last is not None:
        after = last
        ends = _fetch(query, found, ids, {"after": after})
        last = ends[0][0] if ends else None
        rows = _fetch(query, found, sql, {"after": after, "last": last})
        yield list(map(player_of, rows) if found.exact else matching(query, found, rows)), last

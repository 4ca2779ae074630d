"""How many players a rule takes in, and who they are: exact counts, estimates, pages of members.

Player ids are uniformly distributed, so the players that follow a random id are a fair sample.
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

SAMPLE_SIZE = 10_000
# A player whose events must be counted, or whose row must be read here, costs more.
SMALL_SAMPLE_SIZE = 2_500
SHOWN = 10
PAGE_SIZE = 50
CHUNK_SIZE = 5_000
SEARCH_SECONDS = 1.0
LOWEST_ID = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class RuleQuery:
    """A rule, ready to be asked for in SQL and, where SQL cannot tell, in Python. With a
    `segment_id` the lists of that segment count, too."""

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
    """`exact` when the sample holds everybody. `share` and `margin` are percentages, the margin
    for 95 % confidence."""

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
        # Never quite 0: a sample without a match does not prove that there is none.
        return 100 * max(1.96 * sqrt(part * (1 - part) / self.sampled), 3 / self.sampled)


@dataclass(frozen=True, slots=True)
class Members:
    """A page of members in the order of their ids. `after` continues it and is None at the end;
    the page may be short when few match, since no page looks longer than SEARCH_SECONDS."""

    players: list[PlayerRow]
    after: uuid.UUID | None


def rule_query(
    environment: Environment, rule: Node | None, now: datetime, segment: Segment | None = None
) -> RuleQuery:
    """Prepare a question about an environment; without a rule only the lists count."""
    snapshot = at_version(environment)
    compiled = segments_part.of(snapshot)
    if segment is not None and compiled[segment.key].rule is None and rule == segment.spec:
        rule = None  # as stored it leads back to itself, so for requests nobody matches it
    matches = no_player if rule is None else compile_rule(rule, matchers_of(compiled))
    query_context = QueryContext(
        environment_id=environment.pk,
        now=now,
        builtin_fields=builtin_fields_sql(NOW, thresholds_of(snapshot), churn_part.of(snapshot)),
        segments={key: KnownSegment(item.id, item.rule) for key, item in compiled.items()},
    )
    if segment is None:
        return RuleQuery(snapshot, now, rule, None, query_context, matches)
    return RuleQuery(
        snapshot, now, rule, segment.pk, query_context, with_lists(segment.pk, matches)
    )


@transaction.atomic
def count(asked: RuleQuery) -> int:
    """How many players match, exactly."""
    found = asked.sql_query(one_by_one=False)
    what = "count(*)" if found.exact else _columns(found)
    sql = f"SELECT {what} FROM player p {found.joins} WHERE {EVERYBODY} AND {found.where}"
    with connection.cursor() as cursor:
        # It takes longer to compile than it saves, in each process that takes part.
        cursor.execute("SET LOCAL jit = off")
    if found.exact:
        return int(_fetch(asked, found, sql)[0][0])
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql, {**found.params, "environment": asked.snapshot.environment_id})
        chunks = iter(partial(cursor.fetchmany, CHUNK_SIZE), [])
        return sum(1 for rows in chunks for _ in _matching(asked, found, rows))


def total(environment: Environment) -> int:
    """How many players there are in all."""
    sql = "SELECT count(*) FROM player p WHERE p.environment_id = %s"
    with connection.cursor() as cursor:
        cursor.execute(sql, [environment.pk])
        return int(cursor.fetchone()[0])


def members(asked: RuleQuery, after: uuid.UUID = LOWEST_ID) -> Members:
    until = monotonic() + SEARCH_SECONDS
    found: list[PlayerRow] = []
    for players, last in _walk(asked, after):
        found += players
        if len(found) > PAGE_SIZE:
            return Members(found[:PAGE_SIZE], found[PAGE_SIZE - 1].id)
        if last is not None and monotonic() > until:
            return Members(found, last)
    return Members(found, None)


def estimate(asked: RuleQuery) -> Estimate:
    """The share of players who match, and some of them, from a sample."""
    found = asked.sql_query(one_by_one=True)
    size = SAMPLE_SIZE if found.exact and not found.counts else SMALL_SAMPLE_SIZE
    part = f"SELECT * FROM player p WHERE {EVERYBODY} AND id"
    # The order of ids wraps around, so that a start near the end still finds enough.
    sample = f"""(SELECT * FROM (
        (({part} >= %(start)s ORDER BY id LIMIT {size})
        UNION ALL ({part} < %(start)s ORDER BY id LIMIT {size}))) ring LIMIT {size}) p"""
    start = {"start": uuid.uuid4()}
    if found.exact:
        sql = f"""WITH sampled AS MATERIALIZED (SELECT * FROM {sample}),
            matched AS (SELECT p.id, p.external_id FROM sampled p {found.joins}
                WHERE {found.where})
            SELECT (SELECT count(*) FROM sampled), count(*),
                (array_agg(id))[1:{SHOWN}], (array_agg(external_id))[1:{SHOWN}] FROM matched"""
        sampled, matched, ids, names = _fetch(asked, found, sql, start)[0]
        examples = [SampleMember(*each) for each in zip(ids or (), names or (), strict=True)]
    else:
        rows = _fetch(asked, found, f"SELECT {_columns(found)} FROM {sample} {found.joins}", start)
        players = list(_matching(asked, found, rows))
        sampled, matched = len(rows), len(players)
        examples = [SampleMember(player.id, player.external_id) for player in players[:SHOWN]]
    return Estimate(sampled, matched, sampled < size, examples)


# --- Statements ---------------------------------------------------------------------------------

EVERYBODY = "p.environment_id = %(environment)s"


def _fetch(
    asked: RuleQuery, found: SqlQuery, sql: str, more: dict[str, Any] | None = None
) -> list[Row]:
    params = {**found.params, "environment": asked.snapshot.environment_id, **(more or {})}
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[Row] = cursor.fetchall()
        return rows


def _columns(found: SqlQuery) -> str:
    return ", ".join((COLUMNS, *found.lists.values(), *found.counts.values()))


def _matching(asked: RuleQuery, found: SqlQuery, rows: list[Row]) -> Iterator[PlayerRow]:
    """The players among rows of _columns for whom the rule holds in Python."""
    width = len(PlayerRow._fields)
    for row in rows:
        player, rest = player_of(row[:width]), row[width:]
        lists = {
            segment_id: excluded
            for segment_id, excluded in zip(found.lists, rest, strict=False)
            if excluded is not None
        }
        counts = dict(zip(found.counts, rest[len(found.lists) :], strict=True))
        if asked.matches(subject_of(player, asked.snapshot, asked.now, None, lists, counts)):
            yield player


def _walk(asked: RuleQuery, after: uuid.UUID) -> Iterator[tuple[list[PlayerRow], uuid.UUID | None]]:
    """The members after an id, by chunks of players; with each the id that ends it, if more
    follow."""
    found = asked.sql_query(one_by_one=True)
    ids = f"""SELECT p.id FROM player p WHERE {EVERYBODY} AND p.id > %(after)s
        ORDER BY p.id OFFSET {CHUNK_SIZE - 1} LIMIT 1"""
    sql = f"""SELECT {_columns(found)} FROM player p {found.joins} WHERE {EVERYBODY}
        AND p.id > %(after)s AND (%(last)s::uuid IS NULL OR p.id <= %(last)s::uuid)
        AND {found.where} ORDER BY p.id"""
    last: uuid.UUID | None = after
    while last is not None:
        after = last
        ends = _fetch(asked, found, ids, {"after": after})
        last = ends[0][0] if ends else None
        rows = _fetch(asked, found, sql, {"after": after, "last": last})
        width = len(PlayerRow._fields)
        players = (
            [player_of(row[:width]) for row in rows]
            if found.exact
            else list(_matching(asked, found, rows))
        )
        yield players, last

"""Compiles rules to SQL that gives the same results as compiler.py, for many players at once.

An expression tests a row `p` of `player` and is never NULL. One operator has no SQL: patterns use
RE2, whose syntax PostgreSQL does not share. For those the SQL is an upper bound and `exact` is
false: the caller reads the rows and evaluates them in Python. Imports no Django.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from segments.language.operators import OPERATORS
from segments.language.parser import (
    FIELDS,
    Condition,
    EventCondition,
    EventCount,
    Group,
    InSegment,
    Node,
    attribute_path,
)
from segments.language.sql_operators import COLUMN, JSON, SqlOptions
from segments.language.values import boundary

NOW = "%(now)s::timestamptz"
# No event is received this long after "now". Partitions are made a week ahead.
LATEST = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class KnownSegment:
    """A segment that rules may refer to. `rule` is None if it cannot be parsed."""

    id: int
    rule: Node | None


@dataclass(frozen=True, slots=True)
class QueryContext:
    """What rules are evaluated against. `builtin_fields` maps names to SQL expressions over NOW,
    which is bound to `now`; `segments` is by key."""

    environment_id: int
    now: datetime
    builtin_fields: Mapping[str, str]
    segments: Mapping[str, KnownSegment]


@dataclass(frozen=True, slots=True)
class SqlQuery:
    """`FROM player p {joins} WHERE {where}`; with `one_by_one`, `WITH few AS (…){ctes} SELECT …
    FROM few p {joins} WHERE {where}`, where `few` selects players. `lists` and `counts` are the
    expressions of a subject's list entries, by segment id, and of its event counts. Players whose
    result depends on no events may have a count of 0."""

    ctes: str
    joins: str
    where: str
    params: dict[str, Any]
    exact: bool
    lists: Mapping[int, str]
    counts: Mapping[EventCount, str]


def sql_query(
    rule: Node | None,
    query_context: QueryContext,
    *,
    segment_id: int | None = None,
    one_by_one: bool = False,
) -> SqlQuery:
    """Select the players who match the rule. With `segment_id`, that segment's lists decide first.
    `one_by_one` suits queries over few players: their lists are looked up per player, and events
    are counted only for players that the rest of the rule leaves undecided."""
    writer = _Writer(query_context, one_by_one, params={"now": query_context.now})
    where = writer.rule(rule, segment_id)
    return SqlQuery(
        ctes=_undecided(writer, lambda without: [without.rule(rule, segment_id)]),
        joins="\n".join(writer.joins),
        where=where,
        params=writer.params,
        exact=writer.exact,
        lists=writer.lists,
        counts=writer.counts,
    )


@dataclass(frozen=True, slots=True)
class ColumnsQuery:
    """As SqlQuery with `one_by_one`: `columns` are the results of the rules, in their order."""

    ctes: str
    joins: str
    columns: list[str]
    params: dict[str, Any]
    exact: bool


def columns_sql(rules: Sequence[Node], query_context: QueryContext) -> ColumnsQuery:
    """Several rules for the same players, in one query."""
    writer = _Writer(query_context, True, params={"now": query_context.now})
    columns = [writer.node(rule, True) for rule in rules]
    return ColumnsQuery(
        ctes=_undecided(writer, lambda without: [without.node(rule, True) for rule in rules]),
        joins="\n".join(writer.joins),
        columns=columns,
        params=writer.params,
        exact=writer.exact,
    )


def _undecided(writer: "_Writer", write: Callable[["_Writer"], list[str]]) -> str:
    """The players whose events must be counted, for queries over few players."""
    if not (writer.one_by_one and writer.counts):
        return ""
    without = _Writer(writer.query_context, True, writer.params, without_counts=True)
    unknown = " OR ".join(f"({rule}) IS NULL" for rule in write(without))
    return f""", undecided AS MATERIALIZED (
            SELECT array_agg(p.id) AS ids FROM few p {" ".join(without.joins)} WHERE {unknown})"""


@dataclass(frozen=True, slots=True)
class Window:
    """The times of an event count, as SQL. `since` is the start of the time span before `now`, or a
    little earlier; it and `until` are parameters, so that partitions outside are skipped."""

    now: str
    since: str
    until: str


def count_sql(
    event_count: EventCount, player: str, bind: Callable[[Any], str], window: Window
) -> str:
    """A subquery that counts a player's events, up to the event count's limit. The player's id is
    SQL."""
    return f"""(SELECT count(*) FROM (SELECT FROM event e WHERE e.player_id = {player}
        AND {_is_counted(event_count, bind, window)} LIMIT {event_count.limit}) counted)"""


def counts_sql(
    event_count: EventCount, bind: Callable[[Any], str], now: str, since: datetime, scope: str
) -> str:
    """A subquery with `player_id` and the number of events, as `times`, of the players with any.
    `scope` is SQL over the event `e`; the times are as in Window."""
    window = Window(now, bind(since), bind(since + event_count.span + LATEST))
    return f"""(SELECT e.player_id, count(*) AS times FROM event e WHERE {scope}
        AND {_is_counted(event_count, bind, window)} GROUP BY e.player_id)"""


def _is_counted(event_count: EventCount, bind: Callable[[Any], str], window: Window) -> str:
    """Whether the event `e` counts for its player."""
    seconds = int(event_count.span.total_seconds())
    return f"""e.name = {bind(event_count.event)}
        AND e.received_at > {window.since}::timestamptz
        AND e.received_at < {window.until}::timestamptz
        AND e.received_at > {window.now} - interval '{seconds} seconds'
        AND {where_sql(event_count.where, bind, window.now)}"""


@dataclass(slots=True)
class _Writer:
    """Builds one query. `may` requests an upper bound; a negation flips it to a lower one.

    `without_counts` writes event counts and patterns as NULL: the rule is NULL for the players
    whose result depends on them."""

    query_context: QueryContext
    one_by_one: bool
    params: dict[str, Any]
    without_counts: bool = False
    exact: bool = True
    joins: list[str] = field(default_factory=list)
    lists: dict[int, str] = field(default_factory=dict)
    counts: dict[EventCount, str] = field(default_factory=dict)
    memberships: dict[tuple[str, bool], str] = field(default_factory=dict)

    def bind(self, value: Any) -> str:
        name = f"p{len(self.params)}"
        self.params[name] = value
        return f"%({name})s"

    def rule(self, rule: Node | None, segment_id: int | None) -> str:
        where = "false" if rule is None else self.node(rule, True)
        return where if segment_id is None else self.listed(segment_id, where)

    def node(self, rule: Node, may: bool) -> str:
        match rule:
            case Condition():
                if OPERATORS[rule.operator].takes == "pattern":
                    self.exact = False
                    if self.without_counts:
                        return "NULL::boolean"
                return condition_sql(rule, self.bind, NOW, self.query_context.builtin_fields, may)
            case InSegment(keys, negative):
                found = [self.membership(key, may is not negative) for key in keys]
                return _negated(f"({' OR '.join(found)})", negative)
            case EventCondition(event_count, at_most, times):
                count = self.count(event_count)
                return f"({count} <= {times})" if at_most else f"({count} >= {times})"
        return _group(rule, lambda part: self.node(part, may is not (rule.operator == "NOT")))

    def membership(self, key: str, may: bool) -> str:
        """A column that holds whether the player is in the segment. OFFSET 0 stops PostgreSQL from
        inlining the expression wherever the column is used."""
        if (key, may) not in self.memberships:
            # Ends the recursion on a cycle, which services do not store: no player is in it.
            self.memberships[key, may] = "false"
            known = self.query_context.segments.get(key)
            if known is not None:
                inside = "false" if known.rule is None else self.node(known.rule, may)
                inside = self.listed(known.id, inside)
                name = f"s{len(self.joins)}"
                self.joins.append(f"CROSS JOIN LATERAL (SELECT {inside} AS inside OFFSET 0) {name}")
                self.memberships[key, may] = f"{name}.inside"
        return self.memberships[key, may]

    def listed(self, segment_id: int, inside: str) -> str:
        """Exclude list, else include list, else the rule."""
        if segment_id not in self.lists:
            name = f"l{len(self.joins)}"
            if self.one_by_one:
                join = f"""LEFT JOIN LATERAL (
                    SELECT bool_or(m.excluded) AS excluded FROM segment_member m
                    WHERE m.player_id = p.id AND m.segment_id = {segment_id:d}) {name} ON true"""
            else:
                join = f"""LEFT JOIN (
                    SELECT m.player_id, bool_or(m.excluded) AS excluded FROM segment_member m
                    WHERE m.segment_id = {segment_id:d} GROUP BY m.player_id
                    ) {name} ON {name}.player_id = p.id"""
            self.joins.append(join)
            self.lists[segment_id] = f"{name}.excluded"
        return f"coalesce(NOT {self.lists[segment_id]}, {inside})"

    def count(self, event_count: EventCount) -> str:
        if self.without_counts:
            return "NULL::bigint"
        if event_count not in self.counts:
            name = f"b{len(self.joins)}"
            since = self.query_context.now - event_count.span
            scope = f"e.environment_id = {self.query_context.environment_id:d}"
            if self.one_by_one:
                scope += " AND e.player_id = ANY((SELECT ids FROM undecided)::uuid[])"
            counted = counts_sql(event_count, self.bind, NOW, since, scope)
            self.joins.append(f"LEFT JOIN {counted} {name} ON {name}.player_id = p.id")
            self.counts[event_count] = f"coalesce({name}.times, 0)"
        return self.counts[event_count]


def where_sql(where: Group | None, bind: Callable[[Any], str], now: str) -> str:
    """A rule over the properties of an event, as SQL over the event `e`. `now` is SQL."""

    def write(rule: Node) -> str:
        if isinstance(rule, Group):
            return _group(rule, write)
        assert isinstance(rule, Condition), "event properties allow no other conditions"
        return condition_sql(rule, bind, now, {}, True, root="e.properties")

    return "true" if where is None else write(where)


def condition_sql(
    condition: Condition,
    bind: Callable[[Any], str],
    now: str,
    builtin_fields: Mapping[str, str],
    may: bool,
    root: str = "p.attributes",
) -> str:
    operator = OPERATORS[condition.operator]
    negative = bool(operator.opposite)
    name = operator.opposite or condition.operator
    moment = boundary(condition.value) if operator.takes == "moment" else None
    options = SqlOptions(bind, now, may is not negative, moment)
    if condition.field in FIELDS and root == "p.attributes":
        positive = COLUMN[name](builtin_fields[condition.field], condition.value, options)
    else:
        path = "".join(f" -> {bind(part)}::text" for part in attribute_path(condition.field))
        positive = JSON[name](f"({root}{path})", condition.value, options)
    return _negated(f"(({positive}) IS TRUE)", negative)


def _group(rule: Group, write: Callable[[Node], str]) -> str:
    joined = (" AND " if rule.operator == "AND" else " OR ").join(map(write, rule.conditions))
    return _negated(f"({joined})", rule.operator == "NOT")


def _negated(sql: str, negative: bool) -> str:
    return f"(NOT {sql})" if negative else sql

"""The players of ranges of ids, ready for the evaluation of some flags.

The database decides which rules match a player: that takes a fraction of the time of reading the
player and deciding in Python. Patterns have no SQL, so flags with a pattern are decided in Python.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from operator import itemgetter
from typing import Any, cast

import msgspec
from django.db import connection

from flags.engine.cohorts import Overrides, PlayerFacts, deciding_rules
from flags.engine.document import Rule
from flags.engine.evaluation import (
    CompiledFlag,
    CompiledRule,
    condition_of,
    event_counts_needed,
)
from flags.engine.moments import needed, reachable
from flags.models import FlagOverride
from ilara_admin.api.environment_cache import Snapshot
from ilara_admin.core import db
from segments.language.compiler import Matcher
from segments.language.parser import EventCount
from segments.language.sql import columns_sql
from segments.sizes import query_context_of
from segments.subject import subject_in, subjects_sql

CHUNK_SIZE = 2_500

type Ranges = Iterable[tuple[uuid.UUID, uuid.UUID]]  # (after, to)
type Chunk = list[PlayerFacts]


def players_for(
    snapshot: Snapshot, flags: Sequence[CompiledFlag], now: datetime, ranges: Ranges
) -> tuple[Iterator[Chunk], Sequence[CompiledFlag]]:
    """The players in the order of the ranges, and the flags with conditions that read
    PlayerFacts.matches. Conditions are decided as of `now`, overrides in force then are read."""
    reached = reachable(flags)
    rules = {
        _key(compiled.rule): compiled
        for flag in reached.values()
        for compiled in deciding_rules(flag)
        if compiled.matches
    }
    places = {key: place for place, key in enumerate(rules)}
    ids = sorted({flag.id for flag in reached.values() if flag.is_on and flag.id})
    conditions = [node for each in rules.values() if (node := condition_of(each.rule))]
    context = query_context_of(snapshot, now)
    columns = columns_sql(conditions, context)
    if columns.exact:
        fields = context.builtin_fields
        # The text of an id is what the evaluation needs, and is read in less time than the id.
        selected = ["p.id::text", "p.external_id", fields["lifecycle_stage"], fields["is_payer"]]
        sql = f"""WITH few AS MATERIALIZED (
                SELECT * FROM player WHERE environment_id = {snapshot.environment_id:d}
                    AND id > %(after)s AND id <= %(end)s ORDER BY id LIMIT {CHUNK_SIZE})
                {columns.ctes}
            SELECT {", ".join(selected + columns.columns)} FROM few p {columns.joins}
            ORDER BY p.id"""
        found = _decided(sql, columns.params, ids, now, ranges)
    else:
        matchers = [cast(Matcher, each.matches) for each in rules.values()]
        found = _subjects(snapshot, flags, matchers, ids, now, ranges)
    by_column = _reading_columns(reached, places)
    return found, [by_column[id(flag)] for flag in flags]


def _overrides(
    flag_ids: list[int], now: datetime, after: uuid.UUID, to: uuid.UUID
) -> Mapping[str, Overrides]:
    """The overrides of these flags by player, of the ids after `after` up to `to`."""
    found: dict[str, Overrides] = {}
    if flag_ids:
        rows = FlagOverride.objects.unexpired(now).filter(
            flag__in=flag_ids, player_id__gt=after, player_id__lte=to
        )
        columns = "player_id", "flag_id", "variant", "expires_at"
        for player_id, *override in rows.order_by("flag_id").values_list(*columns):
            key = str(player_id)
            found[key] = (*found.get(key, ()), tuple(override))
    return found


# --- Decided by the database ----------------------------------------------------------------------


def _key(rule: Rule) -> bytes:
    """Equal for rules that match the same players."""
    return msgspec.json.encode((rule.segment, rule.conditions))


def _reading_columns(
    flags: dict[int, CompiledFlag], places: dict[bytes, int]
) -> dict[int, CompiledFlag]:
    """The flags with rules that take PlayerFacts.matches as the subject."""
    others: dict[int, dict[str, CompiledFlag]] = {key: {} for key in flags}
    found = {
        key: replace(flag, rules=_column_rules(flag, places), others=others[key])
        for key, flag in flags.items()
    }
    for key, flag in flags.items():
        others[key] |= {name: found[id(other)] for name, other in needed(flag).items()}
    return found


def _column_rules(flag: CompiledFlag, places: dict[bytes, int]) -> tuple[CompiledRule, ...]:
    return tuple(
        replace(each, matches=cast(Matcher, itemgetter(places[_key(each.rule)])))
        if each.matches
        else each
        for each in deciding_rules(flag)
    )


def _decided(
    sql: str, params: dict[str, Any], flag_ids: list[int], now: datetime, ranges: Ranges
) -> Iterator[Chunk]:
    for after, end in ranges:
        last = after
        while True:
            with connection.cursor() as cursor:
                cursor.execute(sql, {**params, "after": last, "end": end})
                rows = cursor.fetchall()
            if rows:
                first, last = last, uuid.UUID(rows[-1][0])
                overrides = _overrides(flag_ids, now, first, last)
                yield [
                    PlayerFacts._make((*row[:4], row[4:], overrides.get(row[0], ())))
                    for row in rows
                ]
            if len(rows) < CHUNK_SIZE:
                break


# --- Decided in Python ----------------------------------------------------------------------------


def _subjects(
    snapshot: Snapshot,
    flags: Sequence[CompiledFlag],
    matchers: Sequence[Matcher],
    flag_ids: list[int],
    now: datetime,
    ranges: Ranges,
) -> Iterator[Chunk]:
    event_counts = list(event_counts_needed(flags))
    params: list[Any] = [snapshot.environment_id, None, None, now]
    few = f"""SELECT * FROM player WHERE environment_id = $1 AND id > $2::uuid AND id <= $3::uuid
        ORDER BY id LIMIT {CHUNK_SIZE}"""
    sql = subjects_sql(few, snapshot.environment_id, event_counts, params, "$4::timestamptz")
    for after, end in ranges:
        last = after
        while True:
            params[1:3] = [last, end]
            rows = db.fetch_all(sql, params)
            if rows:
                first, last = last, rows[-1][0]
                overrides = _overrides(flag_ids, now, first, last)
                yield [
                    _facts(row, event_counts, snapshot, now, matchers, overrides) for row in rows
                ]
            if len(rows) < CHUNK_SIZE:
                break


def _facts(
    row: db.Row,
    event_counts: Sequence[EventCount],
    snapshot: Snapshot,
    now: datetime,
    matchers: Sequence[Matcher],
    overrides: Mapping[str, Overrides],
) -> PlayerFacts:
    player, subject, _ = subject_in(row, event_counts, snapshot, now)
    fields, player_id = subject.builtin_fields, str(player.id)
    return PlayerFacts(
        player_id,
        player.external_id,
        fields["lifecycle_stage"],
        fields["is_payer"],
        tuple(matches(subject) for matches in matchers),
        overrides.get(player_id, ()),
    )

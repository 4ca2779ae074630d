"""The players of ranges of ids, ready for the evaluation of some flags.

The database decides which rules match a player: that takes a fraction of the time of reading the
player and deciding in Python. Patterns have no SQL, so flags with a pattern are decided in Python.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple, cast

import msgspec
from django.db import connection

from flags.engine.document import Rule
from flags.engine.evaluation import (
    CompiledFlag,
    CompiledRule,
    EvaluationContext,
    condition_of,
    event_counts_needed,
)
from flags.models import overrides_sql
from ilara_admin.api.environment_cache import Snapshot
from ilara_admin.core import db
from segments.language.compiler import Matcher
from segments.language.sql import NOW, columns_sql
from segments.sizes import query_context_of
from segments.subject import subject_in, subjects_sql

CHUNK_SIZE = 2_500

type Ranges = Iterable[tuple[uuid.UUID, uuid.UUID]]  # (after, to)


class EvaluatedPlayer(NamedTuple):
    id: uuid.UUID
    external_id: str
    stage: str
    is_payer: bool
    context: EvaluationContext


def players_for(
    snapshot: Snapshot, flags: Sequence[CompiledFlag], now: datetime, ranges: Ranges
) -> tuple[Iterator[EvaluatedPlayer], Sequence[CompiledFlag]]:
    """The players in the order of the ranges, and the flags to evaluate with their contexts."""
    reached = _reachable(flags)
    rules = {
        _key(compiled.rule): condition
        for flag in reached.values()
        for compiled in flag.rules
        if flag.is_on and (condition := condition_of(compiled.rule))
    }
    context = query_context_of(snapshot, now)
    columns = columns_sql(list(rules.values()), context)
    if not columns.exact:
        return _subjects(snapshot, flags, now, ranges), flags
    fields = context.builtin_fields
    selected = [
        *columns.columns,
        "p.id",
        "p.external_id",
        fields["lifecycle_stage"],
        fields["is_payer"],
        overrides_sql("p.id", NOW),
    ]
    sql = f"""WITH few AS MATERIALIZED (
            SELECT * FROM player WHERE environment_id = {snapshot.environment_id:d}
                AND id > %(after)s AND id <= %(end)s ORDER BY id LIMIT {CHUNK_SIZE}){columns.ctes}
        SELECT {", ".join(selected)} FROM few p {columns.joins} ORDER BY p.id"""
    by_column = _reading_columns(reached, {key: place for place, key in enumerate(rules)})
    players = _decided(sql, columns.params, now, ranges)
    return players, [by_column[id(flag)] for flag in flags]


def _reachable(flags: Iterable[CompiledFlag]) -> dict[int, CompiledFlag]:
    """The flags and, also indirectly, their prerequisites, by id(): a flag may exist in several
    versions."""
    found: dict[int, CompiledFlag] = {}
    pending = list(flags)
    while pending:
        flag = pending.pop()
        if id(flag) not in found:
            found[id(flag)] = flag
            pending += _needed(flag).values()
    return found


def _needed(flag: CompiledFlag) -> dict[str, CompiledFlag]:
    keys = (item.flag for item in flag.document.prerequisites)
    return {key: flag.others[key] for key in keys if key in flag.others}


# --- Decided by the database ----------------------------------------------------------------------


def _key(rule: Rule) -> bytes:
    """Equal for rules that match the same players."""
    return msgspec.json.encode((rule.segment, rule.conditions))


def _reading_columns(
    flags: dict[int, CompiledFlag], places: dict[bytes, int]
) -> dict[int, CompiledFlag]:
    """The flags with rules that take a row as the subject and read its columns."""
    others: dict[int, dict[str, CompiledFlag]] = {key: {} for key in flags}
    found = {
        key: replace(flag, rules=_column_rules(flag, places), others=others[key])
        for key, flag in flags.items()
    }
    for key, flag in flags.items():
        others[key] |= {name: found[id(other)] for name, other in _needed(flag).items()}
    return found


def _column_rules(flag: CompiledFlag, places: dict[bytes, int]) -> tuple[CompiledRule, ...]:
    if not flag.is_on:
        return ()
    return tuple(
        replace(each, matches=cast(Matcher, itemgetter(places[_key(each.rule)])))
        if each.matches
        else each
        for each in flag.rules
    )


def _decided(
    sql: str, params: dict[str, Any], now: datetime, ranges: Ranges
) -> Iterator[EvaluatedPlayer]:
    for after, end in ranges:
        while True:
            with connection.cursor() as cursor:
                cursor.execute(sql, {**params, "after": after, "end": end})
                rows = cursor.fetchall()
            for row in rows:
                *_, player_id, external_id, stage, is_payer, overrides = row
                context = EvaluationContext(str(player_id), row, _variants(overrides), now)
                yield EvaluatedPlayer(player_id, external_id, stage, is_payer, context)
            if len(rows) < CHUNK_SIZE:
                break
            after = player_id


def _variants(overrides: str | None) -> dict[int, str]:
    return msgspec.json.decode(overrides, type=dict[int, str]) if overrides else {}


# --- Decided in Python ----------------------------------------------------------------------------


def _subjects(
    snapshot: Snapshot, flags: Sequence[CompiledFlag], now: datetime, ranges: Ranges
) -> Iterator[EvaluatedPlayer]:
    event_counts = list(event_counts_needed(flags))
    params: list[Any] = [snapshot.environment_id, None, None, now]
    at = "$4::timestamptz"
    few = f"""SELECT * FROM player WHERE environment_id = $1 AND id > $2::uuid AND id <= $3::uuid
        ORDER BY id LIMIT {CHUNK_SIZE}"""
    sql = subjects_sql(
        few, snapshot.environment_id, event_counts, params, at, [overrides_sql("p.id", at)]
    )
    for after, end in ranges:
        while True:
            params[1:3] = [after, end]
            rows = db.fetch_all(sql, params)
            for row in rows:
                player, subject, (overrides,) = subject_in(row, event_counts, snapshot, now)
                context = EvaluationContext(str(player.id), subject, _variants(overrides), now)
                fields = subject.builtin_fields
                stage, is_payer = fields["lifecycle_stage"], fields["is_payer"]
                yield EvaluatedPlayer(player.id, player.external_id, stage, is_payer, context)
            if len(rows) < CHUNK_SIZE:
                break
            after = rows[-1][0]

"""The flags' part of an environment's snapshot."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from msgspec.json import encode

from flags import schemas
from flags.engine.arms import MeasuredRule, RunningExperiment, measured_of
from flags.engine.document import FlagDocument, check_document, decode_document
from flags.engine.evaluation import (
    CompiledFlag,
    Decision,
    EvaluationContext,
    compile_flag,
    event_counts_needed,
    is_overridden,
)
from flags.ofrep import responses
from ilara_admin.api.environment_cache import Parts, Snapshot, register_part
from ilara_admin.core.path_error import PathError
from segments.cache import matchers_of, rules_of, segments_part
from segments.language.parser import EventCount

logger = logging.getLogger("ilara.flags")

SQL = """
    SELECT jsonb_agg(jsonb_build_object(
               'id', f.id, 'key', f.key, 'salt', f.salt, 'revision', f.revision,
               'document', f.document, 'archived', f.archived_at IS NOT NULL,
               'experiments', (
                   SELECT jsonb_agg(jsonb_build_object(
                       'id', x.id, 'key', x.key, 'rule', x.rule_id, 'control', x.control,
                       'phase', x.phase, 'phase_at', x.phase_at))
                   FROM experiment x WHERE x.flag_id = f.id AND x.state = 'running')
           ) ORDER BY f.key)
    FROM flag f WHERE f.environment_id = e.id"""


class FlagRow(msgspec.Struct):
    id: int
    key: str
    salt: str
    revision: int
    document: Any
    archived: bool
    experiments: list[RunningExperiment] | None = None


class PrecomputedReply(NamedTuple):
    """The evaluation of one flag as JSON, for each API."""

    v1: bytes  # with the key, as a member of an object
    ofrep: bytes


class Encoded(NamedTuple):
    """The evaluation of one decision as JSON. For /v1: alone, and with the key as a member of an
    object. For OFREP: without the player's bucket, which `with_bucket` adds where it belongs."""

    value: bytes
    member: bytes
    ofrep: bytes
    by_bucket: bool


type Constants = tuple[tuple[CompiledFlag, PrecomputedReply], ...]


@dataclass(frozen=True, slots=True, eq=False)
class FlagSet:
    """All flags by key. Flags in use are `constant`, with encoded replies, or `varying`.

    `joined_constants` joins the replies of the constant flags. `decided` maps the id() of a
    decision made at compile time to its encoded replies. `event_counts` are the counts that the
    flags in use need. `measured` maps the id of a flag to what running experiments measure of it;
    flags without one are left out.
    """

    by_key: Mapping[str, CompiledFlag]
    in_use: tuple[CompiledFlag, ...]
    varying: tuple[CompiledFlag, ...]
    constant: Constants
    joined_constants: list[PrecomputedReply]
    decided: Mapping[int, Encoded]
    event_counts: frozenset[EventCount]
    measured: Mapping[int, tuple[MeasuredRule, ...]]


def compile_flags(rows: list[FlagRow], parts: Parts) -> FlagSet:
    compiled_segments = segments_part.among(parts)
    segments, rules = matchers_of(compiled_segments), rules_of(compiled_segments)
    compiled: dict[str, CompiledFlag] = {}

    def compile_row(row: FlagRow, data: Any) -> CompiledFlag:
        document = decode_document(data)
        check_document(document)
        return compile_flag(
            key=row.key,
            salt=row.salt,
            revision=row.revision,
            document=document,
            archived=row.archived,
            segments=segments,
            segment_rules=rules,
            others=compiled,
            id=row.id,
        )

    for row in rows:
        try:
            compiled[row.key] = _served(row, compile_row)
        except PathError as error:
            # One unreadable flag must not disable the others of its environment.
            logger.error("the flag %s cannot be read and is left out: %s", row.key, error)
    in_use = tuple(flag for flag in compiled.values() if not flag.archived)
    varying = tuple(flag for flag in in_use if flag.constant is None)
    decided = {
        id(decision): _encoded(flag, decision)
        for flag in compiled.values()
        for decision in _compiled_decisions(flag)
    }
    constant = tuple(
        (
            flag,
            PrecomputedReply(decided[id(flag.constant)].member, decided[id(flag.constant)].ofrep),
        )
        for flag in in_use
        if flag.constant is not None
    )
    return FlagSet(
        by_key=compiled,
        in_use=in_use,
        varying=varying,
        constant=constant,
        joined_constants=_joined_constants(constant),
        decided=decided,
        event_counts=event_counts_needed(in_use),
        measured=_measured(rows, compiled),
    )


def _measured(
    rows: list[FlagRow], compiled: Mapping[str, CompiledFlag]
) -> dict[int, tuple[MeasuredRule, ...]]:
    found = {
        row.id: measured_of(compiled[row.key], row.experiments)
        for row in rows
        if row.experiments and row.key in compiled
    }
    return {flag_id: measured for flag_id, measured in found.items() if measured}


def _served(row: FlagRow, compile_row: Callable[[FlagRow, Any], CompiledFlag]) -> CompiledFlag:
    """The flag. If it is off or archived, unreadable rules are dropped: it serves its off value.
    Raises DocumentError or RuleError."""
    data = row.document
    try:
        return compile_row(row, data)
    except PathError:
        if not isinstance(data, dict) or (data.get("enabled") is True and not row.archived):
            raise
        return compile_row(row, {**data, "rules": [], "prerequisites": []})


def _joined_constants(constant: Constants) -> list[PrecomputedReply]:
    if not constant:
        return []
    v1, ofrep = zip(*(ready for _, ready in constant), strict=True)
    return [PrecomputedReply(b",".join(v1), b",".join(ofrep))]


def split_precomputed(
    flags: FlagSet, context: EvaluationContext
) -> tuple[Sequence[CompiledFlag], list[PrecomputedReply]]:
    """The flags in use to evaluate for this player, and the precomputed replies of the others."""
    if not context.overrides:
        return flags.varying, flags.joined_constants
    own = [flag for flag, _ in flags.constant if is_overridden(flag, context)]
    ready = [ready for flag, ready in flags.constant if not is_overridden(flag, context)]
    return [*flags.varying, *own], ready


def _compiled_decisions(flag: CompiledFlag) -> Iterator[Decision]:
    if flag.constant is not None:
        yield flag.constant
        return
    yield flag.default
    for rule in flag.rules:
        yield from rule.decisions.values()


def _encoded(flag: CompiledFlag, decision: Decision) -> Encoded:
    value = encode(schemas.evaluation(flag, decision))
    return Encoded(
        value,
        encode(flag.key) + b":" + value,
        encode(responses.success(flag, decision)),
        responses.is_by_bucket(flag, decision),
    )


def compile_draft(
    snapshot: Snapshot, flag: CompiledFlag, document: FlagDocument, archived: bool = False
) -> CompiledFlag:
    """The flag compiled with this document. Raises RuleError if a rule cannot be read."""
    segments = segments_part.of(snapshot)
    return compile_flag(
        key=flag.key,
        salt=flag.salt,
        revision=flag.revision,
        document=document,
        archived=archived,
        segments=matchers_of(segments),
        segment_rules=rules_of(segments),
        others=flags_of(snapshot),
        id=flag.id,
    )


flags_part = register_part(SQL, FlagRow, compile_flags)


def flags_of(snapshot: Snapshot) -> Mapping[str, CompiledFlag]:
    return flags_part.of(snapshot).by_key

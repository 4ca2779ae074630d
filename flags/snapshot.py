"""The flags' part of an environment's snapshot."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from flags import ofrep_answers, schemas
from flags.document import DocumentError, FlagDocument, decode_document
from flags.evaluation import CompiledFlag, behaviours_needed, compile_flag
from ilara_admin.snapshot import Snapshot
from segments.rules import Behaviour, RuleError
from segments.snapshot import PART as SEGMENTS
from segments.snapshot import matchers_of, rules_of

logger = logging.getLogger("ilara.flags")

PART = "flags"
SQL = """
    SELECT jsonb_agg(jsonb_build_object(
               'id', f.id, 'key', f.key, 'salt', f.salt, 'revision', f.revision,
               'document', f.document, 'archived', f.archived_at IS NOT NULL) ORDER BY f.key)
    FROM flag f WHERE f.environment_id = e.id"""


class Entry(NamedTuple):
    """A flag in use. `name` is its key as JSON, with a colon. Where the flag is constant, `ready`
    and `ofrep` hold the answers of the two APIs as JSON."""

    flag: CompiledFlag
    name: bytes
    ready: bytes | None
    ofrep: bytes | None


@dataclass(frozen=True, slots=True, eq=False)
class FlagSet:
    """All flags by key, those in use in the order of their keys, and what all of them together ask
    about a player's events. `constants` are id and variant of those that give everybody the same.
    """

    by_key: Mapping[str, CompiledFlag]
    entries: tuple[Entry, ...]
    behaviours: frozenset[Behaviour]
    constants: tuple[tuple[int, str], ...]


def compile_flags(rows: Any, parts: Mapping[str, Any]) -> FlagSet:
    segments, rules = matchers_of(parts[SEGMENTS]), rules_of(parts[SEGMENTS])
    compiled: dict[str, CompiledFlag] = {}
    for row in rows:
        try:
            compiled[row["key"]] = compile_flag(
                key=row["key"],
                salt=row["salt"],
                revision=row["revision"],
                document=decode_document(row["document"]),
                archived=row["archived"],
                segments=segments,
                segment_rules=rules,
                others=compiled,
                id=row["id"],
            )
        except (DocumentError, RuleError) as error:
            # One flag that cannot be read must not take down everything else of its environment.
            logger.error("the flag %s cannot be read and is left out: %s", row["key"], error)
    in_use = [flag for flag in compiled.values() if not flag.archived]
    return FlagSet(
        by_key=compiled,
        entries=tuple(map(_entry, in_use)),
        behaviours=behaviours_needed(in_use),
        constants=tuple(
            (flag.id, flag.constant.variant.key) for flag in in_use if flag.constant is not None
        ),
    )


def compile_draft(
    snapshot: Snapshot, flag: CompiledFlag, document: FlagDocument, archived: bool = False
) -> CompiledFlag:
    """The flag as it would be with this document. Raises RuleError if a rule cannot be read."""
    segments = snapshot.parts[SEGMENTS]
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


def _entry(flag: CompiledFlag) -> Entry:
    ready = ofrep = None
    if flag.constant is not None:
        ready = msgspec.json.encode(schemas.evaluation(flag, flag.constant))
        ofrep = msgspec.json.encode(ofrep_answers.success(flag, flag.constant))
    return Entry(flag, msgspec.json.encode(flag.key) + b":", ready, ofrep)


def flag_set(snapshot: Snapshot) -> FlagSet:
    flags: FlagSet = snapshot.parts[PART]
    return flags


def flags_of(snapshot: Snapshot) -> Mapping[str, CompiledFlag]:
    return flag_set(snapshot).by_key

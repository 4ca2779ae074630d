"""The flags' part of an environment's snapshot."""

import logging
from collections.abc import Mapping
from typing import Any

from flags.document import DocumentError, decode_document
from flags.evaluation import CompiledFlag, compile_flag
from ilara_admin.snapshot import Snapshot
from segments.rules import RuleError
from segments.snapshot import PART as SEGMENTS

logger = logging.getLogger("ilara.flags")

PART = "flags"
SQL = """
    SELECT jsonb_agg(jsonb_build_object(
               'id', f.id, 'key', f.key, 'salt', f.salt, 'revision', f.revision,
               'document', f.document, 'archived', f.archived_at IS NOT NULL) ORDER BY f.key)
    FROM flag f WHERE f.environment_id = e.id"""


def compile_flags(rows: Any, parts: Mapping[str, Any]) -> dict[str, CompiledFlag]:
    segments = {key: segment.matches for key, segment in parts[SEGMENTS].items()}
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
                others=compiled,
                id=row["id"],
            )
        except (DocumentError, RuleError) as error:
            # One flag that cannot be read must not take down everything else of its environment.
            logger.error("the flag %s cannot be read and is left out: %s", row["key"], error)
    return compiled


def flags_of(snapshot: Snapshot) -> Mapping[str, CompiledFlag]:
    flags: Mapping[str, CompiledFlag] = snapshot.parts[PART]
    return flags

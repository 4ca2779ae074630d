"""The flags' part of an environment's snapshot."""

from collections.abc import Mapping
from typing import Any

from flags.document import decode_document
from flags.evaluation import CompiledFlag, compile_flag
from ilara_admin.snapshot import Snapshot
from segments.snapshot import PART as SEGMENTS

PART = "flags"
SQL = """
    SELECT jsonb_agg(jsonb_build_object(
               'id', f.id, 'key', f.key, 'salt', f.salt, 'revision', f.revision,
               'document', f.document, 'archived', f.archived_at IS NOT NULL) ORDER BY f.key)
    FROM flag f WHERE f.environment_id = e.id"""


def compile_flags(rows: Any, parts: Mapping[str, Any]) -> dict[str, CompiledFlag]:
    segments = {key: segment.matches for key, segment in parts[SEGMENTS].items()}
    return {
        row["key"]: compile_flag(
            key=row["key"],
            salt=row["salt"],
            revision=row["revision"],
            document=decode_document(row["document"]),
            archived=row["archived"],
            segments=segments,
            id=row["id"],
        )
        for row in rows
    }


def flags_of(snapshot: Snapshot) -> Mapping[str, CompiledFlag]:
    flags: Mapping[str, CompiledFlag] = snapshot.parts[PART]
    return flags

"""The flags of an environment at an earlier time."""

from datetime import datetime

import msgspec

from flags.cache import FlagRow, FlagSet, compile_flags
from ilara_admin.api.environment_cache import Snapshot
from ilara_admin.core import db

REVISIONS = """
SELECT DISTINCT ON (r.flag_id) f.id, f.key, f.salt, r.number, r.document, r.archived
FROM flag f JOIN flag_revision r ON r.flag_id = f.id
WHERE f.environment_id = $1 AND r.created_at <= $2
ORDER BY r.flag_id, r.number DESC"""


def flags_at(snapshot: Snapshot, at: datetime) -> FlagSet:
    """Each flag in the revision current at that time, without flags created later. Segments are the
    current ones: they have no revisions."""
    found = db.fetch_all(REVISIONS, [snapshot.environment_id, at], safe_to_repeat=True)
    rows = [
        FlagRow(id, key, salt, revision, msgspec.json.decode(document), archived)
        for id, key, salt, revision, document, archived in found
    ]
    return compile_flags(sorted(rows, key=lambda row: row.key), snapshot.parts)

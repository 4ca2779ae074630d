"""The flags of an environment as they were at an earlier time."""

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
    """Each flag by the revision in force then; those that came later are not there. Segments are
    those of now: they keep no revisions."""
    found = db.fetch_all(REVISIONS, [snapshot.environment_id, at], safe_to_repeat=True)
    rows = [
        FlagRow(id, key, salt, revision, msgspec.json.decode(document), archived)
        for id, key, salt, revision, document, archived in found
    ]
    return compile_flags(sorted(rows, key=lambda row: row.key), snapshot.parts)

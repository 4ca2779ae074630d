"""Audit entries as CSV and as JSON lines. Times are in UTC, as in the API."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ilara_admin.core.spreadsheet import cell, line
from ilara_admin.models import AuditEntry, Environment
from ilara_admin.pages.audit_masks import without_personal
from ilara_admin.pages.audit_text import entry_changes, kind_of_actor

MOST = 100_000  # entries in a file
STEP = 1_000  # entries in memory
TYPES = {"csv": "text/csv", "jsonl": "application/jsonl"}
COLUMNS = (
    "id", "at", "by", "actor", "action", "object_type", "object_id", "object_name", "changes",
    "reason", "request_id", "before", "after",
)  # fmt: skip


def stored(side: dict[str, Any] | None) -> dict[str, Any] | None:
    """A side of an entry, without the fields like `_id` that only undo uses."""
    if side is None:
        return None
    return {name: value for name, value in side.items() if not name.startswith("_")}


def has_personal(environment: Environment, entry: AuditEntry) -> bool:
    """Whether the entry shows personal data of a player to those who may see it."""
    (masked,) = without_personal(environment, [entry])
    sides = [(stored(each.before), stored(each.after)) for each in (entry, masked)]
    return sides[0] != sides[1]


def json_lines(entries: Iterable[AuditEntry]) -> Iterator[str]:
    for entry in entries:
        document = {
            "id": entry.pk,
            "at": _time(entry),
            "by": kind_of_actor(entry).lower(),
            "actor": entry.actor_name,
            "action": entry.action,
            "object": {
                "type": entry.object_type, "id": entry.object_id, "name": entry.object_name,
            },
            "before": stored(entry.before),
            "after": stored(entry.after),
            "reason": entry.reason,
            "request_id": entry.request_id,
        }  # fmt: skip
        yield json.dumps(document, ensure_ascii=False) + "\n"


def csv_lines(entries: Iterable[AuditEntry]) -> Iterator[str]:
    """The header and a line for each entry. A spreadsheet needs the byte order mark to read
    UTF-8."""
    yield "\ufeff" + line(COLUMNS)
    for entry in entries:
        yield line(cell(text) for text in _row(entry))


def _row(entry: AuditEntry) -> list[str]:
    changes = entry_changes(entry, entry.before, entry.after)
    return [
        str(entry.pk),
        _time(entry),
        kind_of_actor(entry).lower(),
        entry.actor_name,
        entry.action,
        entry.object_type,
        entry.object_id,
        entry.object_name,
        "\n".join(f"{each.label}: {each.before} → {each.after}" for each in changes),
        entry.reason,
        entry.request_id,
        *("" if side is None else json.dumps(stored(side), ensure_ascii=False)
          for side in (entry.before, entry.after)),
    ]  # fmt: skip


def _time(entry: AuditEntry) -> str:
    return entry.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

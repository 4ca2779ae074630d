"""Descriptions of list changes."""

from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from segments.lists.services import KEPT_DAYS
from segments.models import ListAction, ListState, SegmentListChange


@dataclass(frozen=True, slots=True)
class ChangeText:
    """A list change as shown to staff. `act` and `result` are parts of a sentence. `percent` is
    None if the total is unknown. `entry_id` is the audit entry of a finished change."""

    change: SegmentListChange
    act: str
    result: str
    running: bool
    percent: int | None
    entry_id: int | None
    can_be_undone: bool


def change_text(change: SegmentListChange, entry_id: int | None) -> ChangeText:
    running = change.state == ListState.RUNNING
    recent = change.finished_at and change.finished_at > timezone.now() - timedelta(days=KEPT_DAYS)
    moved = change.added + change.removed
    return ChangeText(
        change=change,
        act=_act(change),
        result=_result(change),
        running=running,
        percent=min(100 * change.done // change.total, 100) if change.total else None,
        entry_id=entry_id,
        can_be_undone=bool(entry_id and recent and moved and not change.undone and not running),
    )


def _act(change: SegmentListChange) -> str:
    which = "exclude list" if change.excluded else "include list"
    file = change.file_name or "a file"
    running = change.state == ListState.RUNNING
    match change.action:
        case ListAction.ADD:
            return f"added {_counted(change.added, 'id')} to the {which}"
        case ListAction.REMOVE:
            return f"removed {_counted(change.removed, 'id')} from the {which}"
        case ListAction.IMPORT:
            return f"{'imports' if running else 'imported'} {file} to the {which}"
        case ListAction.REPLACE:
            return f"{'replaces' if running else 'replaced'} the {which} with {file}"
        case ListAction.CLEAR:
            return f"{'clears' if running else 'cleared'} the {which}"
        case ListAction.UNDO if change.undoes and change.undoes.action != ListAction.UNDO:
            return f"{'undoes' if running else 'undid'}: {_act(change.undoes)}"
        case ListAction.UNDO:
            return f"{'undoes' if running else 'undid'} an undo of the {which}"
    return "deleted the segment"


def _result(change: SegmentListChange) -> str:
    parts = []
    few = change.action in (ListAction.ADD, ListAction.REMOVE)
    if change.added and not few:
        parts.append(f"{change.added:,} added")
    if change.removed and not few:
        parts.append(f"{change.removed:,} removed")
    if change.lines and change.present and change.action != ListAction.REMOVE:
        parts.append(f"{change.present:,} already on the list")
    if change.bad:
        parts.append(f"{_counted(change.bad, 'invalid line')} skipped")
    if not parts and not few and change.state != ListState.RUNNING:
        parts.append("no changes")
    return ", ".join(parts)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

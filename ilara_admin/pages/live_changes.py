"""The notification about changes in live, read from the audit log by a job."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import Q

from ilara_admin.core import horizon
from ilara_admin.core.notifications import BREAK_GLASS, LIVE, LIVE_CHANGE, notify
from ilara_admin.models import AuditEntry, Environment, NotificationPosition
from ilara_admin.pages.audit_text import CHANGES, verb_of

# What changes what games get. Players and notes about them are the daily work of support.
TYPES = ("flag", "segment", "api_key", "environment", "project")
ACTIONS = tuple(action for action in CHANGES if action.partition(".")[0] in TYPES)
# The contents that an environment begins with are no change to notify of.
STARTING = timedelta(minutes=2)
CHUNK_ENTRIES = 1_000


def live_changes_notify() -> int:
    """Notify of all changes since the last run; returns the number of notifications. Entries that
    an open transaction may still add are left to the next run."""
    found = horizon.settled("audit_entry_id_seq")
    return notify_until(found.id) if found else 0


def notify_until(last_id: int) -> int:
    """Notify of the changes up to this entry that were not reported yet; returns the number of
    notifications. The position moves in the same transaction."""
    reported = 0
    while (count := _notify_chunk(last_id)) is not None:
        reported += count
    return reported


@transaction.atomic
def _notify_chunk(last_id: int) -> int | None:
    """None when all are reported, or while another job reports them."""
    position = NotificationPosition.objects.select_for_update(skip_locked=True).first()
    if position is None or position.entry_id >= last_id:
        return None
    after, until = position.entry_id, min(last_id, position.entry_id + CHUNK_ENTRIES)
    changed = Q(environment__slug=LIVE) | Q(environment=None, object_type="project")
    entries = AuditEntry.objects.filter(
        Q(break_glass=True, environment__isnull=False) | changed & Q(action__in=ACTIONS),
        pk__gt=after, pk__lte=until, project__isnull=False,
    ).select_related("environment__project", "actor_user").order_by("pk")  # fmt: skip
    position.entry_id = until
    position.save(update_fields=["entry_id"])
    return _notify_all(entries)


def _notify_all(entries: Iterable[AuditEntry]) -> int:
    """A notification for each author, environment and kind; returns how many."""
    groups: dict[tuple[object, ...], list[AuditEntry]] = defaultdict(list)
    live = _live_environments(entries)
    for entry in entries:
        place = entry.environment or live.get(entry.project_id or 0)
        if place is None or not (entry.break_glass or _is_change(entry, place)):
            continue
        # Two API keys may have the same name.
        author = (entry.actor_user_id, entry.actor_key_id, entry.actor_name)
        groups[(entry.break_glass, place, *author)].append(entry)
    for (is_bypass, where, *_), group in groups.items():
        assert isinstance(where, Environment)
        _notify_of(BREAK_GLASS if is_bypass else LIVE_CHANGE, where, group)
    return len(groups)


def _is_change(entry: AuditEntry, live: Environment) -> bool:
    return entry.created_at > live.created_at + STARTING


def _live_environments(entries: Iterable[AuditEntry]) -> dict[int, Environment]:
    """By project. A change of a project matters to its live environment."""
    projects = {each.project_id for each in entries}
    found = Environment.objects.filter(slug=LIVE, project__in=projects).select_related("project")
    return {each.project_id: each for each in found}


def _notify_of(kind: str, environment: Environment, entries: Sequence[AuditEntry]) -> None:
    """One notification about all changes of one author, oldest first."""
    first, more = entries[0], len(entries) - 1
    author = f"{first.actor_name} went around the guard and" * (kind == BREAK_GLASS)
    further = f" and made {more:,} further change{'s' * (more > 1)}" if more else ""
    why = [f"Reason: {first.reason}"] if first.reason else []
    notify(
        kind,
        environment,
        f"{author or first.actor_name} {_what(first)}{further}",
        [f"{_what(each)}{_why(each)}" for each in entries] if more else why,
        page="audit_list" if more else "audit_entry",
        args=() if more else [first.pk],
        query={"actor": first.actor_name} if more else None,
        actor=first.actor_user,
        dedupe_key=f"{kind}:{first.pk}",
    )


def _what(entry: AuditEntry) -> str:
    return f"{verb_of(entry)} {entry.object_name}"


def _why(entry: AuditEntry) -> str:
    return f": {entry.reason}" if entry.reason else ""

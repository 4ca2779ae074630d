"""The notification about changes in live, read from the audit log by a job."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby

from django.db import transaction
from django.db.models import Q

from ilara_admin.core import horizon
from ilara_admin.core.notifications import LIVE, LIVE_CHANGE, notify
from ilara_admin.models import AuditEntry, Environment, NotificationPosition
from ilara_admin.pages.audit_text import CHANGES, verb_of

# What changes what games get. Players and notes about them are the daily work of support.
TYPES = ("flag", "segment", "api_key", "environment", "project")
ACTIONS = tuple(action for action in CHANGES if action.partition(".")[0] in TYPES)
# The contents that an environment begins with are no change to tell of.
STARTING = timedelta(minutes=2)
CHUNK_ENTRIES = 1_000


def live_changes_tell() -> int:
    """Tell of all changes since the last run; returns the number of notifications. Entries that an
    open transaction may still add are left to the next run."""
    found = horizon.settled("audit_entry_id_seq")
    return tell_until(found.id) if found else 0


def tell_until(last_id: int) -> int:
    """Tell of the changes up to this entry that were not told of; returns the number of
    notifications. The position moves in the same transaction."""
    told = 0
    while (count := _tell_chunk(last_id)) is not None:
        told += count
    return told


@transaction.atomic
def _tell_chunk(last_id: int) -> int | None:
    """None when all are told, or while another job tells of them."""
    position = NotificationPosition.objects.select_for_update(skip_locked=True).first()
    if position is None or position.entry_id >= last_id:
        return None
    after, until = position.entry_id, min(last_id, position.entry_id + CHUNK_ENTRIES)
    entries = AuditEntry.objects.filter(
        Q(environment__slug=LIVE) | Q(environment=None, object_type="project"),
        pk__gt=after, pk__lte=until, action__in=ACTIONS, project__isnull=False,
    ).select_related("environment__project", "actor_user").order_by("pk")  # fmt: skip
    position.entry_id = until
    position.save(update_fields=["entry_id"])
    live = _live_environments(entries)
    changes = [each for each in entries if _is_change(each, live.get(each.project_id or 0))]
    by_author = sorted(changes, key=_author)
    groups = [list(group) for _, group in groupby(by_author, _author)]
    for group in groups:
        _tell(live[group[0].project_id or 0], group)
    return len(groups)


def _is_change(entry: AuditEntry, live: Environment | None) -> bool:
    return live is not None and entry.created_at > live.created_at + STARTING


def _author(entry: AuditEntry) -> tuple[int, int, int, str]:
    """Who, in which project; two API keys may have the same name."""
    return (
        entry.project_id or 0,
        entry.actor_user_id or 0,
        entry.actor_key_id or 0,
        entry.actor_name,
    )


def _live_environments(entries: Iterable[AuditEntry]) -> dict[int, Environment]:
    """By project. A change of a project matters to its live environment."""
    projects = {each.project_id for each in entries}
    found = Environment.objects.filter(slug=LIVE, project__in=projects).select_related("project")
    return {each.project_id: each for each in found}


def _tell(environment: Environment, entries: Sequence[AuditEntry]) -> None:
    """One notification about all changes of one author, oldest first."""
    first, more = entries[0], len(entries) - 1
    further = f" and made {more:,} further change{'s' * (more > 1)}" if more else ""
    why = [f"Reason: {first.reason}"] if first.reason else []
    notify(
        LIVE_CHANGE,
        environment,
        f"{first.actor_name} {_what(first)}{further}",
        [f"{_what(each)}{_why(each)}" for each in entries] if more else why,
        page="audit_list" if more else "audit_entry",
        args=() if more else [first.pk],
        query={"actor": first.actor_name} if more else None,
        actor=first.actor_user,
        dedupe_key=f"{LIVE_CHANGE}:{first.pk}",
    )


def _what(entry: AuditEntry) -> str:
    return f"{verb_of(entry)} {entry.object_name}"


def _why(entry: AuditEntry) -> str:
    return f": {entry.reason}" if entry.reason else ""

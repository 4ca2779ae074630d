"""Conflicts, unique keys, undo and reasons of changes by staff.

Services raise `Conflict` if the caller's revision or fields are no longer current, and create rows
with `create_or_conflict`. Each app registers the undo of its audit entries.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.db.models import Count, F
from django.http import HttpRequest
from django.utils import timezone

from ilara_admin.core.audit import Actor, changed_fields
from ilara_admin.core.diff import Change, differences
from ilara_admin.core.guard import ChangeItem, is_guarded
from ilara_admin.core.json_equality import json_equal
from ilara_admin.models import AuditAction, AuditEntry, Environment, Role, User

MAX_REASON = 500
REQUEST_SPAN = timedelta(minutes=1)  # longer than any request takes

type Fields = Mapping[str, Any]


def reason_of(request: HttpRequest) -> str:
    """The posted reason, without NUL, which PostgreSQL cannot store."""
    return clean_reason(request.POST.get("reason", ""))


def clean_reason(text: str) -> str:
    return text.replace("\0", "")[:MAX_REASON]


def bump_config_version(*environments: Environment) -> None:
    """Make every process reload its snapshot. Call it last in the transaction of a change."""
    for environment in sorted(environments, key=lambda environment: environment.pk):
        Environment.objects.filter(pk=environment.pk).update(config_version=F("config_version") + 1)


# --- Conflicts ------------------------------------------------------------------------------------


class Conflict(Exception):
    """The object has changed since the caller read it. `theirs` are the changes since then, `yours`
    those of the caller, `current` is the revision or fields to send to overwrite."""

    def __init__(
        self,
        object_type: str,
        object_id: object,
        name: str,
        *,
        theirs: Sequence[Change],
        yours: Sequence[Change],
        current: Any = None,
    ) -> None:
        super().__init__(f"{name} was changed by someone else.")
        self.object_type, self.object_id, self.name = object_type, str(object_id), name
        self.theirs, self.yours, self.current = theirs, yours, current


def merge_changes(
    object_type: str, object_id: object, name: str, *, seen: Fields | None, now: Fields,
    wanted: Fields,
) -> dict[str, Any]:  # fmt: skip
    """The fields of `wanted` that differ from `seen`; all of them if `seen` is None.

    Raises Conflict if one of these is now neither as seen nor as wanted. Other fields may have
    changed.
    """
    if seen is None:
        return dict(wanted)
    mine = {
        field: value for field, value in wanted.items() if not json_equal(seen.get(field), value)
    }
    lost = [
        field
        for field, value in mine.items()
        if not json_equal(now.get(field), seen.get(field)) and not json_equal(now.get(field), value)
    ]
    if lost:
        was, is_now, will = (
            {field: side.get(field) for field in lost} for side in (seen, now, mine)
        )
        raise Conflict(
            object_type,
            object_id,
            name,
            theirs=differences(was, is_now, object_type, at=timezone.localtime()),
            yours=differences(is_now, will, object_type, at=timezone.localtime()),
            current={**seen, **is_now},
        )
    return mine


def create_or_conflict[M: models.Model](row: M, taken: Mapping[str, ValidationError]) -> M:
    """Insert a row. `taken` is the error to raise by the name of the violated constraint."""
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        diagnostics = getattr(error.__cause__, "diag", None)
        refusal = taken.get(getattr(diagnostics, "constraint_name", None) or "")
        if refusal is None:
            raise
        raise refusal from None
    return row


# --- Undo -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Undo:
    """The undo of the entries of an action.

    `current` locks the object and returns the present values of the entry's fields, see
    entry_fields. `restore` calls the service that restores the old values. `why_not` returns the
    reason why an entry cannot be undone, or "". `may` overrides the check of the role.
    """

    role: Role
    current: Callable[[AuditEntry], Fields]
    restore: Callable[[AuditEntry, Actor, str], AuditEntry | None]
    why_not: Callable[[AuditEntry], str]
    may: Callable[[User, AuditEntry], bool]


_undos: dict[str, Undo] = {}
_permanent: dict[str, str] = {}


def register_undo(
    *actions: AuditAction,
    role: Role,
    current: Callable[[AuditEntry], Fields],
    restore: Callable[[AuditEntry, Actor, str], AuditEntry | None],
    why_not: Callable[[AuditEntry], str] = lambda entry: "",
    may: Callable[[User, AuditEntry], bool] | None = None,
) -> None:
    """`role` is the one in the entry's project; without a project only owners may undo it."""
    may = may or (lambda user, entry: user.may(role, entry.project_id))
    found = Undo(role, current, restore, why_not, may)
    _undos.update(dict.fromkeys(actions, found))


def register_permanent(sentences: dict[AuditAction, str]) -> None:
    """Register actions that cannot be undone, each with the reason as a sentence."""
    for action, sentence in sentences.items():
        _permanent[action] = sentence


# --- Changes of a change request ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Perform:
    """How an item of a change request is made: like an Undo, of a change that is yet to come.

    `current` locks the object and returns the present values of the item's fields. `make` calls the
    service that makes such changes; what it returns is handed to the page.
    """

    role: Role
    current: Callable[[ChangeItem, Environment], Fields]
    make: Callable[[ChangeItem, Environment, Actor, str], object]
    why_not: Callable[[ChangeItem], str]


_performs: dict[str, Perform] = {}
_wholes: dict[str, Callable[[ChangeItem, Environment], Fields | None]] = {}


def register_perform(
    *actions: AuditAction,
    role: Role,
    current: Callable[[ChangeItem, Environment], Fields],
    make: Callable[[ChangeItem, Environment, Actor, str], object],
    why_not: Callable[[ChangeItem], str] = lambda item: "",
) -> None:
    """Needed where undoing the opposite change is not how it is made."""
    _performs.update(dict.fromkeys(actions, Perform(role, current, make, why_not)))


def register_whole(
    object_type: str, now: Callable[[ChangeItem, Environment], Fields | None]
) -> None:
    """`now` returns the present state of an item's object, in the form of ChangeItem.whole."""
    _wholes[object_type] = now


def whole_now(item: ChangeItem, environment: Environment) -> Fields | None:
    found = _wholes.get(item.object_type)
    return found(item, environment) if found else None


def perform_of(item: ChangeItem) -> Perform | None:
    """How an item is made: as registered, else by undoing the opposite change; None if it cannot be
    made later."""
    if item.action in _performs:
        return _performs[item.action]
    undo = _undos.get(item.action)
    if undo is None or item.before is None or item.after is None:
        return None
    if not is_guarded(item.object_type):  # never asked for alone
        return None

    def opposite(environment: Environment) -> AuditEntry:
        return AuditEntry(
            environment=environment if item.environment else None,
            project=environment.project,
            action=item.action,
            object_type=item.object_type,
            object_id=item.object_id,
            object_name=item.object_name,
            before=item.after,
            after=item.before,
            created_at=timezone.now(),
        )

    return Perform(
        undo.role,
        lambda item, environment: undo.current(opposite(environment)),
        lambda item, environment, actor, reason: undo.restore(opposite(environment), actor, reason),
        lambda item: "",
    )


# --- Undone entries -------------------------------------------------------------------------------


def why_not_undoable(entry: AuditEntry) -> str:
    """The reason why an entry cannot be undone, as a sentence; "" if it can."""
    if entry.action in _permanent:
        return _permanent[entry.action]
    if entry.before is None and entry.after is None:
        return "The changed data was erased."
    return _undos[entry.action].why_not(entry)


def may_undo(entry: AuditEntry, user: User) -> bool:
    """Whether the entry can be undone, and by this user."""
    return not why_not_undoable(entry) and _undos[entry.action].may(user, entry)


def needed_role(entry: AuditEntry) -> Role:
    return _undos[entry.action].role


def entry_fields(entry: AuditEntry, fields: Fields) -> Fields:
    """Those of an object's fields that the entry changed."""
    names = {**(entry.before or {}), **(entry.after or {})}
    return {name: fields[name] for name in names if name in fields}


@transaction.atomic
def undo(entry: AuditEntry, *, actor: Actor, reason: str = "") -> AuditEntry | None:
    """Restore the fields that an entry changed, with the service that makes such changes.

    Returns the new audit entry; None if nothing changed or a job completes the undo. Raises
    Conflict if one of the fields has changed since, and ValidationError from the service.
    """
    if refusal := why_not_undoable(entry):
        raise ValidationError(refusal)
    found = _undos[entry.action]
    before, after = entry.before or {}, entry.after or {}
    now = dict(found.current(entry))
    expected, present = changed_fields(after, now)
    if expected or present:
        raise Conflict(
            entry.object_type,
            entry.object_id,
            entry.object_name,
            theirs=differences(expected, present, entry.object_type, at=timezone.localtime()),
            yours=differences(now, before, entry.object_type, at=timezone.localtime()),
        )
    return found.restore(entry, actor, reason or "Undone")


def entries_together(entry: AuditEntry) -> list[AuditEntry]:
    """The entries that one account made in one request, in the project and environment of this
    entry, newest first. Only the entry itself if it is from a command."""
    if not entry.request_id:
        return [entry]
    found = AuditEntry.objects.filter(
        request_id=entry.request_id,
        actor_user=entry.actor_user_id,
        project=entry.project_id,
        environment=entry.environment_id,
        # A proxy may give the same id to several requests.
        created_at__range=(entry.created_at - REQUEST_SPAN, entry.created_at + REQUEST_SPAN),
    )
    return list(found.select_related("environment__project").order_by("-id"))


def made_together(entries: Sequence[AuditEntry]) -> set[int]:
    """The ids of those of the entries that were made together with others."""
    requests = {entry.request_id for entry in entries} - {""}
    changes = AuditEntry.objects.filter(request_id__in=requests).order_by()
    place = ("request_id", "actor_user", "project", "environment")
    several = set(
        changes.values_list(*place)
        .annotate(count=Count("pk"))
        .filter(count__gt=1)
        .values_list(*place)
    )
    return {
        entry.pk
        for entry in entries
        if (entry.request_id, entry.actor_user_id, entry.project_id, entry.environment_id)
        in several
    }


@transaction.atomic
def undo_together(
    entries: Sequence[AuditEntry], *, actor: Actor, reason: str = ""
) -> list[AuditEntry]:
    """Undo several entries, newest first, all or none. Returns the new entries. Raises as `undo`
    does."""
    newest_first = sorted(entries, key=lambda entry: entry.pk, reverse=True)
    for entry in newest_first:
        if refusal := why_not_undoable(entry):
            raise ValidationError(f"{entry.object_name}: {refusal}")
    # Lock all objects first, in one order: each undo locks the environment's row last.
    for entry in sorted(entries, key=lambda entry: (entry.object_type, entry.object_id)):
        with suppress(ValidationError):  # deleted by one of the changes
            _undos[entry.action].current(entry)
    undone = [undo(entry, actor=actor, reason=reason) for entry in newest_first]
    return [entry for entry in undone if entry is not None]

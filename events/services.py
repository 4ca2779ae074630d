"""Changes of the event catalogue by staff. rollups.py writes the counts."""

from django.core.exceptions import ValidationError
from django.db import transaction

from events.models import DESCRIPTION_CHARACTERS, OWNER_CHARACTERS, EventName
from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.changes import (
    Fields,
    entry_fields,
    merge_changes,
    register_permanent,
    register_undo,
)
from ilara_admin.models import AuditAction, AuditEntry, Role

LIMITS = {"description": DESCRIPTION_CHARACTERS, "owner": OWNER_CHARACTERS}  # characters


@transaction.atomic
def event_name_describe(
    event_name: EventName, fields: Fields, *, actor: Actor, seen: Fields | None = None,
    reason: str = "",
) -> AuditEntry | None:  # fmt: skip
    """Set what an event means and who owns it: some of `description` and `owner`.

    Returns None if nothing changed; raises Conflict if a field is no longer as in `seen`. It
    affects no request under /v1, so no process has to reload.
    """
    event_name = _locked(event_name.pk)
    wanted = {name: text.strip() for name, text in fields.items()}
    errors = {
        name: f"Use {LIMITS[name]} characters at most."
        for name, text in wanted.items()
        if len(text) > LIMITS[name]
    }
    if errors:
        raise ValidationError(errors)
    now = described(event_name)
    mine = merge_changes(
        "event_name", event_name.pk, event_name.name, seen=seen, now=now, wanted=wanted
    )
    before, after = changed_fields(now, {**now, **mine})
    if not after:
        return None
    for name, text in after.items():
        setattr(event_name, name, text)
    event_name.save(update_fields=list(after))
    return audit_record(
        AuditAction.EVENT_NAME_DESCRIBED,
        actor,
        environment=event_name.environment,
        object_id=event_name.pk,
        object_name=event_name.name,
        before=before,
        after=after,
        reason=reason,
    )


def described(event_name: EventName) -> dict[str, str]:
    return {name: getattr(event_name, name) for name in LIMITS}


def _locked(pk: int | str) -> EventName:
    found = EventName.objects.select_related("environment__project")
    return found.select_for_update(of=("self",), no_key=True).get(pk=pk)


def _now(entry: AuditEntry) -> Fields:
    return entry_fields(entry, described(_locked(entry.object_id)))


def _restore(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    event_name = EventName.objects.get(pk=entry.object_id)
    return event_name_describe(event_name, entry.before or {}, actor=actor, reason=reason)


register_permanent({AuditAction.ENVIRONMENT_EVENTS_EXPORTED: "An export changes nothing."})
register_undo(AuditAction.EVENT_NAME_DESCRIBED, role=Role.LIVE_OPS, current=_now, restore=_restore)

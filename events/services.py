"""Changes of the event catalogue by staff. rollups.py writes the counts."""

from django.core.exceptions import ValidationError
from django.db import transaction

from events.models import DESCRIPTION_CHARACTERS, EventName
from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.core.changes import (
    Fields,
    merge_changes,
    register_permanent,
    register_undo,
)
from ilara_admin.models import AuditAction, AuditEntry, Role


@transaction.atomic
def event_name_describe(
    event_name: EventName, description: str, *, actor: Actor, seen: Fields | None = None,
    reason: str = "",
) -> AuditEntry | None:  # fmt: skip
    """Set what an event means. Returns None if nothing changed; raises Conflict if the description
    is no longer as in `seen`. It affects no request under /v1, so no process has to reload."""
    event_name = _locked(event_name.pk)
    description = description.strip()
    if len(description) > DESCRIPTION_CHARACTERS:
        limit = DESCRIPTION_CHARACTERS
        raise ValidationError({"description": f"Use {limit} characters at most."})
    before, after = {"description": event_name.description}, {"description": description}
    merge_changes("event_name", event_name.pk, event_name.name, seen=seen, now=before, wanted=after)
    if before == after:
        return None
    event_name.description = description
    event_name.save(update_fields=["description"])
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


def _locked(pk: int | str) -> EventName:
    found = EventName.objects.select_related("environment__project")
    return found.select_for_update(of=("self",), no_key=True).get(pk=pk)


def _now(entry: AuditEntry) -> Fields:
    return {"description": _locked(entry.object_id).description}


def _restore(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    event_name = EventName.objects.get(pk=entry.object_id)
    return event_name_describe(event_name, **(entry.before or {}), actor=actor, reason=reason)


register_permanent({AuditAction.ENVIRONMENT_EVENTS_EXPORTED: "An export changes nothing."})
register_undo(AuditAction.EVENT_NAME_DESCRIBED, role=Role.LIVE_OPS, current=_now, restore=_restore)

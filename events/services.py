"""Writes of staff to the event catalogue. What is counted is written by rollups.py."""

from django.core.exceptions import ValidationError
from django.db import transaction

from events.models import DESCRIPTION_CHARACTERS, EventName
from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.models import AuditAction, AuditEntry


@transaction.atomic
def event_name_describe(
    event_name: EventName, description: str, *, actor: Actor, reason: str = ""
) -> AuditEntry | None:
    """Say what an event is about. Answers with the entry in the audit log, or None when it said so
    already. No request under /v1 sees it, so no process has to reload anything."""
    event_name = _locked(event_name)
    description = description.strip()
    if len(description) > DESCRIPTION_CHARACTERS:
        limit = DESCRIPTION_CHARACTERS
        raise ValidationError({"description": f"Use {limit} characters at most."})
    before = event_name.description
    if before == description:
        return None
    event_name.description = description
    event_name.save(update_fields=["description"])
    return audit_record(
        AuditAction.EVENT_NAME_DESCRIBED,
        actor,
        environment=event_name.environment,
        object_id=event_name.pk,
        object_name=event_name.name,
        before={"description": before},
        after={"description": description},
        reason=reason,
    )


@transaction.atomic
def event_name_undo(event_name: EventName, entry: AuditEntry, *, actor: Actor) -> None:
    """Bring back the description from before a change, unless somebody has changed it since."""
    event_name = _locked(event_name)
    if entry.before is None or entry.after != {"description": event_name.description}:
        raise ValidationError("Somebody has described it anew since. Nothing was undone.")
    event_name_describe(event_name, entry.before["description"], actor=actor, reason="Undone")


def _locked(event_name: EventName) -> EventName:
    found = EventName.objects.select_related("environment__project")
    return found.select_for_update(of=("self",), no_key=True).get(pk=event_name.pk)

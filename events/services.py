"""Changes of the event catalogue by staff. rollups.py writes the counts."""

from django.core.exceptions import ValidationError
from django.db import transaction

from events.models import DESCRIPTION_CHARACTERS, EventName
from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.models import AuditAction, AuditEntry


@transaction.atomic
def event_name_describe(
    event_name: EventName, description: str, *, actor: Actor, reason: str = ""
) -> AuditEntry | None:
    """Set the description of an event. Returns the audit entry, or None if nothing changed. The API
    does not return descriptions, so `config_version` stays."""
    event_name = _locked(event_name)
    description = description.strip()
    if len(description) > DESCRIPTION_CHARACTERS:
        limit = DESCRIPTION_CHARACTERS
        raise ValidationError({"description": f"Use at most {limit} characters."})
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
    """Restore the description from before a change, unless it has changed since."""
    event_name = _locked(event_name)
    if entry.before is None or entry.after != {"description": event_name.description}:
        raise ValidationError("The description has changed since. Nothing was undone.")
    event_name_describe(event_name, entry.before["description"], actor=actor, reason="Undone")


def _locked(event_name: EventName) -> EventName:
    found = EventName.objects.select_related("environment__project")
    return found.select_for_update(of=("self",), no_key=True).get(pk=event_name.pk)

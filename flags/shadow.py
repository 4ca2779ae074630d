"""The shadow period before a flag is archived: it serves as before, and its page shows who still
asks for it."""

from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from flags.models import Flag
from flags.services import Saved, audit, flag_set_archived, locked, shadow_fields
from ilara_admin.core.audit import Actor
from ilara_admin.models import AuditAction, AuditEntry


@transaction.atomic
def flag_archive_later(flag: Flag, at: datetime | None, *, actor: Actor, reason: str = "") -> Saved:
    """Archive the flag at that time, or for None cancel that. Requests see no change, so there is
    no new revision."""
    flag = locked(flag)
    if flag.archives_at == at:
        return flag, None
    if flag.archived_at:
        raise ValidationError("The flag is archived already.")
    if at and at <= timezone.now():
        raise ValidationError("That time is in the past. Archive the flag now instead.")
    before = shadow_fields(flag)
    flag.archives_at = at
    flag.save(update_fields=["archives_at"])
    action = AuditAction.FLAG_ARCHIVE_SCHEDULED if at else AuditAction.FLAG_ARCHIVE_CANCELLED
    after = shadow_fields(flag)
    return flag, audit(action, flag, actor, before=before, after=after, reason=reason)


def archive_due(now: datetime) -> int:
    """Archive the flags whose shadow period has ended, as those who asked for it; returns how
    many. Each is archived once, even if two of these run at the same time."""
    due = Flag.objects.filter(archives_at__lte=now).order_by("pk")
    return sum(_archive_if_due(flag, now) for flag in due)


@transaction.atomic
def _archive_if_due(flag: Flag, now: datetime) -> bool:
    flag = locked(flag)
    if flag.archives_at is None or flag.archives_at > now:
        return False
    asked = (
        AuditEntry.objects.filter(
            environment=flag.environment,
            action=AuditAction.FLAG_ARCHIVE_SCHEDULED,
            object_id=flag.key,
        )
        .order_by("-id")
        .first()
    )
    actor, reason = Actor("Shadow period"), "The shadow period has ended."
    if asked:
        actor = Actor(asked.actor_name, asked.actor_user, asked.actor_key)
        reason = f"{reason} {asked.reason}".strip()
    return flag_set_archived(flag, True, actor=actor, reason=reason[:500])[1] is not None

"""Writes to the channels of a project, incoming webhooks of Slack and Discord. Each is one
transaction."""

from collections.abc import Collection
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.changes import (
    Fields,
    create_or_conflict,
    entry_fields,
    merge_changes,
    register_permanent,
    register_undo,
)
from ilara_admin.core.notifications import all_kinds
from ilara_admin.core.projects import checked_name
from ilara_admin.core.webhooks import address_problem, masked
from ilara_admin.models import (
    AuditAction,
    AuditEntry,
    ChannelKind,
    NotificationChannel,
    Project,
    Role,
)

MOST = 50  # of a project
TAKEN = "The project has a channel with this name."


@transaction.atomic
def channel_create(
    *, project: Project, kind: ChannelKind, name: str, url: str, kinds: Collection[str],
    actor: Actor, reason: str = "",
) -> NotificationChannel:  # fmt: skip
    """Add a channel that gets these kinds of notifications. Raises ValidationError."""
    if NotificationChannel.objects.filter(project=project).count() >= MOST:
        raise ValidationError(f"A project has at most {MOST} channels. Remove one first.")
    channel = NotificationChannel(
        project=project,
        kind=kind,
        name=checked_name(name, "channel"),
        url=_checked_url(kind, url),
        kinds=_checked_kinds(kinds),
        created_by_name=actor.name,
    )
    taken = ValidationError({"name": TAKEN})
    create_or_conflict(channel, {"notification_channel_unique": taken})
    after = {"kind": kind, **channel_fields(channel)}
    _record(AuditAction.CHANNEL_CREATED, channel, actor, after=after, reason=reason)
    return channel


@transaction.atomic
def channel_update(
    channel: NotificationChannel,
    *,
    actor: Actor,
    name: str | None = None,
    kinds: Collection[str] | None = None,
    url: str = "",
    seen: Fields | None = None,
    reason: str = "",
) -> AuditEntry | None:
    """Change the name, what the channel gets, or with `url` its address.

    Returns None if nothing changed. Raises Conflict if the name or the kinds differ from `seen`.
    """
    channel = NotificationChannel.objects.select_for_update().get(pk=channel.pk)
    before = channel_fields(channel)
    wanted = {
        "name": channel.name if name is None else checked_name(name, "channel"),
        "kinds": channel.kinds if kinds is None else _checked_kinds(kinds),
    }
    mine = merge_changes("channel", channel.pk, channel.name, seen=seen, now=before, wanted=wanted)
    for field, value in mine.items():
        setattr(channel, field, value)
    if url:
        channel.url = _checked_url(ChannelKind(channel.kind), url)
    old, new = changed_fields(before, channel_fields(channel))
    if not new:
        return None
    try:
        with transaction.atomic():
            channel.save(update_fields=["name", "kinds", "url"])
    except IntegrityError:
        raise ValidationError({"name": TAKEN}) from None
    return _record(
        AuditAction.CHANNEL_UPDATED, channel, actor, before=old, after=new, reason=reason
    )


@transaction.atomic
def channel_delete(channel: NotificationChannel, *, actor: Actor, reason: str = "") -> AuditEntry:
    """Remove a channel with its deliveries."""
    before = {"kind": channel.kind, **channel_fields(channel)}
    entry = _record(AuditAction.CHANNEL_DELETED, channel, actor, before=before, reason=reason)
    channel.delete()
    return entry


def channel_fields(channel: NotificationChannel) -> dict[str, Any]:
    """As in the audit log: the address is masked."""
    return {"name": channel.name, "kinds": channel.kinds, "address": masked(channel.url)}


def _checked_url(kind: ChannelKind, url: str) -> str:
    url = url.strip()
    if problem := address_problem(kind, url, settings.WEBHOOK_HOSTS):
        raise ValidationError({"url": problem})
    return url


def _checked_kinds(kinds: Collection[str]) -> list[str]:
    if unknown := set(kinds) - {kind.key for kind in all_kinds()}:
        raise ValidationError({"kinds": f"Unknown kinds: {', '.join(sorted(unknown))}."})
    return sorted(set(kinds))


def _record(
    action: AuditAction, channel: NotificationChannel, actor: Actor, **details: Any
) -> AuditEntry:
    return audit_record(
        action,
        actor,
        project=channel.project,
        object_id=channel.pk,
        object_name=channel.name,
        **details,
    )


# --- Undo -----------------------------------------------------------------------------------------


def _now(entry: AuditEntry) -> Fields:
    channel = NotificationChannel.objects.select_for_update().filter(pk=entry.object_id).first()
    if channel is None:
        raise ValidationError("The channel is removed.")
    return entry_fields(entry, channel_fields(channel))


def _restore(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    channel = NotificationChannel.objects.get(pk=entry.object_id)
    return channel_update(channel, **(entry.before or {}), actor=actor, reason=reason)


def _why_not(entry: AuditEntry) -> str:
    changes_address = "address" in (entry.after or {})
    return "An address is not kept. Edit the channel instead." if changes_address else ""


register_undo(
    AuditAction.CHANNEL_UPDATED, role=Role.ADMIN, current=_now, restore=_restore, why_not=_why_not
)
register_permanent(
    {
        AuditAction.CHANNEL_CREATED: "Adding a channel cannot be undone. Remove it instead.",
        AuditAction.CHANNEL_DELETED: "The address of a channel is not kept. Add it again.",
    }
)

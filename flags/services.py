"""Writes to flags. Each is one revision, one audit entry, one transaction."""

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from flags.document import (
    DocumentError,
    FlagDocument,
    check_document,
    decode_document,
    encode_document,
)
from flags.models import Flag, FlagOverride, FlagRevision
from ilara_admin.audit import Actor, audit_record, changes
from ilara_admin.models import AuditAction, Environment
from ilara_admin.services import environment_bump
from players.models import Player
from segments.models import Segment
from segments.rules import RuleError, parse, segments_named
from segments.services import KEY, KEY_FORM


class RevisionConflict(Exception):
    """Somebody saved the flag after the editor had opened it."""

    def __init__(self, flag: Flag) -> None:
        super().__init__(f"The flag {flag.key} is at revision {flag.revision} by now.")
        self.flag = flag


def _check(environment: Environment, document: FlagDocument) -> None:
    """Raise ValidationError unless the document, the rules and the segments it names hold."""
    try:
        check_document(document)
        for index, rule in enumerate(document.rules):
            if rule.conditions is not None:
                try:
                    parse(rule.conditions)
                except RuleError as error:
                    path = f"rules[{index}].conditions"
                    raise DocumentError(
                        f"{path}.{error.path}" if error.path else path, error.message
                    ) from None
    except DocumentError as error:
        raise ValidationError({"document": str(error)}) from None
    wanted = {rule.segment for rule in document.rules if rule.segment is not None}
    wanted = wanted.union(*(segments_named(rule.conditions) for rule in document.rules))
    known = Segment.objects.filter(environment=environment, key__in=wanted).order_by("id")
    # The lock keeps them from being deleted before this is stored.
    missing = wanted - {segment.key for segment in known.select_for_update(no_key=True)}
    if missing:
        names = ", ".join(sorted(missing))
        raise ValidationError({"document": f"There is no segment {names} in this environment."})


def _audit(action: AuditAction, flag: Flag, actor: Actor, **details: Any) -> None:
    audit_record(
        action,
        actor,
        environment=flag.environment,
        object_id=flag.key,
        object_name=flag.key,
        **details,
    )


def _revise(flag: Flag, actor: Actor, reason: str) -> None:
    FlagRevision.objects.create(
        flag=flag,
        number=flag.revision,
        document=flag.document,
        **flag.about,
        author=actor.user,
        author_name=actor.name,
        reason=reason,
    )


def _locked(flag: Flag) -> Flag:
    return (
        Flag.objects.select_for_update(of=("self",))
        .select_related("environment__project")
        .get(pk=flag.pk)
    )


@transaction.atomic
def flag_create(
    *, environment: Environment, key: str, document: FlagDocument, actor: Actor, name: str = "",
    description: str = "", reason: str = "",
) -> Flag:  # fmt: skip
    if not KEY.fullmatch(key):
        raise ValidationError({"key": KEY_FORM})
    if Flag.objects.filter(environment=environment, key=key).exists():
        raise ValidationError({"key": f"There is already a flag “{key}” here."})
    _check(environment, document)
    flag = Flag.objects.create(
        environment=environment,
        key=key,
        name=name or key,
        description=description,
        document=encode_document(document),
    )
    _revise(flag, actor, reason)
    _audit(AuditAction.FLAG_CREATED, flag, actor, after=flag.document, reason=reason)
    environment_bump(environment)
    return flag


@transaction.atomic
def flag_update(
    flag: Flag, *, document: FlagDocument, base_revision: int, actor: Actor,
    name: str | None = None, description: str | None = None, reason: str = "",
    action: AuditAction = AuditAction.FLAG_UPDATED,
) -> Flag:  # fmt: skip
    """Save a new document. Raises RevisionConflict when `base_revision` is no longer current."""
    flag = _locked(flag)
    if flag.revision != base_revision:
        raise RevisionConflict(flag)
    _check(flag.environment, document)
    before = {**flag.document, **flag.about}
    flag.document = encode_document(document)
    flag.name = flag.name if name is None else name or flag.key
    flag.description = flag.description if description is None else description
    old, new = changes(before, {**flag.document, **flag.about})
    if not new:
        return flag
    flag.revision += 1
    flag.updated_at = timezone.now()
    flag.save(update_fields=["document", "name", "description", "revision", "updated_at"])
    _revise(flag, actor, reason)
    _audit(action, flag, actor, before=old, after=new, reason=reason)
    environment_bump(flag.environment)
    return flag


@transaction.atomic
def flag_set_enabled(flag: Flag, enabled: bool, *, actor: Actor, reason: str = "") -> Flag:
    """The switch. It acts on whatever is current, so that it never loses to an open editor."""
    flag = _locked(flag)
    data = {**flag.document, "enabled": enabled}
    action = AuditAction.FLAG_ENABLED if enabled else AuditAction.FLAG_DISABLED
    return flag_update(
        flag,
        document=decode_document(data),
        base_revision=flag.revision,
        actor=actor,
        reason=reason,
        action=action,
    )


@transaction.atomic
def flag_restore(
    flag: Flag, number: int, *, base_revision: int, actor: Actor, reason: str = ""
) -> Flag:
    """Write an old revision as a new one."""
    revision = flag.revisions.get(number=number)
    return flag_update(
        flag,
        document=decode_document(revision.document),
        **revision.about,
        base_revision=base_revision,
        actor=actor,
        reason=reason or f"Restored revision {number}",
        action=AuditAction.FLAG_RESTORED,
    )


@transaction.atomic
def flag_set_archived(flag: Flag, archived: bool, *, actor: Actor, reason: str = "") -> Flag:
    """An archived flag serves its off value and leaves the lists; its history stays."""
    flag = _locked(flag)
    if (flag.archived_at is not None) == archived:
        return flag
    flag.archived_at = timezone.now() if archived else None
    flag.save(update_fields=["archived_at"])
    action = AuditAction.FLAG_ARCHIVED if archived else AuditAction.FLAG_UNARCHIVED
    _audit(
        action, flag, actor, before={"archived": not archived}, after={"archived": archived},
        reason=reason,
    )  # fmt: skip
    environment_bump(flag.environment)
    return flag


@transaction.atomic
def override_set(
    flag: Flag, player: Player, variant: str, *, actor: Actor,
    expires_at: datetime | None = None, reason: str = "",
) -> FlagOverride:  # fmt: skip
    """Give one player a variant ahead of all rules. In force on the next request."""
    flag = _locked(flag)
    if variant not in {item.key for item in flag.spec.variants}:
        raise ValidationError({"variant": f"There is no variant “{variant}”."})
    before = FlagOverride.objects.filter(flag=flag, player_id=player.pk).first()
    override, _ = FlagOverride.objects.update_or_create(
        flag=flag,
        player_id=player.pk,
        defaults={"variant": variant, "expires_at": expires_at, "author_name": actor.name},
    )
    _audit(
        AuditAction.FLAG_OVERRIDDEN,
        flag,
        actor,
        before=_override_facts(player, before),
        after=_override_facts(player, override),
        reason=reason,
    )
    return override


@transaction.atomic
def override_remove(flag: Flag, player: Player, *, actor: Actor, reason: str = "") -> None:
    """Let the rules decide again for this player."""
    found = FlagOverride.objects.select_for_update().filter(flag=flag, player_id=player.pk).first()
    if found is None:
        return
    _audit(
        AuditAction.FLAG_OVERRIDE_REMOVED,
        flag,
        actor,
        before=_override_facts(player, found),
        after={"player": player.external_id},
        reason=reason,
    )
    FlagOverride.objects.filter(flag=flag, player_id=player.pk).delete()


def _override_facts(player: Player, override: FlagOverride | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"player": player.external_id}
    if override is not None:
        until = override.expires_at.isoformat() if override.expires_at else None
        facts |= {"variant": override.variant, "until": until}
    return facts

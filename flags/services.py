"""Writes to flags. Each is one revision, one audit entry, one transaction."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import msgspec
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from flags.engine.document import FlagDocument, decode_document, encode_document
from flags.models import Flag, FlagOverride, FlagRevision, new_salt
from flags.validation import check, check_dependents
from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.projects import bump_config_version
from ilara_admin.models import AuditAction, Environment, Project
from players.models import Player
from segments.keys import KEY, KEY_FORM


class RevisionConflict(Exception):
    """Somebody saved the flag after the editor had opened it."""

    def __init__(self, flag: Flag) -> None:
        super().__init__(f"The flag {flag.key} is at revision {flag.revision} by now.")
        self.flag = flag


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
        archived=flag.archived_at is not None,
        name=flag.name,
        description=flag.description,
        owner=flag.owner,
        expected_end=flag.expected_end,
        author=actor.user,
        author_name=actor.name,
        reason=reason,
    )


def _revise_next(flag: Flag, actor: Actor, reason: str) -> None:
    flag.revision += 1
    flag.save(update_fields=["revision"])
    _revise(flag, actor, reason)


def _locked(flag: Flag) -> Flag:
    return (
        Flag.objects.select_for_update(of=("self",))
        .select_related("environment__project")
        .get(pk=flag.pk)
    )


@transaction.atomic
def flag_create(
    *, environment: Environment, key: str, document: FlagDocument, actor: Actor, name: str = "",
    description: str = "", owner: str = "", expected_end: date | None = None, salt: str = "",
    reason: str = "",
) -> Flag:  # fmt: skip
    """A new flag, with a salt of its own unless one is given."""
    if not KEY.fullmatch(key):
        raise ValidationError({"key": KEY_FORM})
    if Flag.objects.filter(environment=environment, key=key).exists():
        raise ValidationError({"key": f"There is already a flag “{key}” here."})
    check(environment, key, document)
    flag = Flag.objects.create(
        environment=environment,
        key=key,
        salt=salt or new_salt(),
        name=name or key,
        description=description,
        owner=owner,
        expected_end=expected_end,
        document=encode_document(document),
    )
    _revise(flag, actor, reason)
    _audit(AuditAction.FLAG_CREATED, flag, actor, after=flag.document, reason=reason)
    bump_config_version(environment)
    return flag


@transaction.atomic
def flag_create_everywhere(
    project: Project, *, key: str, document: FlagDocument, actor: Actor,
    slugs: Collection[str] | None = None, **metadata: Any,
) -> list[Flag]:  # fmt: skip
    """The flag, off, in every environment of the project, or in those that `slugs` names."""
    document = msgspec.structs.replace(document, enabled=False)
    return [
        flag_create(environment=environment, key=key, document=document, actor=actor, **metadata)
        for environment in project.environments.order_by("pk")
        if slugs is None or environment.slug in slugs
    ]


@transaction.atomic
def flag_clone(
    flag: Flag, *, key: str, actor: Actor, name: str = "", same_players: bool = False,
    reason: str = "",
) -> Flag:  # fmt: skip
    """A copy under another key, off. `same_players` copies the salt, so that equal percentages take
    in the same players; else who is in one says nothing about the other."""
    return flag_create(
        environment=flag.environment,
        key=key,
        document=msgspec.structs.replace(flag.spec, enabled=False),
        actor=actor,
        name=name,
        description=flag.description,
        owner=flag.owner,
        expected_end=flag.expected_end,
        salt=flag.salt if same_players else "",
        reason=reason or f"Cloned from {flag.key}",
    )


@transaction.atomic
def flag_update(
    flag: Flag, *, document: FlagDocument, base_revision: int, actor: Actor,
    metadata: Mapping[str, str] | None = None, reason: str = "",
    action: AuditAction = AuditAction.FLAG_UPDATED,
) -> Flag:  # fmt: skip
    """Save a new document, and what of Flag.about is given. Raises RevisionConflict when
    `base_revision` is no longer current."""
    flag = _locked(flag)
    if flag.revision != base_revision:
        raise RevisionConflict(flag)
    check(flag.environment, flag.key, document)
    check_dependents(flag, flag.spec, document)
    before = {**flag.document, **flag.metadata}
    flag.document = encode_document(document)
    _set_metadata(flag, {**flag.metadata, **(metadata or {})})
    old, new = changed_fields(before, {**flag.document, **flag.metadata})
    if not new:
        return flag
    flag.updated_at = timezone.now()
    flag.save(update_fields=["document", *flag.metadata, "updated_at"])
    _revise_next(flag, actor, reason)
    _audit(action, flag, actor, before=old, after=new, reason=reason)
    bump_config_version(flag.environment)
    return flag


def _set_metadata(flag: Flag, metadata: Mapping[str, str]) -> None:
    end = metadata["expected_end"]
    try:
        flag.expected_end = date.fromisoformat(end) if end else None
    except ValueError:
        raise ValidationError({"expected_end": "Give a date like 2026-12-31."}) from None
    flag.name = metadata["name"] or flag.key
    flag.description, flag.owner = metadata["description"], metadata["owner"]


@transaction.atomic
def flag_reorder(
    flag: Flag, rule_ids: Sequence[str], *, base_revision: int, actor: Actor, reason: str = ""
) -> Flag:
    """Ask the rules in another order. Raises ValidationError unless all are named, once each."""
    document = flag.spec
    rules = {rule.id: rule for rule in document.rules}
    if sorted(rule_ids) != sorted(rules):
        raise ValidationError({"document": "Name every rule of the flag once."})
    return flag_update(
        flag,
        document=msgspec.structs.replace(document, rules=tuple(rules[each] for each in rule_ids)),
        base_revision=base_revision,
        actor=actor,
        reason=reason,
    )


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
        metadata=revision.metadata,
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
    _revise_next(flag, actor, reason)
    action = AuditAction.FLAG_ARCHIVED if archived else AuditAction.FLAG_UNARCHIVED
    _audit(
        action, flag, actor, before={"archived": not archived}, after={"archived": archived},
        reason=reason,
    )  # fmt: skip
    bump_config_version(flag.environment)
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
    player.lock()  # the id of an erased player may become an alias
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
        before=_override_audit_fields(player, before),
        after=_override_audit_fields(player, override),
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
        before=_override_audit_fields(player, found),
        after={"player": player.external_id},
        reason=reason,
    )
    FlagOverride.objects.filter(flag=flag, player_id=player.pk).delete()


def _override_audit_fields(player: Player, override: FlagOverride | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"player": player.external_id}
    if override is not None:
        until = override.expires_at.isoformat() if override.expires_at else None
        fields |= {"variant": override.variant, "until": until}
    return fields

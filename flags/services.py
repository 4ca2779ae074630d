"""Writes to flags. Each is one transaction with a revision and an audit entry."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import msgspec
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from flags.details import Details, Link, read_links, read_tags
from flags.engine import change_words
from flags.engine.document import (
    DocumentError,
    FlagDocument,
    decode_document,
    encode_document,
    read_document,
)
from flags.models import ExperimentState, Flag, FlagRevision, new_salt
from flags.validation import check, check_dependents, check_unused
from ilara_admin.core import diff
from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.changes import (
    Conflict,
    bump_config_version,
    create_or_conflict,
    merge_changes,
)
from ilara_admin.core.diff import Change
from ilara_admin.core.path_error import PathError
from ilara_admin.core.projects import check_visible
from ilara_admin.models import AuditAction, AuditEntry, Environment, Project
from segments.keys import KEY, KEY_FORM

type Saved = tuple[Flag, AuditEntry | None]  # None if nothing changed
type Follow = Callable[[Flag, Any, Actor], None]

_followers: list[Follow] = []


def register_follower(follow: Follow) -> None:
    """`follow` gets each flag with a running experiment whose document is saved, the document
    before, and the actor. It runs in the transaction of the save, before the audit entry."""
    if follow not in _followers:
        _followers.append(follow)


def audit(action: AuditAction, flag: Flag, actor: Actor, **details: Any) -> AuditEntry:
    return audit_record(
        action,
        actor,
        environment=flag.environment,
        object_id=flag.key,
        object_name=flag.key,
        **{"whole": whole_of(flag), **details},
    )


def whole_of(flag: Flag) -> dict[str, Any]:
    """What decides what players get, as ChangeItem.whole."""
    document = flag.document if isinstance(flag.document, dict) else {"document": flag.document}
    return {**document, "archived": flag.archived_at is not None}


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
        tags=flag.tags,
        links=flag.links,
        author=actor.user,
        author_name=actor.name,
        reason=reason,
    )


def _revise_next(flag: Flag, actor: Actor, reason: str) -> None:
    flag.revision += 1
    flag.save(update_fields=["revision"])
    _revise(flag, actor, reason)


def locked(flag: Flag) -> Flag:
    found = (
        Flag.objects.select_for_update(of=("self",))
        .select_related("environment__project")
        .filter(pk=flag.pk)
        .first()
    )
    if found is None:
        raise ValidationError(f"The flag “{flag.key}” was deleted.")
    return found


@transaction.atomic
def flag_create(
    *, environment: Environment, key: str, document: FlagDocument, actor: Actor, name: str = "",
    description: str = "", owner: str = "", expected_end: date | None = None,
    tags: Sequence[str] = (), links: Sequence[Link] = (), salt: str = "", reason: str = "",
) -> Flag:  # fmt: skip
    """Create a flag, with a new salt unless one is given."""
    flag = Flag(
        environment=environment,
        key=key,
        salt=salt or new_salt(),
        name=name or key,
        description=description,
        owner=owner,
        expected_end=expected_end,
        tags=_checked("tags", read_tags, tags),
        links=_checked("links", read_links, links),
        document=encode_document(document),
    )
    flag_insert(flag, actor=actor, reason=reason)
    return flag


@transaction.atomic
def flag_insert(flag: Flag, *, actor: Actor, reason: str = "") -> AuditEntry:
    """Insert a flag."""
    environment, key = flag.environment, flag.key
    if not KEY.fullmatch(key):
        raise ValidationError({"key": KEY_FORM})
    check_visible(flag.name)
    check(environment, key, _readable(flag.document))
    taken = ValidationError({"key": f"There is already a flag “{key}” here."})
    create_or_conflict(flag, {"flag_key_unique": taken})
    _revise(flag, actor, reason)
    entry = audit(
        AuditAction.FLAG_CREATED, flag, actor, after=flag.document, reason=reason,
        whole={**whole_of(flag), **flag.details, "_salt": flag.salt},
    )  # fmt: skip
    bump_config_version(environment)
    return entry


@transaction.atomic
def flag_delete(flag: Flag, *, actor: Actor, reason: str = "") -> AuditEntry:
    """Delete a flag with its revisions, for the undo of its creation. Raises ValidationError while
    it is archived, has overrides, or is required by other flags."""
    flag = locked(flag)
    check_unused(flag)
    before = {
        **fields_of(flag),
        "_id": flag.pk,
        "_salt": flag.salt,
        "_created_at": flag.created_at.isoformat(),
        "_updated_at": flag.updated_at.isoformat(),
    }
    entry = audit(AuditAction.FLAG_DELETED, flag, actor, before=before, reason=reason, whole=None)
    environment = flag.environment
    flag.delete()
    bump_config_version(environment)
    return entry


@transaction.atomic
def flag_recreate(
    environment: Environment, key: str, before: Mapping[str, Any], *, actor: Actor, reason: str = ""
) -> AuditEntry:
    """Insert a deleted flag again, with its row's id. `before` is that of the deletion's entry."""
    fields = dict(before)
    flag = Flag(
        environment=environment,
        key=key,
        pk=fields.pop("_id"),
        salt=fields.pop("_salt"),
        created_at=datetime.fromisoformat(fields.pop("_created_at")),
        updated_at=datetime.fromisoformat(fields.pop("_updated_at")),
    )
    _set_details(flag, {name: fields.pop(name) for name in flag.details}, key)
    flag.document = fields
    return flag_insert(flag, actor=actor, reason=reason)


@transaction.atomic
def flag_create_everywhere(
    project: Project, *, key: str, document: FlagDocument, actor: Actor,
    slugs: Collection[str] | None = None, **details: Any,
) -> list[Flag]:  # fmt: skip
    """Create a flag, off, in all environments of the project, or in those of `slugs`."""
    document = msgspec.structs.replace(document, enabled=False)
    return [
        flag_create(environment=environment, key=key, document=document, actor=actor, **details)
        for environment in project.environments.order_by("pk")
        if slugs is None or environment.slug in slugs
    ]


@transaction.atomic
def flag_clone(
    flag: Flag, *, key: str, actor: Actor, name: str = "", same_players: bool = False,
    reason: str = "",
) -> Flag:  # fmt: skip
    """Copy a flag under another key, off, without the groups of its experiments.

    `same_players` copies the salt, so that equal percentages include the same players; else the two
    flags select players independently.
    """
    return flag_create(
        environment=flag.environment,
        key=key,
        document=msgspec.structs.replace(flag.spec.without_groups(), enabled=False),
        actor=actor,
        name=name,
        description=flag.description,
        owner=flag.owner,
        expected_end=flag.expected_end,
        tags=flag.tags,
        links=flag.links,
        salt=flag.salt if same_players else "",
        reason=reason or f"Cloned from {flag.key}",
    )


@transaction.atomic
def flag_update(
    flag: Flag, *, document: FlagDocument, base_revision: int, actor: Actor,
    details: Details | None = None, reason: str = "",
    action: AuditAction = AuditAction.FLAG_UPDATED,
) -> Saved:  # fmt: skip
    """Save a new document, and `details` if given. Raises Conflict if `base_revision` is no longer
    current."""
    flag = locked(flag)
    described = {**flag.details, **(details or {})}
    check_revision(flag, base_revision, document, described)
    check(flag.environment, flag.key, document)
    check_dependents(flag, document)
    return _save(
        flag, encode_document(document), described, actor=actor, reason=reason, action=action
    )


def _save(
    flag: Flag, document: Any, details: Details, *, actor: Actor, reason: str,
    action: AuditAction,
) -> Saved:  # fmt: skip
    before, name, old_document = fields_of(flag), flag.name, flag.document
    flag.document = document
    if details != flag.details:
        _set_details(flag, details, flag.key)
    if flag.name != name:
        check_visible(flag.name)
    old, new = changed_fields(before, fields_of(flag))
    if not new and not old:
        return flag, None
    flag.updated_at = timezone.now()
    flag.save(update_fields=["document", *flag.details, "updated_at"])
    _revise_next(flag, actor, reason)
    if flag.experiments.filter(state=ExperimentState.RUNNING).exists():
        for follow in _followers:
            follow(flag, old_document, actor)
    entry = audit(action, flag, actor, before=old, after=new, reason=reason)
    bump_config_version(flag.environment)
    return flag, entry


def fields_of(flag: Flag) -> dict[str, Any]:
    """The fields of the audit log: the parts of the document and the details."""
    document = flag.document if isinstance(flag.document, dict) else {"document": flag.document}
    return {**document, **flag.details}


def check_revision(flag: Flag, base: int, document: FlagDocument, details: Details) -> None:
    """Raise Conflict unless `base`, the edited revision, is current."""
    if flag.revision == base:
        return
    was = flag.revisions.filter(number=base).first()
    wanted = FlagRevision(document=encode_document(document))
    _set_details(wanted, details, flag.key)
    raise Conflict(
        "flag",
        flag.key,
        flag.key,
        theirs=differences(was, flag) if was else [],
        yours=differences(flag, wanted),
        current=flag.revision,
    )


def differences(
    before: Flag | FlagRevision, after: Flag | FlagRevision, at: datetime | None = None
) -> list[Change]:
    """The differences as text, as they read at a time, by default now; of the raw JSON where a
    document cannot be read."""
    at = timezone.localtime(at)
    try:
        documents = read_document(before.document), read_document(after.document)
    except DocumentError:
        found = diff.differences(before.document, after.document, "flag", at=at)
    else:
        found = change_words.differences(*documents, at)
    found += change_words.field_differences(before.details, after.details, at)
    if isinstance(before, FlagRevision) and isinstance(after, FlagRevision):
        found += change_words.field_differences(
            {"archived": before.archived}, {"archived": after.archived}, at
        )
    return found


def _set_details(flag: Flag | FlagRevision, details: Details, key: str) -> None:
    end = details["expected_end"]
    try:
        flag.expected_end = date.fromisoformat(end) if end else None
    except ValueError:
        raise ValidationError({"expected_end": "Give a date like 2026-12-31."}) from None
    flag.name = details["name"] or key
    flag.description, flag.owner = details["description"], details["owner"]
    flag.tags = _checked("tags", read_tags, details["tags"])
    flag.links = _checked("links", read_links, details["links"])


def _checked[T](name: str, read: Callable[[Any], T], value: Any) -> T:
    try:
        return read(value)
    except PathError as error:
        raise ValidationError({name: error.message}) from None


@transaction.atomic
def flag_set_details(
    flag: Flag, details: Details, *, actor: Actor, seen: Details | None = None, reason: str = ""
) -> Saved:
    """Set some of the details, even if the document cannot be read. Raises Conflict if one of them
    is neither as wanted nor as in `seen`, the details that the actor saw."""
    flag = locked(flag)
    now = flag.details
    changed = merge_changes("flag", flag.key, flag.key, seen=seen, now=now, wanted=details)
    return _save(
        flag, flag.document, {**now, **changed}, actor=actor, reason=reason,
        action=AuditAction.FLAG_UPDATED,
    )  # fmt: skip


@transaction.atomic
def flag_reorder(
    flag: Flag, rule_ids: Sequence[str], *, base_revision: int, actor: Actor, reason: str = ""
) -> Saved:
    """Reorder the rules. Raises ValidationError unless `rule_ids` has each rule once."""
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
def flag_set_enabled(flag: Flag, enabled: bool, *, actor: Actor, reason: str = "") -> Saved:
    """Turn a flag on or off. It applies to the current revision, so it never raises Conflict.
    Turning off works even if the document cannot be read."""
    flag = locked(flag)
    if not isinstance(flag.document, dict):
        raise ValidationError({"document": "The document is not an object. Restore a revision."})
    document = {**flag.document, "enabled": enabled}
    if enabled:
        check(flag.environment, flag.key, _readable(document))
    action = AuditAction.FLAG_ENABLED if enabled else AuditAction.FLAG_DISABLED
    return _save(flag, document, flag.details, actor=actor, reason=reason, action=action)


@transaction.atomic
def flag_restore(
    flag: Flag, number: int, *, base_revision: int, actor: Actor, reason: str = ""
) -> Saved:
    """Save an old revision as a new one."""
    revision = flag.revisions.get(number=number)
    return flag_update(
        flag,
        document=_readable(revision.document),
        details=revision.details,
        base_revision=base_revision,
        actor=actor,
        reason=reason or f"Restored revision {number}",
        action=AuditAction.FLAG_RESTORED,
    )


@transaction.atomic
def flag_set_fields(
    flag: Flag,
    fields: Mapping[str, Any],
    absent: Collection[str],
    *,
    actor: Actor,
    reason: str = "",
    action: AuditAction = AuditAction.FLAG_UPDATED,
) -> Saved:
    """Set some of fields_of a flag and remove those in `absent`; other fields stay."""
    flag = locked(flag)
    now = {name: value for name, value in fields_of(flag).items() if name not in absent}
    document = {**now, **fields}
    details = {name: document.pop(name) for name in flag.details}
    return flag_update(
        flag,
        document=_readable(document),
        details=details,
        base_revision=flag.revision,
        actor=actor,
        reason=reason,
        action=action,
    )


def _readable(document: Any) -> FlagDocument:
    try:
        return decode_document(document)
    except DocumentError as error:
        raise ValidationError({"document": str(error)}) from None


@transaction.atomic
def flag_set_archived(
    flag: Flag, archived: bool, *, actor: Actor, at: datetime | None = None,
    archives_at: datetime | None = None, reason: str = "",
) -> Saved:  # fmt: skip
    """Archive or unarchive a flag. An archived flag serves its off value. `at` is the time of
    archiving, by default now. `archives_at` is the end of the shadow period of an unarchived
    flag."""
    flag = locked(flag)
    if (flag.archived_at is not None) == archived:
        return flag, None
    before = archived_fields(flag)
    flag.archived_at = (at or timezone.now()) if archived else None
    flag.archives_at = None if archived else archives_at
    flag.save(update_fields=["archived_at", "archives_at"])
    _revise_next(flag, actor, reason)
    action = AuditAction.FLAG_ARCHIVED if archived else AuditAction.FLAG_UNARCHIVED
    old, new = changed_fields(before, archived_fields(flag))
    entry = audit(action, flag, actor, before=old, after=new, reason=reason)
    bump_config_version(flag.environment)
    return flag, entry


def archived_fields(flag: Flag) -> dict[str, Any]:
    at = flag.archived_at
    archived = {"archived": at is not None, "_archived_at": at.isoformat() if at else None}
    return {**archived, **shadow_fields(flag)}


def shadow_fields(flag: Flag) -> dict[str, Any]:
    return {"archives_at": flag.archives_at.isoformat() if flag.archives_at else None}

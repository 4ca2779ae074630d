"""Writes to segments. Lock order: segments_lock, then segment rows."""

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.changes import Conflict, bump_config_version, create_or_conflict
from ilara_admin.core.diff import differences
from ilara_admin.core.projects import check_visible
from ilara_admin.models import AuditAction, AuditEntry, Environment
from segments.keys import KEY, KEY_FORM
from segments.language.parser import Group, RuleError, parse, segments_in, segments_named
from segments.language.references import check_references
from segments.lists.services import lists_keep
from segments.models import Segment
from segments.recounts import size_forget, size_want
from segments.usage import named, users_of

SEGMENTS_LOCK = 0x5E6  # first key of the advisory lock; the second is the environment's id


def fields_of(segment: Segment) -> dict[str, Any]:
    return {
        "key": segment.key,
        "name": segment.name,
        "description": segment.description,
        "rule": segment.rule,
    }


def created_fields(segment: Segment) -> dict[str, Any]:
    """Includes the number of ids on lists, which a restored segment has."""
    listed = segment.included + segment.excluded
    return fields_of(segment) | ({"ids on lists": listed} if listed else {})


def segments_lock(environment: Environment) -> None:
    """Serialise changes to an environment's segments: two concurrent ones could close a cycle that
    neither check finds, or use the same key. Take it before row locks on segments."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [SEGMENTS_LOCK, environment.pk])


def check_rule(environment: Environment, rule: Any, key: str = "") -> Group:
    """Parse and check the rule of the segment `key`. Raises ValidationError with the place and the
    message, also as its params `path` and `message`: for a rule that cannot be parsed, a segment
    that does not exist, or a cycle.

    Call it under segments_lock in the transaction that stores the rule.
    """
    try:
        parsed = parse(rule)
        if wanted := segments_in(parsed):
            rules = Segment.objects.filter(environment=environment).values_list("key", "rule")
            references = {other: segments_named(document) for other, document in rules}
            check_references(key, rule, {**references, key: wanted})
    except RuleError as error:
        text = "%(path)s: %(message)s" if error.path else "%(message)s"
        params = {"path": error.path, "message": error.message}
        raise ValidationError({"rule": ValidationError(text, params=params)}) from None
    return parsed


def _audit(action: AuditAction, segment: Segment, actor: Actor, **details: Any) -> AuditEntry:
    return audit_record(
        action,
        actor,
        environment=segment.environment,
        object_id=segment.key,
        object_name=segment.key,
        **{"whole": {"rule": segment.rule}, **details},
    )


def locked(segment: Segment) -> Segment:
    found = (
        Segment.objects.select_for_update(of=("self",))
        .select_related("environment__project")
        .filter(pk=segment.pk)
        .first()
    )
    if found is None:
        raise ValidationError(f"The segment “{segment.key}” was deleted.")
    return found


def segment_create(
    *, environment: Environment, key: str, name: str, rule: Any, actor: Actor,
    description: str = "", reason: str = "",
) -> Segment:  # fmt: skip
    segment = Segment(
        environment=environment, key=key, name=name, description=description, rule=rule
    )
    segment_insert(segment, actor=actor, reason=reason)
    return segment


@transaction.atomic
def segment_insert(segment: Segment, *, actor: Actor, reason: str = "") -> AuditEntry:
    """Insert a segment."""
    environment, key = segment.environment, segment.key
    if not KEY.fullmatch(key):
        raise ValidationError({"key": KEY_FORM})
    segments_lock(environment)
    check_rule(environment, segment.rule, key)
    segment.name = segment.name or key
    check_visible(segment.name)
    taken = ValidationError({"key": f"A segment “{key}” already exists in this environment."})
    create_or_conflict(segment, {"segment_key_unique": taken})
    size_want(segment)
    entry = _audit(
        AuditAction.SEGMENT_CREATED, segment, actor, after=created_fields(segment), reason=reason
    )
    bump_config_version(environment)
    return entry


@transaction.atomic
def segment_update(
    segment: Segment, *, name: str, rule: Any, description: str, actor: Actor, reason: str = "",
    base: datetime | None = None,
) -> AuditEntry | None:  # fmt: skip
    """Change a segment in place; flags that use it follow on the next request.

    Returns None if nothing changed. Raises Conflict if `base` is not the time at which the segment
    was last saved.
    """
    segments_lock(segment.environment)
    check_rule(segment.environment, rule, segment.key)
    segment = locked(segment)
    before = fields_of(segment)
    if base is not None and segment.updated_at != base:
        wanted = {"name": name or segment.key, "rule": rule, "description": description}
        raise _conflict(segment, before, {**before, **wanted}, base)
    segment.name, segment.rule, segment.description = name or segment.key, rule, description
    if segment.name != before["name"]:
        check_visible(segment.name)
    old, new = changed_fields(before, fields_of(segment))
    if not new:
        return None
    segment.updated_at = timezone.now()
    segment.save(update_fields=["name", "rule", "description", "updated_at"])
    if "rule" in new:
        size_forget(segment)
        size_want(segment, members_changed=True)
    entry = _audit(
        AuditAction.SEGMENT_UPDATED, segment, actor, before=old, after=new, reason=reason
    )
    bump_config_version(segment.environment)
    return entry


def _conflict(
    segment: Segment, now: dict[str, Any], wanted: dict[str, Any], base: datetime
) -> Conflict:
    """Segments have no revisions: the changes since `base` are taken from the audit log."""
    entries = AuditEntry.objects.filter(
        environment=segment.environment_id,
        action=AuditAction.SEGMENT_UPDATED,
        object_id=segment.key,
        created_at__gte=base,
    )
    was = dict(now)
    for before in entries.order_by("-id").values_list("before", flat=True):
        was |= before or {}
    return Conflict(
        "segment",
        segment.key,
        segment.key,
        theirs=differences(was, now, "segment"),
        yours=differences(now, wanted, "segment"),
        current=segment.updated_at.isoformat(),
    )


@transaction.atomic
def segment_delete(segment: Segment, *, actor: Actor, reason: str = "") -> AuditEntry:
    """Delete a segment. Raises ValidationError while something uses it."""
    segments_lock(segment.environment)
    # A flag save that adds a use of this segment holds the same row lock until it commits.
    segment = locked(segment)
    used_by = users_of(segment.environment, segment.key)
    if used_by:
        raise ValidationError(
            f"The segment “{segment.key}” is used by {named(used_by)}. Change those first."
        )
    before = {
        **fields_of(segment),
        "_id": segment.pk,
        "_created_at": segment.created_at.isoformat(),
    }
    if lists := lists_keep(segment):
        before["_lists"] = lists
    action = AuditAction.SEGMENT_DELETED
    entry = _audit(action, segment, actor, before=before, reason=reason, whole=None)
    environment = segment.environment
    segment.delete()
    bump_config_version(environment)
    return entry

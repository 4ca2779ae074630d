"""Writes to segments. Lock order: segments_lock, then segment rows."""

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.json_equality import json_equal
from ilara_admin.core.projects import bump_config_version
from ilara_admin.models import AuditAction, AuditEntry, Environment
from segments.keys import KEY, KEY_FORM
from segments.language.parser import Group, RuleError, parse, segments_in, segments_named
from segments.language.references import check_references
from segments.lists.services import lists_bring_back, lists_keep
from segments.models import Segment
from segments.tasks import size_forget, size_want
from segments.usage import named, users_of_segments

SEGMENTS_LOCK = 0x5E6  # first key of the advisory lock; the second is the environment's id


class SegmentConflict(Exception):
    """The segment was saved by someone else after the editor was opened."""

    def __init__(self, segment: Segment) -> None:
        super().__init__(f"The segment {segment.key} was changed by someone else in the meantime.")
        self.segment = segment


def _audit_fields(segment: Segment) -> dict[str, Any]:
    return {
        "key": segment.key,
        "name": segment.name,
        "description": segment.description,
        "rule": segment.rule,
    }


def segments_lock(environment: Environment) -> None:
    """Serialise changes to an environment's segments: two concurrent ones could close a cycle that
    neither sees, or use the same key. Take it before row locks on segments."""
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
        **details,
    )


def _locked(segment: Segment) -> Segment:
    found = (
        Segment.objects.select_for_update(of=("self",))
        .select_related("environment__project")
        .filter(pk=segment.pk)
        .first()
    )
    if found is None:
        raise ValidationError(f"The segment “{segment.key}” was deleted.")
    return found


@transaction.atomic
def segment_create(
    *, environment: Environment, key: str, name: str, rule: Any, actor: Actor,
    description: str = "", reason: str = "",
) -> Segment:  # fmt: skip
    if not KEY.fullmatch(key):
        raise ValidationError({"key": KEY_FORM})
    segments_lock(environment)
    if Segment.objects.filter(environment=environment, key=key).exists():
        raise ValidationError({"key": f"A segment “{key}” already exists in this environment."})
    check_rule(environment, rule, key)
    segment = Segment.objects.create(
        environment=environment, key=key, name=name or key, description=description, rule=rule
    )
    size_want(segment)
    _audit(AuditAction.SEGMENT_CREATED, segment, actor, after=_audit_fields(segment), reason=reason)
    bump_config_version(environment)
    return segment


@transaction.atomic
def segment_update(
    segment: Segment, *, name: str, rule: Any, description: str, actor: Actor, reason: str = "",
    base: datetime | None = None,
) -> AuditEntry | None:  # fmt: skip
    """Change a segment in place; flags that use it follow on the next request.

    Returns the audit entry, or None when nothing changed. Raises SegmentConflict when `base` is not
    the time at which the segment was last saved.
    """
    segments_lock(segment.environment)
    check_rule(segment.environment, rule, segment.key)
    segment = _locked(segment)
    if base is not None and segment.updated_at != base:
        raise SegmentConflict(segment)
    before = _audit_fields(segment)
    segment.name, segment.rule, segment.description = name or segment.key, rule, description
    old, new = changed_fields(before, _audit_fields(segment))
    if not new:
        return None
    segment.updated_at = timezone.now()
    segment.save(update_fields=["name", "rule", "description", "updated_at"])
    if "rule" in new:
        size_forget(segment)
        size_want(segment)
    entry = _audit(
        AuditAction.SEGMENT_UPDATED, segment, actor, before=old, after=new, reason=reason
    )
    bump_config_version(segment.environment)
    return entry


@transaction.atomic
def segment_delete(segment: Segment, *, actor: Actor, reason: str = "") -> AuditEntry:
    """Delete a segment. Raises ValidationError while something uses it."""
    segments_lock(segment.environment)
    # A flag save that adds a use of this segment holds the same row lock until it commits.
    segment = _locked(segment)
    used_by = users_of_segments(segment.environment).get(segment.key)
    if used_by:
        raise ValidationError(
            f"The segment “{segment.key}” is used by {named(used_by)}. Change those first."
        )
    before = _audit_fields(segment)
    if lists := lists_keep(segment):
        before["lists"] = lists
    entry = _audit(AuditAction.SEGMENT_DELETED, segment, actor, before=before, reason=reason)
    environment = segment.environment
    segment.delete()
    bump_config_version(environment)
    return entry


@transaction.atomic
def segment_undo(environment: Environment, entry: AuditEntry, *, actor: Actor) -> None:
    """Undo an update or a deletion. Raises ValidationError if the fields changed since."""
    segments_lock(environment)
    before, after = dict(entry.before or {}), entry.after or {}
    if entry.action == AuditAction.SEGMENT_DELETED:
        lists = before.pop("lists", None)
        made = segment_create(environment=environment, **before, actor=actor, reason="Undone")
        if lists:
            lists_bring_back(made, lists)
        return
    found = Segment.objects.filter(environment=environment, key=entry.object_id).first()
    fields = _audit_fields(_locked(found)) if found else {}
    if found is None or any(not json_equal(fields[name], value) for name, value in after.items()):
        raise ValidationError(f"{entry.object_id} has changed since. Review it before you undo.")
    del fields["key"]
    segment_update(found, **{**fields, **before}, actor=actor, reason="Undone")

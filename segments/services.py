"""Writes to segments."""

import re
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from ilara_admin.audit import Actor, audit_record, changes
from ilara_admin.models import AuditAction, AuditEntry, Environment
from ilara_admin.services import environment_bump
from segments.lists import lists_bring_back, lists_keep
from segments.models import Segment
from segments.rules import Group, RuleError, find_cycle, parse, segments_in, segments_named
from segments.tasks import size_forget, size_want
from segments.usage import named, users_of_segments

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
RULES_LOCK = 0x5E6  # the first of two keys of an advisory lock; the second is the environment
KEY_FORM = "Use 1 to 128 letters, digits, dots, hyphens and underscores, a letter or digit first."


class SegmentConflict(Exception):
    """Somebody saved the segment after the editor had opened it."""

    def __init__(self, segment: Segment) -> None:
        super().__init__(f"The segment {segment.key} was saved by somebody else meanwhile.")
        self.segment = segment


def _facts(segment: Segment) -> dict[str, Any]:
    return {
        "key": segment.key,
        "name": segment.name,
        "description": segment.description,
        "rule": segment.rule,
    }


def check_rule(environment: Environment, rule: Any, key: str = "") -> Group:
    """The rule, read. Raises ValidationError with the place of what is wrong in it (and as its
    params `path` and `message`): a segment that is not there, or one that leads back to the segment
    `key` whose rule this will be.

    Call it in the transaction that stores the rule, before locks on rows: two rules saved at once
    must not close a circle, and what is named must not be deleted before this is stored.
    """
    try:
        parsed = parse(rule)
        wanted = segments_in(parsed)
        if wanted:
            _check_segments(environment, rule, parsed, wanted, key)
    except RuleError as error:
        text = "%(path)s: %(message)s" if error.path else "%(message)s"
        params = {"path": error.path, "message": error.message}
        raise ValidationError({"rule": ValidationError(text, params=params)}) from None
    return parsed


def _check_segments(
    environment: Environment, document: Any, rule: Group, wanted: set[str], key: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [RULES_LOCK, environment.pk])
    segments = Segment.objects.filter(environment=environment)
    found = segments.filter(key__in=wanted).order_by("id").select_for_update(no_key=True)
    missing = wanted - {segment.key for segment in found} - {key}
    for absent in sorted(missing):
        message = f"There is no segment “{absent}” in this environment."
        raise RuleError(_place_of(document, absent), message)
    asks = {item.key: segments_named(item.rule) for item in segments}
    cycle = find_cycle(key, asks | {key: wanted}) if key else None
    if cycle:
        path = " → ".join(cycle)
        raise RuleError(
            _place_of(document, cycle[1]), f"A segment must not lead back to itself: {path}."
        )


def _place_of(document: Any, key: str, path: str = "") -> str:
    """Where in a document a segment is named."""
    for index, item in enumerate(document["conditions"]):
        place = f"{path}.conditions[{index}]" if path else f"conditions[{index}]"
        if "conditions" in item:
            if found := _place_of(item, key, place):
                return found
        elif item.get("field") == "segment" and key in item["value"]:
            return f"{place}.value"
    return ""


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
    return (
        Segment.objects.select_for_update(of=("self",))
        .select_related("environment__project")
        .get(pk=segment.pk)
    )


@transaction.atomic
def segment_create(
    *, environment: Environment, key: str, name: str, rule: Any, actor: Actor,
    description: str = "", reason: str = "",
) -> Segment:  # fmt: skip
    if not KEY.fullmatch(key):
        raise ValidationError({"key": KEY_FORM})
    if Segment.objects.filter(environment=environment, key=key).exists():
        raise ValidationError({"key": f"There is already a segment “{key}” here."})
    check_rule(environment, rule, key)
    segment = Segment.objects.create(
        environment=environment, key=key, name=name or key, description=description, rule=rule
    )
    size_want(segment)
    _audit(AuditAction.SEGMENT_CREATED, segment, actor, after=_facts(segment), reason=reason)
    environment_bump(environment)
    return segment


@transaction.atomic
def segment_update(
    segment: Segment, *, name: str, rule: Any, description: str, actor: Actor, reason: str = "",
    base: datetime | None = None,
) -> AuditEntry | None:  # fmt: skip
    """Change a segment in place; flags that name it follow on the next request.

    Answers with the entry in the audit log, or None when everything was so already. Raises
    SegmentConflict when `base` is not the time at which the segment was last saved.
    """
    check_rule(segment.environment, rule, segment.key)
    segment = _locked(segment)
    if base is not None and segment.updated_at != base:
        raise SegmentConflict(segment)
    before = _facts(segment)
    segment.name, segment.rule, segment.description = name or segment.key, rule, description
    old, new = changes(before, _facts(segment))
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
    environment_bump(segment.environment)
    return entry


@transaction.atomic
def segment_delete(segment: Segment, *, actor: Actor, reason: str = "") -> AuditEntry:
    """Remove a segment. What uses it must change first."""
    # Whoever saves something that names the segment locks it, too, until that is stored.
    segment = _locked(segment)
    used_by = users_of_segments(segment.environment).get(segment.key)
    if used_by:
        raise ValidationError(
            f"The segment “{segment.key}” is used by {named(used_by)}. Change those first."
        )
    before = _facts(segment)
    if lists := lists_keep(segment):
        before["lists"] = lists
    entry = _audit(AuditAction.SEGMENT_DELETED, segment, actor, before=before, reason=reason)
    environment = segment.environment
    segment.delete()
    environment_bump(environment)
    return entry


@transaction.atomic
def segment_undo(environment: Environment, entry: AuditEntry, *, actor: Actor) -> None:
    """Put back what a change or a deletion took away. What was changed since is left alone."""
    before, after = dict(entry.before or {}), entry.after or {}
    if entry.action == AuditAction.SEGMENT_DELETED:
        lists = before.pop("lists", None)
        made = segment_create(environment=environment, **before, actor=actor, reason="Undone")
        if lists:
            lists_bring_back(made, lists)
        return
    found = Segment.objects.filter(environment=environment, key=entry.object_id).first()
    facts = _facts(_locked(found)) if found else {}
    if found is None or any(facts[name] != value for name, value in after.items()):
        raise ValidationError(f"{entry.object_id} was changed since. Look at it before you undo.")
    del facts["key"]
    segment_update(found, **{**facts, **before}, actor=actor, reason="Undone")

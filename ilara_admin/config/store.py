"""The configuration of an environment: read from the database, changed through services."""

from collections.abc import Mapping
from datetime import date

from django.core.exceptions import ValidationError
from django.db import transaction

from flags.engine.document import DocumentError, encode_document
from flags.models import Flag
from flags.services import flag_create, flag_set_archived, flag_update
from ilara_admin.config.document import (
    Config,
    ConfigEntry,
    ConfigError,
    details_of,
    document_of,
    place,
)
from ilara_admin.config.plan import Plan, PlanAction, PlanStep
from ilara_admin.core.audit import Actor
from ilara_admin.core.changes import Conflict
from ilara_admin.core.diff import Change, differences
from ilara_admin.core.json_equality import json_equal
from ilara_admin.core.path_error import PathError
from ilara_admin.models import Environment
from segments.models import Segment
from segments.services import segment_create, segment_delete, segment_update, segments_lock


def read_config(environment: Environment, key: str | None = None) -> Config:
    """The flags and segments of an environment, or those with this key."""
    named = {} if key is None else {"key": key}
    segments = {
        segment.key: {
            "name": segment.name, "description": segment.description, "rule": segment.rule,
        }
        for segment in Segment.objects.filter(environment=environment, **named)
    }  # fmt: skip
    flags = {flag.key: _flag_entry(flag) for flag in Flag.objects.of(environment).filter(**named)}
    return Config({"segments": segments, "flags": flags})


def _flag_entry(flag: Flag) -> ConfigEntry:
    try:
        document = encode_document(flag.spec)
    except DocumentError:
        document = flag.document if isinstance(flag.document, dict) else {"document": flag.document}
    return {**flag.details, "archived": flag.archived_at is not None, **document}


@transaction.atomic
def apply_plan(
    environment: Environment, plan: Plan, *, actor: Actor, reason: str = "",
    salts: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Apply all steps or none. `salts` are those of new flags by key, by default new ones. Raises
    Conflict if the environment no longer matches the plan's base, and ConfigError if a service
    refuses a step."""
    # The lock order of the services: flags, segments, the environment's row last.
    if "flags" in plan.base.kinds:
        flags = Flag.objects.of(environment).order_by("pk")
        list(flags.select_for_update(no_key=True).values_list("pk"))
    segments_lock(environment)
    segments = Segment.objects.filter(environment=environment).order_by("pk")
    list(segments.select_for_update(no_key=True).values_list("pk"))
    now = read_config(environment)
    seen = {kind: dict(base) for kind, base in plan.base.kinds.items()}
    current = {kind: now.entries(kind) for kind in seen}
    if not json_equal(current, seen):
        raise _conflict(environment, differences(seen, current))
    for step in plan.steps:
        try:
            if step.kind == "segments":
                _change_segment(environment, step, actor, reason)
            else:
                salt = (salts or {}).get(step.key, "")
                _change_flag(environment, step, actor, reason, salt)
        except ValidationError as error:
            if hasattr(error, "error_dict") and "key" in error.error_dict:  # created since
                raise _conflict(environment, [Change(step.key, "", error.messages[0])]) from None
            message = " ".join(error.messages)
            raise ConfigError([PathError(place(step.kind, step.key), message)]) from None


def _conflict(environment: Environment, theirs: list[Change]) -> Conflict:
    return Conflict("environment", environment.pk, str(environment), theirs=theirs, yours=[])


def _change_segment(environment: Environment, step: PlanStep, actor: Actor, reason: str) -> None:
    if step.action is PlanAction.CREATE:
        segment_create(
            environment=environment, key=step.key, **(step.entry or {}), actor=actor, reason=reason
        )
        return
    segment = Segment.objects.select_related("environment__project").get(
        environment=environment, key=step.key
    )
    if step.entry is None:
        segment_delete(segment, actor=actor, reason=reason)
    else:
        segment_update(segment, **step.entry, actor=actor, reason=reason)


def _change_flag(
    environment: Environment, step: PlanStep, actor: Actor, reason: str, salt: str
) -> None:
    flags = Flag.objects.of(environment).select_related("environment__project")
    if step.entry is None:
        flag_set_archived(flags.get(key=step.key), True, actor=actor, reason=reason)
        return
    document, details = document_of(step.entry), details_of(step.entry)
    if step.action is PlanAction.CREATE:
        end = details.pop("expected_end")
        flag = flag_create(
            environment=environment, key=step.key, document=document, **details,
            expected_end=date.fromisoformat(end) if end else None, salt=salt, actor=actor,
            reason=reason,
        )  # fmt: skip
    else:
        flag = flags.get(key=step.key)
        flag, _ = flag_update(
            flag, document=document, details=details, base_revision=flag.revision, actor=actor,
            reason=reason,
        )  # fmt: skip
    flag_set_archived(flag, step.entry["archived"], actor=actor, reason=reason)

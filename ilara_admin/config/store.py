"""The configuration of an environment: read from the database, changed through services."""

from collections.abc import Callable, Mapping
from datetime import date

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from flags.engine.document import DocumentError, encode_document
from flags.models import Flag
from flags.services import flag_create, flag_set_archived, flag_update
from ilara_admin.config.document import (
    Config,
    ConfigEntries,
    ConfigEntry,
    ConfigError,
    Fault,
    document_of,
    metadata_of,
    place,
)
from ilara_admin.config.plan import Plan, PlanAction, PlanStep
from ilara_admin.core.audit import Actor
from ilara_admin.core.json_equality import json_equal
from ilara_admin.models import Environment
from segments.models import Segment
from segments.services import segment_create, segment_delete, segment_update, segments_lock


class ConfigConflict(Exception):
    """The environment was changed after the plan was made."""


def read_config(environment: Environment) -> Config:
    return Config({kind: read_kind(environment) for kind, read_kind in _READERS.items()})


@transaction.atomic
def apply_plan(environment: Environment, plan: Plan, *, actor: Actor, reason: str = "") -> None:
    """Apply all steps or none. Raises ConfigConflict if the environment no longer matches the
    plan's base, and ConfigError if a service refuses a step."""
    # The lock order of the services: flags, segments, the environment's row last.
    if "flags" in plan.base.kinds:
        flags = Flag.objects.of(environment).order_by("pk")
        list(flags.select_for_update(no_key=True).values_list("pk"))
    segments_lock(environment)
    segments = Segment.objects.filter(environment=environment).order_by("pk")
    list(segments.select_for_update(no_key=True).values_list("pk"))
    now = read_config(environment)
    if any(not json_equal(now.entries(kind), base) for kind, base in plan.base.kinds.items()):
        raise ConfigConflict
    for step in plan.steps:
        change = _change_segment if step.kind == "segments" else _change_flag
        try:
            change(environment, step, actor, reason)
        except ValidationError as error:
            message = " ".join(error.messages)
            raise ConfigError([Fault(place(step.kind, step.key), message)]) from None
        except IntegrityError:
            raise ConfigConflict from None  # a flag with this key was created concurrently


# --- Read ---------------------------------------------------------------------------------------


def _read_segments(environment: Environment) -> ConfigEntries:
    found: ConfigEntries = {}
    for segment in Segment.objects.filter(environment=environment):
        found[segment.key] = {
            "name": segment.name,
            "description": segment.description,
            "rule": segment.rule,
        }
    return found


def _read_flags(environment: Environment) -> ConfigEntries:
    return {flag.key: _flag_entry(flag) for flag in Flag.objects.of(environment)}


def _flag_entry(flag: Flag) -> ConfigEntry:
    try:
        document = encode_document(flag.spec)
    except DocumentError:
        document = flag.document
    return {**flag.metadata, "archived": flag.archived_at is not None, **document}


_READERS: Mapping[str, Callable[[Environment], ConfigEntries]] = {
    "segments": _read_segments,
    "flags": _read_flags,
}


# --- Change -------------------------------------------------------------------------------------


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


def _change_flag(environment: Environment, step: PlanStep, actor: Actor, reason: str) -> None:
    if step.action is PlanAction.CREATE:
        flag = _create_flag(environment, step.key, step.entry or {}, actor, reason)
    else:
        flag = Flag.objects.select_related("environment__project").get(
            environment=environment, key=step.key
        )
    if step.entry is None:
        flag_set_archived(flag, True, actor=actor, reason=reason)
        return
    if step.action is PlanAction.CHANGE:
        flag = flag_update(
            flag,
            document=document_of(step.entry),
            metadata=metadata_of(step.entry),
            base_revision=flag.revision,
            actor=actor,
            reason=reason,
        )
    flag_set_archived(flag, step.entry["archived"], actor=actor, reason=reason)


def _create_flag(
    environment: Environment, key: str, entry: ConfigEntry, actor: Actor, reason: str
) -> Flag:
    metadata = metadata_of(entry)
    end = metadata.pop("expected_end")
    return flag_create(
        environment=environment,
        key=key,
        document=document_of(entry),
        **metadata,
        expected_end=date.fromisoformat(end) if end else None,
        actor=actor,
        reason=reason,
    )

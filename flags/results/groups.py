"""Writes to experiment groups. Each is one transaction with an audit entry.

The holdout may grow over free buckets only, so that no experiment loses players; it may shrink at
any time, which frees its highest buckets. The salt never changes. Requests see a group only through
the rules of its running experiments, so no write here bumps the configuration version.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from flags.engine.document import EVERYBODY
from flags.models import Experiment, ExperimentGroup
from flags.results.experiments import experiment_update, locked
from flags.results.group_ranges import gaps, locked_group, lowest_free, ranges_of
from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.changes import Fields, create_or_conflict, merge_changes
from ilara_admin.core.percentages import percent
from ilara_admin.core.projects import check_visible
from ilara_admin.models import AuditAction, AuditEntry, Environment
from segments.keys import KEY, KEY_FORM

type SavedGroup = tuple[ExperimentGroup, AuditEntry | None]  # None if nothing changed

MAX_NAME = 200


def fields_of(group: ExperimentGroup) -> dict[str, Any]:
    """The fields that staff set, as the audit log stores them."""
    return {"name": group.name, "holdout": group.holdout}


def _audit(action: AuditAction, group: ExperimentGroup, actor: Actor, **details: Any) -> AuditEntry:
    return audit_record(
        action,
        actor,
        environment=group.environment,
        object_id=group.key,
        object_name=group.key,
        **details,
    )


def _check(group: ExperimentGroup) -> None:
    if "\0" in group.name or len(group.name) > MAX_NAME:
        raise ValidationError({"name": f"Use at most {MAX_NAME} characters, without NUL."})
    check_visible(group.name)
    if not 0 <= group.holdout < EVERYBODY:
        raise ValidationError({"holdout": "Give a percentage from 0 to below 100."})
    owned = ranges_of(group) if group.pk else []
    if owned and owned[0].start < group.holdout:
        first = owned[0]
        raise ValidationError(
            {
                "holdout": f"{first.experiment.key} has the players from {percent(first.start)} "
                f"on. Use at most {percent(first.start)}."
            }
        )


@transaction.atomic
def group_create(
    *, environment: Environment, key: str, actor: Actor, name: str = "", holdout: int = 0,
    reason: str = "",
) -> ExperimentGroup:  # fmt: skip
    """Create a group. `holdout` is in thousandths of a percent."""
    group = ExperimentGroup(environment=environment, key=key, name=name or key, holdout=holdout)
    group_insert(group, actor=actor, reason=reason)
    return group


@transaction.atomic
def group_insert(group: ExperimentGroup, *, actor: Actor, reason: str = "") -> AuditEntry:
    """Insert a group."""
    if not KEY.fullmatch(group.key):
        raise ValidationError({"key": KEY_FORM})
    _check(group)
    taken = ValidationError({"key": f"There is already a group “{group.key}” here."})
    create_or_conflict(group, {"experiment_group_unique": taken})
    return _audit(
        AuditAction.EXPERIMENT_GROUP_CREATED, group, actor, after=fields_of(group), reason=reason
    )


@transaction.atomic
def group_update(
    group: ExperimentGroup, fields: Fields, *, actor: Actor, seen: Fields | None = None,
    reason: str = "",
) -> SavedGroup:  # fmt: skip
    """Set some of fields_of a group.

    Raises Conflict if one of the fields is neither as wanted nor as in `seen`, which are the fields
    that the actor saw.
    """
    group = locked_group(group)
    before = fields_of(group)
    changes = merge_changes(
        "experiment_group", group.key, group.key, seen=seen, now=before, wanted=fields
    )
    for name, value in changes.items():
        setattr(group, name, value)
    group.name = group.name or group.key
    old, new = changed_fields(before, fields_of(group))
    if not new:
        return group, None
    _check(group)
    group.revision += 1
    group.save()
    entry = _audit(
        AuditAction.EXPERIMENT_GROUP_UPDATED, group, actor, before=old, after=new, reason=reason
    )
    return group, entry


@transaction.atomic
def group_delete(group: ExperimentGroup, *, actor: Actor, reason: str = "") -> AuditEntry:
    """Delete a group that no experiment was ever in, as their results name it."""
    group = locked_group(group)
    if keys := ", ".join(group.experiments.order_by("key").values_list("key", flat=True)):
        raise ValidationError(f"The group “{group.key}” has the experiments {keys}.")
    own = {"_id": group.pk, "_salt": group.salt, "_created_at": group.created_at.isoformat()}
    entry = _audit(
        AuditAction.EXPERIMENT_GROUP_DELETED, group, actor,
        before={**fields_of(group), **own}, reason=reason,
    )  # fmt: skip
    group.delete()
    return entry


@transaction.atomic
def group_recreate(
    environment: Environment, key: str, before: Mapping[str, Any], *, actor: Actor, reason: str = ""
) -> AuditEntry:
    """Insert a deleted group again, with its row's id and its salt. `before` is that of the
    deletion's entry."""
    fields = dict(before)
    group = ExperimentGroup(
        environment=environment,
        key=key,
        pk=fields.pop("_id"),
        salt=fields.pop("_salt"),
        created_at=datetime.fromisoformat(fields.pop("_created_at")),
        **fields,
    )
    return group_insert(group, actor=actor, reason=reason)


@transaction.atomic
def group_assign(
    experiment: Experiment, group: ExperimentGroup | None, share: int = 0, *, actor: Actor,
    reason: str = "",
) -> AuditEntry | None:  # fmt: skip
    """Give a draft the lowest free range of a group that has `share` thousandths of a percent of
    its players, or no group. Raises ValidationError that says how much is free."""
    # Before the group, as a start of the experiment locks them in this order.
    experiment = locked(experiment)
    wanted = None
    if group is not None:
        group = locked_group(group)
        if not 0 < share <= EVERYBODY:
            raise ValidationError({"share": "Give a percentage above 0, up to 100."})
        owned = [
            (each.start, each.end)
            for each in ranges_of(group)
            if each.experiment.pk != experiment.pk
        ]
        found = lowest_free(group.holdout, owned, share)
        if found is None:
            widest = max((end - start for start, end in gaps(group.holdout, owned)), default=0)
            raise ValidationError(
                {
                    "share": f"{group.key} has {percent(widest)} free in one range. Use at most "
                    "that, or free the players of an experiment that has ended."
                }
            )
        wanted = {"key": group.key, "start": found[0], "end": found[1]}
    return experiment_update(experiment, {"group": wanted}, actor=actor, reason=reason)

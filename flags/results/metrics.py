"""Writes to metrics. Requests never see a metric, so no write bumps the configuration version."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from flags.models import Experiment, ExperimentMetric, ExperimentState, Metric, MetricDirection
from flags.results.metric_definition import DEFINITION, NOTHING, Definition, problems, sentence
from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.changes import Fields, create_or_conflict, merge_changes
from ilara_admin.core.projects import check_visible
from ilara_admin.models import AuditAction, AuditEntry, Environment
from segments.keys import KEY, KEY_FORM

type SavedMetric = tuple[Metric, AuditEntry | None]  # None if nothing changed

TEXTS = {"name": 200, "description": 500, "unit": 20, "owner": 200}  # at most so many characters


def definition_of(metric: Metric) -> dict[str, Any]:
    return {name: getattr(metric, name) for name in DEFINITION}


def words_of(metric: Metric) -> str:
    """What the metric measures, as a sentence without its full stop."""
    return sentence(definition_of(metric))


def fields_of(metric: Metric) -> dict[str, Any]:
    """The fields of the audit log. The definition is one of them: of two people who change parts of
    it, each has seen another whole."""
    return {
        "name": metric.name,
        "description": metric.description,
        "definition": definition_of(metric),
        "direction": metric.direction,
        "unit": metric.unit,
        "owner": metric.owner,
    }


def archived_fields(metric: Metric) -> dict[str, Any]:
    at = metric.archived_at
    return {"archived": at is not None, "_archived_at": at.isoformat() if at else None}


def running_experiments(metric: Metric) -> list[Experiment]:
    """Those that measure the metric now."""
    running = Experiment.objects.filter(metrics__metric=metric, state=ExperimentState.RUNNING)
    return list(running.order_by("key"))


def metrics_by_event(environment: Environment, names: Collection[str]) -> dict[str, list[str]]:
    """The keys of the metrics that count each of the events `names`, by event name."""
    found: dict[str, list[str]] = {}
    metrics = Metric.objects.filter(environment=environment, event__in=names, archived_at=None)
    for event, key in metrics.values_list("event", "key"):
        found.setdefault(event, []).append(key)
    return found


# --- Services -------------------------------------------------------------------------------------


def _audit(action: AuditAction, metric: Metric, actor: Actor, **details: Any) -> AuditEntry:
    return audit_record(
        action,
        actor,
        environment=metric.environment,
        object_id=metric.key,
        object_name=metric.key,
        **details,
    )


def locked(metric: Metric) -> Metric:
    found = (
        Metric.objects.select_for_update(of=("self",))
        .select_related("environment__project")
        .filter(pk=metric.pk)
        .first()
    )
    if found is None:
        raise ValidationError(f"The metric “{metric.key}” was deleted.")
    return found


def _check(metric: Metric) -> None:
    """Raise ValidationError with the fix for each field that is wrong."""
    wrong: dict[str, str] = problems(definition_of(metric))
    if metric.direction not in MetricDirection:
        wrong["direction"] = f"Use one of: {', '.join(MetricDirection)}."
    for name in TEXTS:
        text = getattr(metric, name)
        if "\0" in text or len(text) > TEXTS[name]:
            wrong[name] = f"Use at most {TEXTS[name]} characters, without NUL."
    if wrong:
        raise ValidationError(wrong)
    check_visible(metric.name)


def _set_fields(metric: Metric, fields: Fields) -> None:
    """Set some of fields_of a metric."""
    for name, value in fields.items():
        if name == "definition":
            for part in DEFINITION:
                setattr(metric, part, value[part])
        else:
            setattr(metric, name, value)
    metric.name = metric.name or metric.key


@transaction.atomic
def metric_create(
    *, environment: Environment, key: str, definition: Definition, direction: str, actor: Actor,
    name: str = "", description: str = "", unit: str = "", owner: str = "", reason: str = "",
) -> Metric:  # fmt: skip
    """Create a metric. `definition` may leave out what its kind does not have."""
    metric = Metric(
        environment=environment, key=key, direction=direction, name=name or key,
        description=description, unit=unit, owner=owner, **{**NOTHING, **definition},
    )  # fmt: skip
    metric_insert(metric, actor=actor, reason=reason)
    return metric


@transaction.atomic
def metric_insert(metric: Metric, *, actor: Actor, reason: str = "") -> AuditEntry:
    """Insert a metric."""
    if not KEY.fullmatch(metric.key):
        raise ValidationError({"key": KEY_FORM})
    _check(metric)
    taken = ValidationError({"key": f"There is already a metric “{metric.key}” here."})
    create_or_conflict(metric, {"metric_key_unique": taken})
    return _audit(AuditAction.METRIC_CREATED, metric, actor, after=fields_of(metric), reason=reason)


@transaction.atomic
def metric_update(
    metric: Metric, fields: Fields, *, actor: Actor, seen: Fields | None = None, reason: str = ""
) -> SavedMetric:
    """Set some of fields_of a metric. If what it measures changes, the results of running
    experiments with it are computed again.

    Raises Conflict if one of the fields is neither as wanted nor as in `seen`, which are the fields
    that the actor saw.
    """
    # Experiments before the metric, the order in which a change of an experiment locks them.
    measured = ExperimentMetric.objects.filter(metric=metric).values("experiment")
    running = Experiment.objects.filter(pk__in=measured, state=ExperimentState.RUNNING)
    list(running.order_by("pk").select_for_update(no_key=True).values_list("pk"))
    metric = locked(metric)
    before = fields_of(metric)
    changes = merge_changes("metric", metric.key, metric.key, seen=seen, now=before, wanted=fields)
    _set_fields(metric, changes)
    old, new = changed_fields(before, fields_of(metric))
    if not new:
        return metric, None
    _check(metric)
    metric.revision += 1
    metric.updated_at = timezone.now()
    metric.save()
    if "definition" in new:
        running.update(rebuild=True)
    entry = _audit(AuditAction.METRIC_UPDATED, metric, actor, before=old, after=new, reason=reason)
    return metric, entry


@transaction.atomic
def metric_set_archived(
    metric: Metric, archived: bool, *, actor: Actor, at: datetime | None = None, reason: str = ""
) -> SavedMetric:
    """Archive a metric, so that new experiments cannot choose it, or unarchive it. `at` is the time
    of archiving, by default now."""
    metric = locked(metric)
    if (metric.archived_at is not None) == archived:
        return metric, None
    before = archived_fields(metric)
    metric.archived_at = (at or timezone.now()) if archived else None
    metric.revision += 1
    metric.save(update_fields=["archived_at", "revision"])
    action = AuditAction.METRIC_ARCHIVED if archived else AuditAction.METRIC_UNARCHIVED
    after = archived_fields(metric)
    return metric, _audit(action, metric, actor, before=before, after=after, reason=reason)


@transaction.atomic
def metric_delete(metric: Metric, *, actor: Actor, reason: str = "") -> AuditEntry:
    """Delete a metric, for the undo of its creation. Raises ValidationError while an experiment has
    it."""
    metric = locked(metric)
    uses = metric.uses.order_by("experiment__key").values_list("experiment__key", flat=True)
    if uses:
        raise ValidationError(
            f"The metric “{metric.key}” is used by the experiments {', '.join(uses)}. "
            "Archive it instead."
        )
    before = {
        **fields_of(metric),
        "_id": metric.pk,
        "_created_at": metric.created_at.isoformat(),
        "_updated_at": metric.updated_at.isoformat(),
        "_archived_at": archived_fields(metric)["_archived_at"],
    }
    entry = _audit(AuditAction.METRIC_DELETED, metric, actor, before=before, reason=reason)
    metric.delete()
    return entry


@transaction.atomic
def metric_recreate(
    environment: Environment, key: str, before: Mapping[str, Any], *, actor: Actor, reason: str = ""
) -> AuditEntry:
    """Insert a deleted metric again, with its row's id. `before` is that of the deletion's
    entry."""
    fields = dict(before)
    pk = fields.pop("_id")
    times = {
        name: datetime.fromisoformat(at) if at else None
        for name in ("created_at", "updated_at", "archived_at")
        for at in [fields.pop(f"_{name}")]
    }
    metric = Metric(environment=environment, key=key, pk=pk, **times)
    _set_fields(metric, fields)
    return metric_insert(metric, actor=actor, reason=reason)

"""The rule of an experiment in a group: limited to the experiment's buckets when it starts."""

from django.core.exceptions import ValidationError
from django.db import transaction

from flags import services as flag_services
from flags.engine.document import DocumentError, RuleGroup
from flags.models import Experiment, ExperimentState
from flags.results.group_ranges import check_range
from ilara_admin.core.audit import Actor
from ilara_admin.models import AuditEntry


@transaction.atomic
def group_enter(experiment: Experiment, *, actor: Actor, reason: str = "") -> AuditEntry | None:
    """Limit the rule to the buckets of the experiment, which the caller has locked with its flag.
    Call it before the experiment runs: then the change begins no phase. None without a group."""
    group = experiment.group
    if group is None:
        return None
    check_range(experiment)
    start, end = experiment.first_bucket or 0, experiment.end_bucket or 0
    limit = RuleGroup(key=group.key, salt=group.salt, start=start, end=end)
    return _limit(experiment, limit, actor, reason or f"Starts {experiment.key} in {group.key}")


@transaction.atomic
def group_leave(experiment: Experiment, *, actor: Actor, reason: str = "") -> AuditEntry | None:
    """Let the rule of an experiment that no longer runs take all players again, which frees its
    buckets. The experiment and its flag are locked."""
    if experiment.state == ExperimentState.RUNNING:
        raise ValidationError({"state": f"{experiment.key} runs. Stop it first."})
    return _limit(experiment, None, actor, reason or f"Frees the players of {experiment.key}")


def _limit(
    experiment: Experiment, limit: RuleGroup | None, actor: Actor, reason: str
) -> AuditEntry | None:
    flag = experiment.flag
    try:
        document = flag.spec.with_group(experiment.rule_id, limit)
    except DocumentError as error:
        raise ValidationError(f"The flag {flag.key} cannot be read. {error}") from None
    saved, entry = flag_services.flag_update(
        flag, document=document, base_revision=flag.revision, actor=actor, reason=reason
    )
    experiment.flag = saved
    return entry

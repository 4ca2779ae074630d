"""The phases that a schedule ends; see engine/arms.py. Staff's changes of a rule begin theirs in
experiments.py."""

import logging
from datetime import datetime

from django.db import transaction

from flags.engine.arms import phase_is_over
from flags.engine.document import DocumentError
from flags.models import Experiment, ExperimentState
from flags.results.experiments import locked, phase_begin
from flags.results.measured import rule_of
from ilara_admin.core.changes import bump_config_version

logger = logging.getLogger("ilara.results")


def phases_begin_due(now: datetime) -> int:
    """Begin the phases of running experiments whose schedule has moved on, each in a transaction of
    its own. Returns their number. An error leaves the others alone."""
    running = Experiment.objects.filter(state=ExperimentState.RUNNING)
    due = [each for each in running.select_related("flag__environment") if _is_over(each, now)]
    begun = 0
    for experiment in due:
        try:
            begun += _begin(experiment, now)
        except Exception:
            logger.exception("phase not begun experiment=%s", experiment.pk)
    return begun


def _is_over(experiment: Experiment, now: datetime) -> bool:
    try:
        rule = rule_of(experiment.flag.spec, experiment.rule_id)
    except DocumentError:
        return False
    began = experiment.phase_at
    return rule is not None and began is not None and phase_is_over(rule, began, now)


@transaction.atomic
def _begin(experiment: Experiment, now: datetime) -> bool:
    experiment = locked(experiment)
    if experiment.state != ExperimentState.RUNNING or not _is_over(experiment, now):
        return False
    phase_begin(experiment, now)
    bump_config_version(experiment.environment)
    return True

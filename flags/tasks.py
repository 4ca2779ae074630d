"""Background jobs of flags. They may run twice: they delete what is old, or store each part of an
evaluation once."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.utils import timezone
from procrastinate import JobContext
from procrastinate.contrib.django import app
from procrastinate.exceptions import AlreadyEnqueued, JobAborted

from flags import clients_seen, shadow, stale_notice, usage
from ilara_admin.core.jobs import RETRY
from ilara_admin.models import Environment


@app.periodic(cron="37 3 * * *")
@app.task(queueing_lock="flags.forget_usage", retry=RETRY, pass_context=False)
def forget_usage(timestamp: int, **_: Any) -> None:
    """Delete old usage counts and evaluations of drafts."""
    from flags.dashboard.impact_job import impacts_forget  # it queues the task below

    usage.usage_forget(timezone.now())
    clients_seen.clients_forget(timezone.now())
    impacts_forget(timedelta(days=1))


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="flags.archive_due", pass_context=False)
def archive_due(timestamp: int, **_: Any) -> None:
    """Archive the flags whose shadow period has ended."""
    shadow.archive_due(timezone.now())


@app.periodic(cron="11 * * * *")
@app.task(queueing_lock="flags.notify_stale", pass_context=False)
def notify_stale(timestamp: int, **_: Any) -> None:
    """Make the monthly notification of stale flags."""
    stale_notice.stale_flags_notify(timezone.now())


@app.task(pass_context=True)
def evaluate_everyone(context: JobContext, impact_id: int) -> None:
    """Evaluate all players with a draft."""
    from flags.dashboard.impact_job import impact_run

    def check() -> None:
        if context.should_abort():
            raise JobAborted

    impact_run(impact_id, check)


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="flags.refresh_results", lock="flags.refresh_results", pass_context=False)
def refresh_results(timestamp: int, **_: Any) -> None:
    """Refresh the results of experiments, queue the jobs that rebuild them, and begin the phases
    that are due: after the guards have read those that end."""
    # Loaded by the worker only: a web process starts faster without.
    from flags.results import guards, phases, refresh

    now = timezone.now()
    for environment_id in refresh.to_rebuild(now):
        name = f"flags.rebuild_results.{environment_id}"
        # Below the others: it takes minutes.
        queue = rebuild_results.configure(queueing_lock=name, lock=name, priority=-1)
        with suppress(AlreadyEnqueued):
            queue.defer(environment_id=environment_id)
    refresh.results_tick(now, guards.guards_check)
    phases.phases_begin_due(now)


@app.task(pass_context=True, retry=RETRY)
def rebuild_results(context: JobContext, environment_id: int) -> None:
    """Compute all values of experiments again whose metrics changed."""
    from flags.results import refresh

    environment = Environment.objects.filter(pk=environment_id).first()
    if environment is None:
        return

    def check() -> None:
        if context.should_abort():
            raise JobAborted

    refresh.results_rebuild(environment, check)

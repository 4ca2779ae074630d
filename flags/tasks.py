"""Background jobs of flags: they only delete what is old, so they may run twice."""

from typing import Any

from django.utils import timezone
from procrastinate import JobContext
from procrastinate.contrib.django import app
from procrastinate.exceptions import JobAborted

from flags import usage
from ilara_admin.core.jobs import RETRY


@app.periodic(cron="37 3 * * *")
@app.task(queueing_lock="flags.forget_usage", retry=RETRY, pass_context=False)
def forget_usage(timestamp: int, **_: Any) -> None:
    """Delete old usage counts."""
    usage.usage_forget(timezone.now())


@app.task(pass_context=True)
def evaluate_everyone(context: JobContext, impact_id: int) -> None:
    """Evaluate all players with a draft."""
    from flags.dashboard.impact_job import impact_run  # it queues this task

    def check() -> None:
        if context.should_abort():
            raise JobAborted

    impact_run(impact_id, check)

"""Background jobs of flags: they only delete what is old, so they may run twice."""

from typing import Any

from django.utils import timezone
from procrastinate.contrib.django import app

from flags import usage
from ilara_admin.core.jobs import RETRY


@app.periodic(cron="37 3 * * *")
@app.task(queueing_lock="flags.forget_usage", retry=RETRY, pass_context=False)
def forget_usage(timestamp: int, **_: Any) -> None:
    """Delete old usage counts."""
    usage.usage_forget(timezone.now())

"""Background jobs of flags."""

from typing import Any

from django.utils import timezone
from procrastinate.contrib.django import app

from flags import usage


@app.periodic(cron="37 3 * * *")
@app.task(queueing_lock="flags.forget_usage", pass_context=False)
def forget_usage(timestamp: int, **_: Any) -> None:
    """Delete old usage counts."""
    usage.usage_forget(timezone.now())

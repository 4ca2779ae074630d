"""Periodic jobs of the foundation."""

from typing import Any

from django.core.management import call_command
from procrastinate.contrib.django import app


@app.periodic(cron="23 4 * * *")
@app.task(queueing_lock="ilara_admin.clear_sessions", pass_context=False)
def clear_sessions(timestamp: int, **_: Any) -> None:
    """Delete expired sessions."""
    call_command("clearsessions")

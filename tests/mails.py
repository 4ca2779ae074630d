"""E-mails in tests: a mail server in memory, and the jobs that send."""

import json
from typing import Any

from django.db import connection

IN_MEMORY = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}


def queued(task: str) -> list[dict[str, Any]]:
    """The arguments of the queued jobs of a task of ilara_admin."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT args FROM procrastinate_jobs WHERE task_name = %s ORDER BY id",
            [f"ilara_admin.tasks.{task}"],
        )
        return [json.loads(args) for (args,) in cursor]

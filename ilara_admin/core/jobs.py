"""Background jobs: their queues, their retries, and how they are queued.

Each task may be killed at any point and may run twice, also at the same time: a worker that was
only cut off from the database continues while another one takes its jobs over.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import psycopg
from django.db import InterfaceError, OperationalError, connection
from procrastinate import RetryDecision, RetryStrategy
from procrastinate.exceptions import JobAborted
from procrastinate.jobs import DEFAULT_QUEUE, Job

# The lane of short jobs that keep events usable. All other jobs are in the default queue.
EVENTS_QUEUE = "events"

MAX_ATTEMPTS = 5


class _Retry(RetryStrategy):
    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """None for a statement that takes longer than a job's limit: it would do so again."""
        too_long = isinstance(exception.__cause__, psycopg.errors.QueryCanceled)
        return None if too_long else super().get_retry_decision(exception=exception, job=job)


# For tasks that nothing else repeats soon: a lost connection, or a stop of the worker, says nothing
# about the job. Retries after 3, 9, 27, 81 and 243 seconds.
RETRY = _Retry(
    max_attempts=MAX_ATTEMPTS,
    exponential_wait=3,
    retry_exceptions=(OperationalError, InterfaceError, JobAborted),
)

# For FROM: a worker has two lanes, each with its heartbeat.
LIVE_LANES = "procrastinate_workers WHERE last_heartbeat > now() - interval '1 minute'"

KEPT_DAYS = 7


def defer_once(
    task: str, jobs: Mapping[str, Mapping[str, Any]], *, priority: int = 0,
    after: timedelta = timedelta(),
) -> None:  # fmt: skip
    """Queue jobs, given as arguments by queueing lock, as part of the transaction. One that is
    queued already gets the new arguments as well, the higher priority and the earlier time.

    Unlike `defer`, this cannot fail with AlreadyEnqueued, which would abort the transaction. A
    queued job is locked until the commit, so it cannot start before it sees this transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO procrastinate_jobs AS queued
                   (queue_name, task_name, queueing_lock, args, priority, scheduled_at)
               SELECT %s, %s, lock, args, %s, now() + make_interval(secs => nullif(%s, 0))
               FROM unnest(%s::text[], %s::jsonb[]) AS job (lock, args)
               ON CONFLICT (queueing_lock) WHERE status = 'todo' DO UPDATE SET
                   args = queued.args || excluded.args,
                   priority = greatest(queued.priority, excluded.priority),
                   scheduled_at = CASE
                       WHEN excluded.scheduled_at IS NOT NULL AND queued.scheduled_at IS NOT NULL
                       THEN least(queued.scheduled_at, excluded.scheduled_at) END""",
            [
                DEFAULT_QUEUE,
                task,
                priority,
                after.total_seconds(),
                list(jobs),
                [json.dumps(args) for args in jobs.values()],
            ],
        )


def jobs_forget() -> int:
    """Delete the jobs that ended KEPT_DAYS ago; returns how many. Successful jobs are deleted when
    they end."""
    with connection.cursor() as cursor:
        cursor.execute(
            """DELETE FROM procrastinate_jobs job WHERE status NOT IN ('todo', 'doing')
               AND NOT EXISTS (SELECT FROM procrastinate_events WHERE job_id = job.id
                               AND at > now() - make_interval(days => %s))""",
            [KEPT_DAYS],
        )
        return int(cursor.rowcount)

"""Background jobs: their queues, retries, and what happens to the jobs of a dead worker.

Each task may be killed at any point and may run twice, also at the same time: a worker that was
only cut off from the database continues while another one takes its jobs over.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
from django.db import InterfaceError, OperationalError, connection
from procrastinate import RetryDecision, RetryStrategy
from procrastinate.connector import BaseConnector
from procrastinate.exceptions import ConnectorException, JobAborted, UniqueViolation
from procrastinate.jobs import DEFAULT_QUEUE, Job, Status
from procrastinate.manager import JobManager

from ilara_admin.core import db

logger = logging.getLogger("ilara.jobs")

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

HEARTBEAT_SECONDS = 5
# A worker without a heartbeat for this long is considered dead.
DEAD_SECONDS = 20

PAUSE_SECONDS = 0.5

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


class Outage:
    """Logs once that the database is away, and once that it is back."""

    lasts = False

    def begins(self, error: BaseException) -> None:
        if not self.lasts:
            self.lasts = True
            logger.warning("the database is away, waiting for it: %s", reason(error))

    def ends(self) -> None:
        if self.lasts:
            self.lasts = False
            logger.warning("the database is back")


def reason(error: BaseException) -> str:
    """The reason of a database error, which procrastinate wraps."""
    wrapped = isinstance(error, ConnectorException) and error.__cause__
    return db.reason(wrapped or error)


class Manager(JobManager):
    """Records the end of a job as soon as the database can be used: a job that stayed `doing` under
    a living worker would never be taken over.

    A retried job whose queueing lock is held by a queued job is dropped: that one does the same.
    """

    def __init__(self, connector: BaseConnector, outage: Outage) -> None:
        super().__init__(connector)
        self.outage = outage

    async def finish_job(self, *args: Any, **options: Any) -> None:
        await self._patiently(partial(super().finish_job, *args, **options))

    async def retry_job(self, job: Job, *args: Any, **options: Any) -> None:
        try:
            await self._patiently(partial(super().retry_job, job, *args, **options))
        except UniqueViolation:
            await self.finish_job(job, Status.ABORTED, delete_job=True)

    async def _patiently(self, write: Callable[[], Awaitable[None]]) -> None:
        failed = False
        while True:
            try:
                await write()
            except ConnectorException as error:
                if not isinstance(error.__cause__, psycopg.OperationalError):
                    raise
                if not failed:
                    self.outage.begins(error)
                failed = True
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return self.outage.ends()


async def take_over(manager: JobManager) -> None:
    """Queue the running jobs of dead workers again. A job that outlived MAX_ATTEMPTS workers has
    probably killed them."""
    for job in await manager.get_stalled_jobs(seconds_since_heartbeat=DEAD_SECONDS):
        if job.attempts < MAX_ATTEMPTS:
            await manager.retry_job(job)
            logger.warning("%s runs again: its worker ended", job.call_string)
        else:
            await manager.finish_job(job, Status.FAILED, delete_job=False)
            logger.error("%s failed: its workers ended %s times", job.call_string, job.attempts + 1)
    await manager.prune_stalled_workers(DEAD_SECONDS)


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

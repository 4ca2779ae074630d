"""How a worker records the end of its jobs, and takes over those of dead workers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import psycopg
from procrastinate.connector import BaseConnector
from procrastinate.exceptions import ConnectorException, UniqueViolation
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

from ilara_admin.core import db
from ilara_admin.core.jobs import MAX_ATTEMPTS

logger = logging.getLogger("ilara.jobs")

HEARTBEAT_SECONDS = 5
# A worker without a heartbeat for this long is considered dead.
DEAD_SECONDS = 20

PAUSE_SECONDS = 0.5


class DatabaseLog:
    """Logs once that the database is away, and once that it is back."""

    def __init__(self) -> None:
        self.is_away = False

    def away(self, error: BaseException) -> None:
        if not self.is_away:
            self.is_away = True
            logger.warning("the database is away, waiting for it: %s", reason(error))

    def back(self) -> None:
        if self.is_away:
            self.is_away = False
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

    def __init__(self, connector: BaseConnector, log: DatabaseLog) -> None:
        super().__init__(connector)
        self.log = log

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
                    self.log.away(error)
                failed = True
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return self.log.back()


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

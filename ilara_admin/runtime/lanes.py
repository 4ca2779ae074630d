"""The lanes of the job worker. A lane runs the jobs of one queue."""

import asyncio
import logging
import os
import signal
import sys
from contextlib import ExitStack, suppress
from typing import Any

from django.conf import settings
from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    InterfaceError,
    OperationalError,
    connection,
    connections,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from procrastinate import App, JobContext, PsycopgConnector
from procrastinate.contrib.django import app, connector_params
from procrastinate.exceptions import ConnectorException, JobAborted
from procrastinate.jobs import DEFAULT_QUEUE
from procrastinate.middleware import SyncCallNext
from procrastinate.periodic import PeriodicRegistry
from procrastinate.worker import Worker
from psycopg_pool import PoolTimeout

from ilara_admin.core.jobs import EVENTS_QUEUE
from ilara_admin.runtime import embedded_postgres
from ilara_admin.runtime.embedded_postgres import EmbeddedError
from ilara_admin.runtime.job_manager import (
    DEAD_SECONDS,
    HEARTBEAT_SECONDS,
    DatabaseLog,
    Manager,
    reason,
)

logger = logging.getLogger("ilara.worker")

# Jobs at the same time, by queue. A lane never waits for another one.
LANES = {EVENTS_QUEUE: 2, DEFAULT_QUEUE: 2}

# A stop: running jobs may finish, then they are asked to end and their statements are cancelled,
# then they are left to the next worker.
FINISH_SECONDS = 5
CANCEL_SECONDS = 3

# A lane needs the database for a moment only, so waiting for a connection means that it is away.
CONNECTION_SECONDS = 2
# The longest pause bounds the time to recover after the database is back.
PAUSES_SECONDS = (0.25, 0.5, 1, 2)

# Also without tables: `migrate` may run later.
DATABASE_ERRORS = (ConnectorException, DatabaseError, InterfaceError, PoolTimeout, EmbeddedError)


async def run() -> None:
    """Run all lanes until SIGINT or SIGTERM."""
    stopping, log = asyncio.Event(), DatabaseLog()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    lanes = [Lane(queue, slots, log) for queue, slots in LANES.items()]
    tasks = [asyncio.create_task(lane.run(stopping)) for lane in lanes]
    stopped = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
    if stopped not in done:
        stopped.cancel()
        for task in done:
            task.result()  # raises
    for lane in lanes:
        lane.stop()
    _, late = await asyncio.wait(tasks, timeout=FINISH_SECONDS + 0.5)
    if late:
        for raw in [job.connection for job in running.values() if job.connection]:
            with suppress(Exception):
                await asyncio.to_thread(raw.cancel_safe, timeout=1)
        _, late = await asyncio.wait(late, timeout=CANCEL_SECONDS)
    if late:
        await leave(lanes)


async def leave(lanes: list["Lane"]) -> None:
    """End this process although jobs run in its threads, which cannot be ended otherwise."""
    logger.warning("%s jobs did not stop in time; the next worker takes them over", len(running))
    for lane in lanes:
        with suppress(Exception):
            await asyncio.wait_for(lane.unregister(), 1)
    if not settings.DATABASE_URL:
        embedded_postgres.release(settings.ILARA_HOME)
    sys.stderr.flush()
    os._exit(0)


class Lane:
    """The jobs of one queue, with its own connections to the database. `worker` is a new one each
    time the database is back: the running jobs of the one before are those of a dead worker."""

    def __init__(self, queue: str, slots: int, log: DatabaseLog) -> None:
        self.queue, self.slots, self.log = queue, slots, log
        self.worker: Worker | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        failures = 0
        while not stopping.is_set():
            started = asyncio.get_running_loop().time()
            self.worker = None
            try:
                await self.run_until_it_fails(stopping)
            except DATABASE_ERRORS as error:
                # A running lane notices a restart of the database, too, which is no outage yet.
                if failures or self.worker is None:
                    self.log.away(error)
                lasted = asyncio.get_running_loop().time() - started
                failures = 0 if lasted > max(PAUSES_SECONDS) else failures
                pause = PAUSES_SECONDS[min(failures, len(PAUSES_SECONDS) - 1)]
                failures += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), pause)

    async def run_until_it_fails(self, stopping: asyncio.Event) -> None:
        connector = PsycopgConnector(
            kwargs=await asyncio.to_thread(parameters),
            min_size=1,
            max_size=self.slots,
            timeout=CONNECTION_SECONDS,
            reconnect_timeout=CONNECTION_SECONDS,  # its pauses would grow to minutes
        )
        with ExitStack() as stack:
            lane_app = self.app(connector, stack)
            lane_app.job_manager = Manager(connector, self.log)
            async with lane_app.open_async():
                self.worker = Worker(lane_app, **self.options(lane_app))
                if stopping.is_set():
                    return
                self.log.back()
                await self.worker.run()

    def app(self, connector: PsycopgConnector, stack: ExitStack) -> App:
        """One lane also queues the periodic jobs, through the app that declares the tasks."""
        if self.queue == EVENTS_QUEUE:
            return stack.enter_context(app.replace_connector(connector))
        lane_app = app.with_connector(connector)
        lane_app.periodic_registry = PeriodicRegistry()
        return lane_app

    def options(self, lane_app: App) -> dict[str, Any]:
        middleware = lane_app.worker_defaults["task_middleware"] or []
        return {
            **lane_app.worker_defaults,
            "task_middleware": [*middleware, cancellable],
            "queues": [self.queue],
            "name": self.queue,
            "concurrency": self.slots,
            "install_signal_handlers": False,
            "shutdown_graceful_timeout": FINISH_SECONDS,
            "update_heartbeat_interval": HEARTBEAT_SECONDS,
            "stalled_worker_timeout": DEAD_SECONDS,
            "delete_jobs": "successful",  # some run every few seconds
        }

    def stop(self) -> None:
        if self.worker:
            self.worker.stop()

    async def unregister(self) -> None:
        """Its running jobs belong to no worker any more."""
        if self.worker and self.worker.worker_id is not None:
            await self.worker.app.job_manager.unregister_worker(self.worker.worker_id)


def parameters() -> dict[str, Any]:
    """The parameters of a connection. Raises one of DATABASE_ERRORS if the database cannot be used;
    starts an embedded server."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM procrastinate_workers LIMIT 0")
        return dict(connector_params())
    finally:
        connection.close()


# The database connection of each running job, by job id; a connection belongs to a thread.
running: dict[int | None, BaseDatabaseWrapper] = {}


def cancellable(call_next: SyncCallNext, context: JobContext, worker: Worker) -> Any:
    """Run a job whose statement a stop of the worker may cancel."""
    running[context.job.id] = connections[DEFAULT_DB_ALIAS]
    try:
        return call_next()
    except OperationalError:
        if context.should_abort():
            raise JobAborted from None
        raise
    finally:
        del running[context.job.id]


# --- Logs ---------------------------------------------------------------------------------------


def shorten_logs() -> None:
    """Log an absent database as one line, not as a traceback of each place that needs it."""
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    names = ["procrastinate.worker", "procrastinate.utils", "asyncio"]
    for name in [*names, *(f"procrastinate.worker.{queue}" for queue in LANES)]:
        logging.getLogger(name).addFilter(without_outages)


def without_outages(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if isinstance(error, ConnectorException):
        return False  # the queue cannot be used: a lane reports it
    if isinstance(error, OperationalError | InterfaceError):
        record.msg, record.args = f"{record.getMessage()}: {reason(error)}", ()
        record.exc_info = None
    return True

"""`manage.py worker` as a real process on a PostgreSQL of its own: lanes, outages, kills, stops."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from django.conf import settings

from ilara_admin.runtime import embedded_postgres
from ilara_admin.runtime.postgresql.site import NAME
from ilara_admin.runtime.supervisor import ending_with_parent
from tests.conftest import FAST
from tests.homes import HANG_SECONDS, kill_server, wait_until
from tests.processes import django_output
from tests.used_homes import UsedHomes, url_of

pytestmark = pytest.mark.slow

SEGMENTS = 200
# With this WAL level, a table lock takes no transaction id, so events still settle under it.
SETTINGS = {**FAST, "wal_level": "minimal", "max_wal_senders": "0"}
CREATE_SEGMENTS = f"""
import django
django.setup()
from ilara_admin.core.audit import Actor
from ilara_admin.models import Environment
from segments.services import segment_create
rule = {{"operator": "AND", "conditions": [{{"field": "level", "operator": ">=", "value": 3}}]}}
environment = Environment.objects.get(slug="live")
for number in range({SEGMENTS}):
    segment_create(environment=environment, key=f"s-{{number}}", name="", rule=rule,
                   actor=Actor("Ada"))
"""


class Database:
    """A PostgreSQL with a game that has SEGMENTS segments, whose counts are queued."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.start()
        django_output(CREATE_SEGMENTS, DATABASE_URL=url_of(self.socket))

    def start(self) -> None:
        self.socket = embedded_postgres.lease(self.home, SETTINGS).socket

    def stop(self) -> None:
        embedded_postgres.release(self.home)

    def kill(self) -> None:
        kill_server(self.home)
        self.stop()

    def session(self) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(host=str(self.socket), user=NAME, dbname=NAME, autocommit=True)

    def one(self, sql: LiteralString) -> Any:
        """The first column of the first row."""
        with self.session() as session:
            row = session.execute(sql).fetchone()
            return row[0] if row else None

    def run(self, sql: LiteralString) -> None:
        with self.session() as session:
            session.execute(sql)

    @contextmanager
    def slow_counts(self) -> Iterator[None]:
        """Counts wait until the end of the block, as if each took minutes. The periodic job that
        reads players, too, is left out: it would keep a slot of theirs until its lock timeout."""
        self.run(
            """INSERT INTO procrastinate_periodic_defers (task_name, defer_timestamp)
               SELECT 'players.tasks.count_days', 60 * minute
               FROM (SELECT floor(extract(epoch FROM now()) / 60)::bigint AS now),
                    generate_series(now - 1, now + 5) minute
               ON CONFLICT DO NOTHING"""
        )
        with self.session() as session, session.transaction():
            session.execute("LOCK TABLE player IN ACCESS EXCLUSIVE MODE")
            yield


class WorkerProcess:
    def __init__(self, database: Database, folder: Path) -> None:
        self.log = Path(tempfile.mkstemp(dir=folder, suffix=".log")[1])
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "worker"],
                cwd=settings.BASE_DIR,
                env={**os.environ, "DATABASE_URL": url_of(database.socket), "SECRET_KEY": "x"},
                stdout=log,
                stderr=log,
                preexec_fn=ending_with_parent(),
            )

    @property
    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(HANG_SECONDS) == 0


@pytest.fixture(scope="module")
def database(used_homes: UsedHomes) -> Iterator[Database]:
    with used_homes() as used:
        database = Database(used.home)
        yield database
        database.stop()


@pytest.fixture
def start(database: Database, tmp_path: Path) -> Iterator[Callable[[], WorkerProcess]]:
    """Starts workers; each has registered when it returns. They are killed after the test."""
    started: list[WorkerProcess] = []

    def start() -> WorkerProcess:
        database.run("DELETE FROM procrastinate_workers")
        started.append(WorkerProcess(database, tmp_path))
        wait_until(lambda: database.one("SELECT count(*) FROM procrastinate_workers") == 2)
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


FOLD_LAG = "SELECT extract(epoch FROM clock_timestamp() - min(counted_until)) FROM event_fold"
COUNTED = "SELECT coalesce(sum(count), 0) FROM event_hour"
QUEUED = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'segments.tasks.size_count'"
RUNNING = """SELECT count(*) FROM procrastinate_jobs
             WHERE task_name = 'segments.tasks.size_count' AND status = 'doing'"""
COUNTED_SEGMENTS = "SELECT count(*) FROM segment WHERE sized_at IS NOT NULL"
SEND = """INSERT INTO event (player_id, received_at, environment_id, event_id, name, properties,
                             occurred_at)
          SELECT gen_random_uuid(), now(), e.id, gen_random_uuid()::text, 'start', '{}', now()
          FROM environment e, generate_series(1, 1000)"""


def counts_wanted(database: Database) -> None:
    database.run("UPDATE segment SET size_wanted_at = now()")
    database.run(
        """INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock, args)
           SELECT 'default', 'segments.tasks.size_count', 'segments.tasks.size_count.' || id,
                  jsonb_build_object('segment_id', id) FROM segment
           ON CONFLICT DO NOTHING"""
    )


@contextmanager
def two_counts_running(
    database: Database, start: Callable[[], WorkerProcess]
) -> Iterator[WorkerProcess]:
    """A worker that runs two counts until the end of the block, while the others are queued."""
    with database.slow_counts():
        counts_wanted(database)
        worker = start()
        wait_until(lambda: database.one(RUNNING) == 2)
        yield worker


def test_fold__is_less_than_10_seconds_behind_with_200_slow_counts_queued(
    database: Database, start: Callable[[], WorkerProcess]
) -> None:
    with database.slow_counts():
        start()
        wait_until(lambda: database.one(RUNNING) == 2)
        assert database.one(QUEUED) >= SEGMENTS
        wait_until(lambda: database.one(FOLD_LAG) is not None)
        sent, lags, until = 0, [], time.monotonic() + 12
        while time.monotonic() < until:
            database.run(SEND)
            sent += 2 * 1000  # there are two environments
            lags.append(database.one(FOLD_LAG))
            time.sleep(1)
        wait_until(lambda: database.one(COUNTED) == sent, 10)
        assert max(lags) < 10
        assert database.one(COUNTED_SEGMENTS) == 0, "the counts were not slow"
    wait_until(lambda: database.one(QUEUED) == 0)
    assert database.one("SELECT count(*) FROM segment WHERE sized_at IS NULL") == 0


@pytest.mark.parametrize("end", [Database.stop, Database.kill])
def test_worker__outlives_an_absent_database(
    database: Database, start: Callable[[], WorkerProcess], end: Callable[[Database], None]
) -> None:
    worker = start()
    end(database)
    time.sleep(5)
    database.start()
    before = database.one(COUNTED)
    database.run(SEND)
    # The events are counted after recovery, a period of the fold and the settling time.
    wait_until(lambda: database.one(COUNTED) > before, 5 + 5 + 4)
    wait_until(lambda: "the database is back" in worker.log.read_text())
    own = [line for line in worker.lines if "the database is" in line]
    assert "the database is away, waiting for it: " in own[0]
    assert len(own) <= 4, "a lane that notices it late may say it once more"
    assert "Traceback" not in worker.log.read_text()
    worker.stop()


def test_failed_job__does_not_end_the_worker(
    database: Database, start: Callable[[], WorkerProcess]
) -> None:
    worker = start()
    database.run(
        """INSERT INTO procrastinate_jobs (queue_name, task_name)
           VALUES ('default', 'segments.tasks.size_count'), ('events', 'unknown')"""
    )
    failed = """SELECT count(*) FROM procrastinate_jobs WHERE status = 'failed'
                AND task_name IN ('segments.tasks.size_count', 'unknown')"""
    wait_until(lambda: database.one(failed) == 2)
    counts_wanted(database)
    wait_until(lambda: database.one(RUNNING) + database.one(QUEUED) == 1)  # the failed one
    assert worker.process.poll() is None
    database.run("DELETE FROM procrastinate_jobs")


def test_killed_worker__its_jobs_run_again(
    database: Database, start: Callable[[], WorkerProcess]
) -> None:
    with two_counts_running(database, start) as worker:
        worker.kill()
        lost = database.one("SELECT array_agg(id) FROM procrastinate_jobs WHERE status = 'doing'")
        database.run("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 hour'")
        WorkerProcess.__init__(worker, database, worker.log.parent)
        retried = "SELECT count(*) FROM procrastinate_jobs WHERE attempts = 1"
        wait_until(lambda: database.one(retried) >= len(lost))
    wait_until(lambda: database.one(QUEUED) == 0)
    assert sum("its worker ended" in line for line in worker.lines) == len(lost)


def test_stop__returns_running_jobs_to_the_queue(
    database: Database, start: Callable[[], WorkerProcess]
) -> None:
    with two_counts_running(database, start) as worker:
        worker.stop()
        # A periodic job may have waited for the locked table, too.
        usual = ("runs again", "due to statement timeout", "due to lock timeout")
        assert not [line for line in worker.lines if not any(text in line for text in usual)]
        assert database.one(RUNNING) == 0
        assert database.one("SELECT count(*) FROM procrastinate_workers") == 0
        assert database.one(f"{QUEUED} AND attempts = 1") == 2
        assert database.one(QUEUED) == database.one("SELECT count(*) FROM segment")
    database.run("DELETE FROM procrastinate_jobs")

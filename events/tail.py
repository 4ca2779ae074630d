"""Follows the event log: one thread per process and environment reads it for all readers.

Ids are assigned before the commit, so a row may appear below ids that were seen long ago. The
thread therefore reads everything above `safe` on each poll and passes on what it has not seen yet.
`safe` is an id at or below which no new row can appear. It advances in three steps:

1. A poll sees the highest id.
2. A second later, a poll takes its own transaction id. A transaction that drew an id from the
   sequence before step 1 has a lower transaction id by then, or has ended. (The snapshot's xmax is
   no substitute: it shows which transaction ended last, not which began last.)
3. A poll finds that all transactions below that one have ended. It sees the rows they left.

So a reader that resumes after `safe` may see events twice but never misses one.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from time import monotonic
from typing import NamedTuple

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from events import log_reader
from events.log_reader import EARLIEST, EVERYTHING, PAGE_ROWS, SLACK, Filter, LogEntry
from ilara_admin.api import environment_cache
from ilara_admin.api.dispatch import ENV_SQL
from ilara_admin.api.environment_cache import Key
from ilara_admin.core import db, metrics
from ilara_admin.core.horizon import SETTLE_SECONDS
from ilara_admin.core.shutdown import stopping

logger = logging.getLogger("ilara.events")

POLL_SECONDS = 0.3
WAKE_SECONDS = 1.0  # how soon a waiting reader notices a stop
HEARTBEAT_SECONDS = 10.0
QUEUE_EVENTS = 1_000  # a slower reader misses events beyond this

# Continues ENV_SQL; the columns are those of Beginning. Counted events are settled, so a reader
# starts there. The limit bounds the cost: if more events are uncounted, rows that arrived more than
# 30 seconds ago are taken as settled.
BEGIN_SQL = """, counted AS (
    SELECT coalesce((SELECT folded_id FROM event_fold WHERE environment_id = $1), 0) AS id)
, newest AS MATERIALIZED (
    SELECT id, received_at FROM event
    WHERE environment_id = $1 AND id > (SELECT id FROM counted) ORDER BY id DESC LIMIT 10000)
SELECT env.config_version, env.now,
       CASE WHEN (SELECT count(*) FROM newest) < 10000 THEN (SELECT id FROM counted)
            ELSE coalesce(
                (SELECT max(id) FROM newest WHERE received_at < env.now - interval '30 seconds'),
                (SELECT min(id) - 1 FROM newest)) END,
       ARRAY(SELECT id FROM newest)
FROM env"""

# $2 safe, $3 the earliest received_at, which skips old partitions, $4 whether to take a transaction
# id. A transaction that takes one but writes nothing causes no flush to disk.
POLL_SQL = """
SELECT e.config_version, statement_timestamp(),
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
       (CASE WHEN $4::boolean THEN pg_current_xact_id() END)::text::bigint,
       ARRAY(SELECT id FROM event
             WHERE environment_id = $1 AND id > $2 AND received_at >= $3 ORDER BY id)
FROM environment e WHERE e.id = $1"""


class Beginning(NamedTuple):
    """The state of the log when a reader starts: a safe id, and the existing ids above it. The
    reader gets none of these events."""

    version: int
    now: datetime
    safe: int
    ids: list[int]


class Arrival(NamedTuple):
    """What a reader gets: an event, a number of missed events, or a heartbeat.

    `cursor` is the id to resume after.
    """

    cursor: int
    entry: LogEntry | None = None
    missed: int = 0


class Candidate(NamedTuple):
    """An id that may become safe. `now` is the database's clock when it was the highest."""

    id: int
    seen_at: float  # monotonic seconds
    now: datetime
    transaction_id: int | None = None


class TooManyReadersError(Exception):
    """All threads reserved for streams in this process are in use."""


class Subscription:
    """One reader of the log, with a bounded queue between the follower's thread and its own.

    The subscriber must call `close`, even if it read nothing. `ended` is the reason it was ended.
    """

    def __init__(self, follower: "Follower", wanted: Filter, key: Key | None, version: int) -> None:
        self.wanted = wanted
        self.key = key
        self.version = version  # of the snapshot that last validated the key
        self.ended = ""
        self._follower = follower
        self._changed = threading.Condition()
        self._queue: deque[Arrival] = deque()
        self._missed = 0
        self._safe = self._began = follower.safe
        self._caught_up: set[int] = set()

    def follow(self, after: int | None = None) -> Iterator[Arrival]:
        """Yield arrivals after the id `after`, or from now on, with a heartbeat at once and every
        HEARTBEAT_SECONDS. Stops when the subscription is ended or the process stops."""
        for batch in self.batches(after):
            for arrival in batch:
                if self.over:
                    return
                yield arrival

    def batches(self, after: int | None = None) -> Iterator[list[Arrival]]:
        """As `follow`, but in lists of what arrived together. A heartbeat is alone in its list."""
        cursor = self._began
        # An id beyond the log is from another database or from before a restore.
        if after is not None and after <= self._follower.highest:
            cursor = after
        yield [Arrival(cursor)]
        if after is not None:
            for batch in self._catch_up(cursor):
                if self.over:
                    return
                cursor = batch[-1].cursor
                yield batch
        last_sent = monotonic()
        while not self.over:
            arrivals, safe = self._take()
            batch = []
            for arrival in arrivals:
                if arrival.entry is None or arrival.entry.id not in self._caught_up:
                    cursor = max(cursor, arrival.cursor)
                    batch.append(arrival._replace(cursor=cursor))
            if batch:
                yield batch
            if safe > cursor or monotonic() - last_sent >= HEARTBEAT_SECONDS:
                cursor = max(cursor, safe)
                yield [Arrival(cursor)]
                last_sent = monotonic()

    def _catch_up(self, cursor: int) -> Iterator[list[Arrival]]:
        """Yield what is stored. New events queue up in the meantime; if the queue overflows, the
        table is read again from the safe id."""
        missed = True
        while missed:
            safe = self._restart()
            self._caught_up = {id for id in self._caught_up if id > cursor}
            position, since = cursor, EARLIEST
            while page := self._page(position, since):
                batch = []
                for entry in page.entries:
                    if entry.id in self._caught_up:
                        continue
                    if entry.id > safe:
                        self._caught_up.add(entry.id)
                    cursor = max(cursor, min(entry.id, safe))
                    batch.append(Arrival(cursor, entry))
                position, since = page.last_id, page.since
                cursor = max(cursor, min(position, safe))
                yield [*batch, Arrival(cursor)]
            missed = self._missed > 0

    def seconds_behind(self, arrivals: list[Arrival]) -> float:
        """The age of what is passed on with these arrivals: of their newest event by the database's
        clock; without events, the time since the log was last read."""
        since_read = monotonic() - self._follower.read_at
        newest = [each.entry.event.received_at for each in arrivals if each.entry is not None]
        if not newest:
            return since_read
        return since_read + (self._follower.now - max(newest)).total_seconds()

    def _page(self, after: int, since: datetime) -> log_reader.LogPage | None:
        try:
            return log_reader.page(self._follower.environment_id, after, since, self.wanted)
        finally:
            # A reader may process a page slowly; it holds no connection in the meantime.
            connection.close()

    def _restart(self) -> int:
        with self._changed:
            self._queue.clear()
            self._missed = 0
            return self._safe

    def _take(self) -> tuple[list[Arrival], int]:
        """Everything queued, and the id that is safe once it is passed on."""
        with self._changed:
            if not (self._queue or self._missed or self.ended):
                self._changed.wait(WAKE_SECONDS)
            arrivals = list(self._queue)
            self._queue.clear()
            if self._missed:
                arrivals.append(Arrival(0, missed=self._missed))
                self._missed = 0
            return arrivals, self._safe

    @property
    def over(self) -> bool:
        return bool(self.ended) or stopping.is_set()

    def offer(self, entry: LogEntry, cursor: int) -> None:
        if not self.wanted.matches(entry.event):
            return
        with self._changed:
            if len(self._queue) >= QUEUE_EVENTS:
                self._missed += 1
                return
            if self._missed:
                self._queue.append(Arrival(0, missed=self._missed))
                self._missed = 0
            self._queue.append(Arrival(cursor, entry))
            self._changed.notify()

    def advance(self, safe: int) -> None:
        with self._changed:
            self._safe = safe
            self._changed.notify()

    def end(self, reason: str) -> None:
        with self._changed:
            self.ended = reason
            self._changed.notify()

    def close(self) -> None:
        self._follower.leave(self)


_followers: dict[int, "Follower"] = {}
_registry = threading.Lock()


def begin(environment_id: int) -> Beginning:
    """The beginning for a reader outside an API request."""
    row = db.fetch_one(ENV_SQL + BEGIN_SQL, [environment_id, None, None], safe_to_repeat=True)
    if row is None:
        raise LookupError(f"There is no environment {environment_id}.")
    return Beginning(*row)


def subscribe(
    environment_id: int, beginning: Beginning, wanted: Filter = EVERYTHING, key: Key | None = None
) -> Subscription:
    """Subscribe from `beginning` on. The subscription ends when `key` is no longer valid."""
    with _registry:
        if sum(len(follower.readers) for follower in _followers.values()) >= settings.MAX_STREAMS:
            raise TooManyReadersError
        follower = _followers.get(environment_id)
        if follower is None:
            follower = _followers[environment_id] = Follower(environment_id, beginning)
        reader = Subscription(follower, wanted, key, beginning.version)
        follower.readers = (*follower.readers, reader)
        metrics.OPEN_STREAMS.inc()
    return reader


class Follower:
    """The thread that reads one environment's log. It ends soon after its last reader left."""

    def __init__(self, environment_id: int, beginning: Beginning) -> None:
        self.environment_id = environment_id
        self.safe = beginning.safe
        self.highest = max([self.safe, *beginning.ids])
        self.readers: tuple[Subscription, ...] = ()
        self._seen = {id for id in beginning.ids if id > self.safe}
        self._since = beginning.now - SLACK
        self.now, self.read_at = beginning.now, monotonic()  # when the log was last read
        self._candidate: Candidate | None = None
        self._disconnected = False
        # Threads do not survive a fork, so it starts with the first reader, in the serving process.
        name = f"events-{environment_id}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def leave(self, reader: Subscription) -> None:
        with _registry:
            remaining = tuple(item for item in self.readers if item is not reader)
            metrics.OPEN_STREAMS.dec(len(self.readers) - len(remaining))
            self.readers = remaining

    def _run(self) -> None:
        try:
            while self._has_readers():
                started = monotonic()
                self._poll_patiently()
                # However long a poll takes, at least half of the time is left for other work.
                if stopping.wait(max(POLL_SECONDS, monotonic() - started)):
                    return
        finally:
            connection.close()
            with _registry:
                if _followers.get(self.environment_id) is self:
                    del _followers[self.environment_id]
            for reader in self.readers:
                reader.end("Events are not available right now")

    def _has_readers(self) -> bool:
        with _registry:
            if not self.readers:
                del _followers[self.environment_id]
            return bool(self.readers)

    def _poll_patiently(self) -> None:
        try:
            self._poll()
        except (OperationalError, InterfaceError) as error:
            connection.close()
            if not self._disconnected:
                logger.warning("the event stream waits for the database: %s", error)
            self._disconnected = True
        else:
            if self._disconnected:
                logger.warning("the event stream has resumed")
            self._disconnected = False

    def _poll(self) -> None:
        candidate = self._candidate
        take_transaction_id = (
            candidate is not None
            and candidate.transaction_id is None
            and monotonic() - candidate.seen_at >= SETTLE_SECONDS
        )
        row = db.fetch_one(
            POLL_SQL,
            [self.environment_id, self.safe, self._since, take_transaction_id],
            safe_to_repeat=True,
        )
        if row is None:
            for reader in self.readers:
                reader.end("This environment was deleted")
            return
        version, now, xmin, transaction_id, ids = row
        self.now, self.read_at = now, monotonic()
        self._check_keys(version, now)
        self._pass_on([id for id in ids if id not in self._seen])
        self.highest = max(self.highest, *ids[-1:], self.safe)
        self._settle(now, xmin, transaction_id)

    def _check_keys(self, version: int, now: datetime) -> None:
        for reader in self.readers:
            key = reader.key
            if key is None:
                continue
            if reader.version != version:
                current = environment_cache.of_environment(self.environment_id)
                if current.version != version:
                    current = environment_cache.reload(current)
                found = [item for item in current.keys.values() if item.id == key.id]
                before, key = key, found[0] if found else key
                reader.key, reader.version = key, current.version
                if not found:
                    reader.end("Invalid API key: it was deleted")
                elif (key.scopes, key.networks) != (before.scopes, before.networks):
                    # The next connection is checked, and shows what the key may see.
                    reader.end("What the API key may do has changed: connect again")
            if key.revoked_at is not None:
                reader.end("Invalid API key: it has been revoked")
            elif key.expires_at is not None and now >= key.expires_at:
                reader.end("Invalid API key: it has expired")

    def _pass_on(self, ids: list[int]) -> None:
        for start in range(0, len(ids), PAGE_ROWS):
            part = ids[start : start + PAGE_ROWS]
            for entry in log_reader.of_ids(self.environment_id, part, self._since):
                for reader in self.readers:
                    reader.offer(entry, self.safe)
            self._seen.update(part)

    def _settle(self, now: datetime, xmin: int, transaction_id: int | None) -> None:
        candidate = self._candidate
        if candidate is not None and candidate.transaction_id is None:
            self._candidate = candidate._replace(transaction_id=transaction_id)
        elif candidate is not None and xmin >= (candidate.transaction_id or 0):
            self._candidate = None
            self.safe, self._since = candidate.id, candidate.now - SLACK
            self._seen = {id for id in self._seen if id > self.safe}
            for reader in self.readers:
                reader.advance(self.safe)
        if self._candidate is None and self.highest > self.safe:
            self._candidate = Candidate(self.highest, monotonic(), now)

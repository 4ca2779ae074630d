"""Django's PostgreSQL engine with the limits of `core/limits.py`. It counts errors and logs slow
statements.

Through a pooler in transaction mode a session belongs to one transaction, so nothing is set on it:
the limits of the database role apply there.
"""

import logging
import select
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from operator import attrgetter
from time import monotonic
from typing import Any

import psycopg
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql import base
from psycopg import IsolationLevel
from psycopg.abc import PQGen

from ilara_admin.core import limits, metrics, outage
from ilara_admin.core.limits import Limits
from ilara_admin.core.postgresql.prepared import PreparedStatements, Rows

slow_logger = logging.getLogger("ilara.slow_query")

POOLED = "POOLED"  # in DATABASES: the address is a pooler's
CONNECT_SECONDS = 2  # for a probe; psycopg waits no less


class NoAnswer(psycopg.OperationalError):
    """The database did not answer in time. Whether it ran the statement is unknown."""


class DatabaseConnection(psycopg.Connection[Any]):
    """Stops waiting for an answer after the limit of the current work."""

    limits: Limits  # what the session was last set to
    params: Mapping[str, Any]

    @cached_property
    def statements(self) -> PreparedStatements:
        return PreparedStatements(self.pgconn, self.adapters)

    def fetch_all(self, sql: str, params: Sequence[Any]) -> Rows:
        """All rows of one statement with `$1` placeholders. It is prepared, unless the setting
        `prepare_threshold` is None."""
        with self.lock:
            return self.wait(self._fetch_all(sql, params))

    def _fetch_all(self, sql: str, params: Sequence[Any]) -> PQGen[Rows]:
        yield from self._start_query()  # begins a transaction where psycopg's cursor would
        prepare = self.prepare_threshold is not None
        return (yield from self.statements.run(sql, params, prepare=prepare))

    def wait[R](self, gen: PQGen[R], interval: float = 0.1, timeout: float | None = None) -> R:
        """psycopg calls it for everything that a connection sends, commits included."""
        seconds = (limits.of_thread.limits or limits.of_process).answer
        try:
            return super().wait(gen, interval, timeout or seconds or None)
        except psycopg.errors._WaitTimeout:
            if timeout:
                raise
            self.close()
            outage.suspect(partial(answers, lambda: self.params))
            raise NoAnswer(f"the database did not answer within {seconds:g} seconds") from None
        except psycopg.errors.DiskFull:
            outage.is_full = True
            raise


class DatabaseWrapper(base.DatabaseWrapper):
    connection: DatabaseConnection | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if float("inf") != settings.SLOW_QUERY_SECONDS:
            self.execute_wrappers.append(_measure)

    @property
    def is_pooled(self) -> bool:
        return bool(self.settings_dict.get(POOLED))

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        if self.is_pooled:
            return params
        ours = [f"-c {name}={value}" for name, value in limits.current().settings.items()]
        # The options of DATABASE_URL come last, so that they win.
        return params | {"options": " ".join([*ours, params.get("options", "")]).rstrip()}

    def get_new_connection(self, params: dict[str, Any]) -> DatabaseConnection:
        """As Django's, without its options `pool` and `isolation_level`."""
        refuse_if_hanging()
        self.isolation_level = IsolationLevel.READ_COMMITTED
        try:
            raw = DatabaseConnection.connect(**params)
        except psycopg.errors.ConnectionTimeout:
            outage.suspect(partial(answers, lambda: params))
            raise
        raw.limits, raw.params = limits.current(), params
        return raw

    def create_cursor(self, name: str | None = None) -> Any:
        self.prepare()
        return super().create_cursor(name)

    def _set_autocommit(self, autocommit: bool) -> None:
        if not autocommit:  # a transaction begins
            with self.wrap_database_errors:
                self.prepare()
        super()._set_autocommit(autocommit)  # type: ignore[misc]  # not in the stubs

    def prepare(self) -> None:
        """Give the session of an open connection the limits of the current work. Does nothing
        within a transaction, whose rollback would take them back."""
        refuse_if_hanging()
        wanted, raw = limits.of_thread.limits or limits.of_process, self.connection
        assert raw
        if raw.limits is wanted or self.in_atomic_block or self.is_pooled:
            return
        raw.execute("; ".join(f"SET {name} = {value}" for name, value in wanted.settings.items()))
        raw.limits = wanted

    def is_usable(self) -> bool:
        """Django would send a query before the first one of each request."""
        return not is_closed(self.connection)

    def _set_errors_occurred(self, occurred: bool) -> None:
        self._errors_occurred = occurred
        error = sys.exception()
        if occurred and isinstance(error, psycopg.Error):
            metrics.DATABASE_ERRORS.labels(metrics.database_error_kind(error.sqlstate)).inc()

    # Django sets it where it turns any error of psycopg into its own, except refused values.
    errors_occurred = property(attrgetter("_errors_occurred"), _set_errors_occurred)


def _measure(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    started = monotonic()
    try:
        return execute(sql, params, many, context)
    finally:
        log_if_slow(sql, monotonic() - started)


def log_if_slow(sql: str, seconds: float) -> None:
    """Log a statement without its parameters."""
    if seconds > settings.SLOW_QUERY_SECONDS:
        slow_logger.warning("%s", sql, extra={"duration_ms": round(seconds * 1000)})


def is_closed(raw: psycopg.Connection[Any] | None) -> bool:
    """Whether the server has disconnected. An idle server sends nothing except a disconnect, so
    readable means closed. psycopg would notice only at the next statement, too late to know whether
    the server ran it."""
    if raw is None or raw.closed:
        return True
    inbox = select.poll()
    inbox.register(raw.fileno(), select.POLLIN)
    return bool(inbox.poll(0))


def refuse_if_hanging() -> None:
    """Commands wait instead: they have no limits."""
    if outage.hangs and limits.current().answer:
        raise NoAnswer("the database does not answer")


def answers(params: Callable[[], Mapping[str, Any]]) -> bool:
    """Whether a new connection gets an answer within seconds. A refusal is an answer, too: what
    needs the database fails at once."""
    try:
        with limits.using(limits.PROBE):
            given = params()
            with DatabaseConnection.connect(**{**given, "connect_timeout": CONNECT_SECONDS}) as raw:
                raw.params = given
                raw.execute("SELECT 1")
    except (psycopg.errors.ConnectionTimeout, NoAnswer):
        return False
    except (psycopg.Error, ImproperlyConfigured):
        pass
    return True

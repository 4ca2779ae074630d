"""Database access of the hot path: prepared statements that bypass Django's cursor.

Statements use `$1` placeholders and are prepared once per connection. Errors are raised as
Django's, and a lost connection is replaced at the next statement. JSONB is returned as text; the
caller decodes it.
"""

from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Any, cast

from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    InterfaceError,
    OperationalError,
    connections,
)
from psycopg import errors

from ilara_admin.core import outage
from ilara_admin.core.postgresql.base import (
    DatabaseWrapper,
    NoAnswer,
    answers,
    is_closed,
    log_if_slow,
)

type Row = tuple[Any, ...]


def of_thread() -> DatabaseWrapper:
    """The connection of this thread. Django's `connection` looks it up at every attribute."""
    return cast(DatabaseWrapper, connections[DEFAULT_DB_ALIAS])


def fetch_all(sql: str, params: Sequence[Any], *, safe_to_repeat: bool = False) -> list[Row]:
    """All rows of one statement, committed when it returns unless a transaction is open.

    `safe_to_repeat` allows a retry on a new connection if the connection is lost: for reads and
    idempotent writes.
    """
    connection = of_thread()
    try:
        return _run(connection, sql, params)
    except (OperationalError, InterfaceError) as error:
        lost = is_closed(connection.connection) and not isinstance(error.__cause__, NoAnswer)
        if not (safe_to_repeat and lost) or connection.in_atomic_block:
            raise
        connection.close()
        return _run(connection, sql, params)


def fetch_one(sql: str, params: Sequence[Any], *, safe_to_repeat: bool = False) -> Row | None:
    """The first row of one statement, or None."""
    rows = fetch_all(sql, params, safe_to_repeat=safe_to_repeat)
    return rows[0] if rows else None


def _run(connection: DatabaseWrapper, sql: str, params: Sequence[Any]) -> list[Row]:
    connection.ensure_connection()
    if is_closed(connection.connection) and not connection.in_atomic_block:
        connection.close()
        connection.ensure_connection()
    started = monotonic()
    try:
        with connection.wrap_database_errors:
            connection.prepare()
            assert connection.connection
            return connection.connection.fetch_all(sql, params)
    finally:
        seconds = monotonic() - started
        if connection.queries_logged:
            connection.queries_log.append({"sql": sql, "time": f"{seconds:.3f}"})
        log_if_slow(sql, seconds)


def is_reachable(seconds: float) -> bool:
    """Whether this thread is connected, or could be within this time."""
    connection = of_thread()
    if not is_closed(connection.connection):
        return True
    return outage.answers(partial(answers, connection.get_connection_params), seconds)


def max_connections() -> int | None:
    """How many connections PostgreSQL allows; None if unknown now, or behind a pooler."""
    connection = of_thread()
    if connection.is_pooled:
        return None
    try:
        row = fetch_one("SELECT current_setting('max_connections')::int", [])
    except (DatabaseError, InterfaceError):
        return None
    finally:
        connection.close()
    return row[0] if row else None


def reason(error: BaseException) -> str:
    """The first line of an error, for operators; PostgreSQL adds hints as questions on further
    lines."""
    line = str(error).strip().partition("\n")[0]
    for start in ("connection failed: ", "connection is bad: "):
        line = line.removeprefix(start)
    return line


def explain(error: DatabaseError | InterfaceError) -> str:
    """What went wrong with the database and what to do, for callers of the API and staff."""
    match error.__cause__:
        case errors.DiskFull():
            return (
                "The database has no space left, so nothing was stored. The operator of this "
                "server must free some space."
            )
        case errors.QueryCanceled() | errors.LockNotAvailable() | NoAnswer():
            return "The database takes too long to answer. Try again in a moment."
    return "The database cannot be reached right now. Try again in a moment."

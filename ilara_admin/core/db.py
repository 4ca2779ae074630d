"""Database access of the hot path: prepared statements that bypass Django's cursor.

The only module that touches the psycopg connection. Statements use `$1` placeholders and are
prepared once per connection. Errors are raised as Django's, and a lost connection is replaced at
the next statement. JSONB is returned as text; the caller decodes it.
"""

import select
from collections.abc import Sequence
from time import monotonic
from typing import Any

import psycopg
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from ilara_admin.core import logs

type Row = tuple[Any, ...]


def fetch_all(sql: str, params: Sequence[Any], *, safe_to_repeat: bool = False) -> list[Row]:
    """All rows of one statement, committed when it returns unless a transaction is open.

    `safe_to_repeat` allows a retry on a new connection if the connection is lost: for reads and
    idempotent writes.
    """
    try:
        return _run(sql, params)
    except (OperationalError, InterfaceError):
        if not safe_to_repeat or connection.in_atomic_block or not _is_closed():
            raise
        connection.close()
        return _run(sql, params)


def fetch_one(sql: str, params: Sequence[Any], *, safe_to_repeat: bool = False) -> Row | None:
    """The first row of one statement, or None."""
    rows = fetch_all(sql, params, safe_to_repeat=safe_to_repeat)
    return rows[0] if rows else None


def _run(sql: str, params: Sequence[Any]) -> list[Row]:
    connection.ensure_connection()
    if _is_closed() and not connection.in_atomic_block:
        connection.close()
        connection.ensure_connection()
    started = monotonic()
    try:
        with connection.wrap_database_errors, psycopg.RawCursor(connection.connection) as cursor:
            cursor.execute(sql, params, prepare=True)
            return cursor.fetchall()
    finally:
        seconds = monotonic() - started
        if connection.queries_logged:
            connection.queries_log.append({"sql": sql, "time": f"{seconds:.3f}"})
        if seconds > settings.SLOW_QUERY_SECONDS:
            logs.slow_query(sql, seconds)


def _is_closed() -> bool:
    """Whether the server has disconnected. An idle server sends nothing except a disconnect, so
    readable means closed. psycopg would notice only at the next statement, too late to know whether
    the server ran it."""
    raw = connection.connection
    if raw is None or raw.closed:
        return True
    inbox = select.poll()
    inbox.register(raw.fileno(), select.POLLIN)
    return bool(inbox.poll(0))

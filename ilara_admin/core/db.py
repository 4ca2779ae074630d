"""The hot path's access to the database: prepared statements beneath Django's cursor.

The only module that touches the psycopg connection. Statements use `$1` placeholders and are
prepared once per connection. Errors arrive as Django's, and a connection that was lost is replaced
at the next statement. JSONB arrives as text: whoever needs the value decodes it.
"""

import select
from collections.abc import Sequence
from time import monotonic
from typing import Any

import psycopg
from django.db import InterfaceError, OperationalError, connection

type Row = tuple[Any, ...]


def fetch_all(sql: str, params: Sequence[Any], *, safe_to_repeat: bool = False) -> list[Row]:
    """All rows of one statement, committed when it returns unless a transaction is open.

    `safe_to_repeat` allows one more try on a fresh connection when the old one was lost: right for
    reads and for writes that change nothing when they run twice.
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
        if connection.queries_logged:
            seconds = f"{monotonic() - started:.3f}"
            connection.queries_log.append({"sql": sql, "time": seconds})


def _is_closed() -> bool:
    """Has the server left? It says nothing unasked but farewell, so whatever waits to be read is
    that. psycopg alone would notice only after the next statement, when nobody can tell any more
    whether the server ran it."""
    raw = connection.connection
    if raw is None or raw.closed:
        return True
    inbox = select.poll()
    inbox.register(raw.fileno(), select.POLLIN)
    return bool(inbox.poll(0))

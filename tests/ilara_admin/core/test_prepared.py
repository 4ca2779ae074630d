"""Prepared statements of a connection, on a real one."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import psycopg
import pytest
from django.db import connection, transaction
from psycopg.errors import DivisionByZero

from ilara_admin.core import limits
from ilara_admin.core.limits import Limits
from ilara_admin.core.postgresql.base import DatabaseConnection, NoAnswer
from ilara_admin.core.postgresql.prepared import MAX_STATEMENTS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def raw() -> Iterator[DatabaseConnection]:
    connection.close()
    connection.ensure_connection()
    assert isinstance(connection.connection, DatabaseConnection)
    yield connection.connection
    connection.close()


def prepared() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        return int(cursor.fetchone()[0])


VALUES = [
    True,
    7,
    40_000,
    2**40,
    "text",
    b"\x00\xff",
    Decimal("4.990"),
    UUID(int=7),
    datetime(2027, 10, 31, 1, 30, tzinfo=UTC),
    ["a", None, 'b"{},'],
    [1, 2**40],
    [UUID(int=1)],
]


def test_values__arrive_as_with_a_cursor(raw: DatabaseConnection) -> None:
    for value in VALUES:
        with psycopg.RawCursor(raw) as cursor:
            expected = cursor.execute("SELECT $1", [value]).fetchall()
        for _ in range(2):
            assert raw.fetch_all("SELECT $1", [value]) == expected
    assert raw.fetch_all("SELECT '{\"a\": 1}'::jsonb, now() - now()", [])[0][0] == '{"a": 1}'


def test_statement__is_prepared_once_per_types(raw: DatabaseConnection) -> None:
    for value in (1, 2, None, UUID(int=1), UUID(int=2)):
        raw.fetch_all("SELECT $1", [value])
    assert prepared() == 3


def test_many_statements__leave_the_last_used_ones_prepared(raw: DatabaseConnection) -> None:
    for number in range(MAX_STATEMENTS + 20):
        assert raw.fetch_all(f"SELECT {number}", []) == [(number,)]
        assert raw.fetch_all("SELECT -1", []) == [(-1,)]
    assert prepared() == MAX_STATEMENTS
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        found = {text for (text,) in cursor.fetchall()}
    assert {"SELECT -1", f"SELECT {MAX_STATEMENTS + 19}"} <= found
    assert "SELECT 0" not in found


def test_without_a_threshold__nothing_is_prepared(raw: DatabaseConnection) -> None:
    """Behind a pooler."""
    raw.prepare_threshold = None
    assert raw.fetch_all("SELECT $1::int + 1", [1]) == [(2,)]
    assert prepared() == 0


def test_error__leaves_the_statement_and_the_session_usable(raw: DatabaseConnection) -> None:
    with pytest.raises(DivisionByZero):
        raw.fetch_all("SELECT 1 / $1::int", [0])
    assert raw.fetch_all("SELECT 1 / $1::int", [1]) == [(1,)]
    with pytest.raises(psycopg.errors.SyntaxError):
        raw.fetch_all("SELEC $1", [1])
    assert prepared() == 1


def test_rollback__undoes_the_statement_and_keeps_it_prepared(raw: DatabaseConnection) -> None:
    raw.fetch_all("CREATE TABLE counted (n int)", [])
    insert = "INSERT INTO counted VALUES ($1) RETURNING n"
    with transaction.atomic():
        assert raw.fetch_all(insert, [1]) == [(1,)]
        transaction.set_rollback(True)
    assert raw.fetch_all("SELECT n FROM counted", []) == []
    assert raw.fetch_all(insert, [2]) == [(2,)]
    raw.fetch_all("DROP TABLE counted", [])


def test_deadline__includes_preparing(raw: DatabaseConnection) -> None:
    """A lock that PostgreSQL waits for while it prepares."""
    with (
        psycopg.connect(**connection.get_connection_params()) as other,
        limits.using(Limits(statement=0, lock=0, idle_in_transaction=0, answer=0.2)),
    ):
        other.execute("LOCK TABLE player")
        with pytest.raises(NoAnswer):
            raw.fetch_all("SELECT id FROM player", [])
        assert raw.closed

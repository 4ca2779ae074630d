"""Statements with `$1` placeholders, prepared once per connection.

They bypass psycopg's cursors, which build dumpers and loaders again for every statement: that takes
half of the CPU of a call to the database.
"""

from collections.abc import Sequence
from itertools import count
from typing import Any

from psycopg import errors
from psycopg.abc import PQGen
from psycopg.adapt import AdaptersMap, PyFormat, Transformer
from psycopg.generators import execute
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

type Rows = list[tuple[Any, ...]]

MAX_STATEMENTS = 100  # in one session; psycopg's own default


class PreparedStatements:
    """The statements of one connection. They differ by the types of their parameters, too. Only the
    last used ones stay prepared."""

    def __init__(self, pgconn: PGconn, adapters: AdaptersMap) -> None:
        self.pgconn = pgconn
        self.transformer = Transformer(adapters)
        self.names: dict[tuple[str, tuple[int, ...]], bytes] = {}  # the last used one is last
        self.numbers = count()

    def run(self, sql: str, params: Sequence[Any], *, prepare: bool) -> PQGen[Rows]:
        """The rows of a statement; psycopg's Connection.wait runs the generator."""
        values = self.transformer.dump_sequence(params, [PyFormat.AUTO] * len(params))
        types, formats = self.transformer.types or (), self.transformer.formats
        if prepare:
            name = yield from self._name(sql, types)
            self.pgconn.send_query_prepared(name, values, formats)
        else:
            self.pgconn.send_query_params(sql.encode(), values, types, formats)
        result = yield from self._result()
        self.transformer.set_pgresult(result)
        try:
            return self.transformer.load_rows(0, result.ntuples, tuple)
        finally:
            self.transformer.set_pgresult(None)  # frees the rows in libpq's form

    def _name(self, sql: str, types: tuple[int, ...]) -> PQGen[bytes]:
        """The name of the statement, prepared if it is not yet."""
        name = self.names.pop((sql, types), None)
        if name is None:
            name = b"ilara_%d" % next(self.numbers)
            self.pgconn.send_prepare(name, sql.encode(), types)
            yield from self._result()
        self.names[sql, types] = name
        if len(self.names) > MAX_STATEMENTS:
            self.pgconn.send_query(b"DEALLOCATE " + self.names.pop(next(iter(self.names))))
            yield from self._result()
        return name

    def _result(self) -> PQGen[PGresult]:
        """The result of what was sent. Raises psycopg's error if it failed."""
        results: list[PGresult] = yield from execute(self.pgconn)
        result = results[0]
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise errors.error_from_result(result)
        return result

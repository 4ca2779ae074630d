"""Restore a backup into the configured database: completely or not at all."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, BinaryIO

from django.db import connection
from django.db.migrations.loader import MigrationLoader
from psycopg import sql

from ilara_admin.core.progress import Progress
from ilara_admin.runtime.backup.manifest import BackupError, Manifest, read
from ilara_admin.runtime.backup.programs import Messages, Programs, programs, server_version
from ilara_admin.runtime.postgresql.site import summarize_output

# pg_dump writes it since version 17, and older servers refuse it.
TRANSACTION_TIMEOUT = b"SET transaction_timeout = 0;\n"
TRANSACTION_TIMEOUT_SINCE = 17
HEAD_BYTES = 4096
PATIENCE_SECONDS = 2

# Statements that empty the schema, without what belongs to an extension or an identity column.
# CASCADE drops some objects before their turn.
DROPS = """
    WITH place AS (SELECT oid FROM pg_namespace WHERE nspname = %(schema)s),
    part AS (SELECT classid, objid FROM pg_depend WHERE deptype IN ('e', 'i') AND objsubid = 0)
    SELECT format('DROP %%s IF EXISTS %%I.%%I CASCADE;', CASE relkind
               WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
               WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, %(schema)s, relname)
    FROM pg_class c JOIN place ON relnamespace = place.oid
    WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND NOT relispartition
        AND ('pg_class'::regclass, c.oid) NOT IN (SELECT * FROM part)
    UNION ALL
    SELECT format('DROP ROUTINE IF EXISTS %%I.%%I(%%s) CASCADE;', %(schema)s, proname,
                  pg_get_function_identity_arguments(p.oid))
    FROM pg_proc p JOIN place ON pronamespace = place.oid
    WHERE ('pg_proc'::regclass, p.oid) NOT IN (SELECT * FROM part)
    UNION ALL
    SELECT format('DROP TYPE IF EXISTS %%I.%%I CASCADE;', %(schema)s, typname)
    FROM pg_type t JOIN place ON typnamespace = place.oid
    WHERE (typtype IN ('e', 'd', 'r')
           OR typtype = 'c' AND (SELECT relkind FROM pg_class c WHERE c.oid = typrelid) = 'c')
        AND ('pg_type'::regclass, t.oid) NOT IN (SELECT * FROM part)
"""


@dataclass(frozen=True, slots=True)
class Restored:
    """`missing` are migrations that the backup lacks, `unknown` those that this version lacks."""

    manifest: Manifest
    missing: list[str]
    unknown: list[str]


def restore(file: BinaryIO, replace: str | None, progress: Progress) -> Restored:
    """Restore an unbuffered file or pipe, and compare the counts of rows before the commit.

    The database must be empty, or `replace` must be its name. Raises BackupError and DatabaseError.
    """
    manifest = read(file)
    with connection.cursor() as cursor:
        server, tools = server_version(), programs(at_least=manifest.programs)
        cursor.execute("SELECT current_database(), current_schema()")
        database, schema = cursor.fetchone()
        _refuse_while_used(database)
        cursor.execute(DROPS, {"schema": schema})
        drops = [drop for (drop,) in cursor.fetchall()]
    if replace and replace != database:
        raise BackupError(f"--replace names {replace}, but the database is {database}.")
    if drops and not replace:
        raise BackupError(
            f"The database {database} is not empty: use an empty one, or delete everything in it "
            f"with --replace {database}."
        )
    connection.close()
    _run(file, manifest, tools, drops, server, progress)
    progress("Statistics", 0, 1)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("ANALYZE")
    progress("Statistics", 1, 1)
    known = {f"{app}.{name}" for app, name in MigrationLoader(None).disk_migrations}
    in_backup = set(manifest.migrations)
    return Restored(manifest, sorted(known - in_backup), sorted(in_backup - known))


def _refuse_while_used(database: str) -> None:
    """Wait a moment for connections that are ending."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while others := _other_connections():
        if time.monotonic() > deadline:
            noun = "connection uses" if others == 1 else "connections use"
            raise BackupError(
                f"{others} other {noun} the database {database}: stop `serve`, the web servers, "
                "the workers and other programs first."
            )
        time.sleep(0.1)


def _other_connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
               AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
               -- For sessions of other roles, an ordinary role reads NULL as the type.
               AND coalesce(backend_type, 'client backend') = 'client backend'"""
        )
        return int(cursor.fetchone()[0])


def _run(
    file: BinaryIO,
    manifest: Manifest,
    tools: Programs,
    drops: list[str],
    server: int,
    progress: Progress,
) -> None:
    """Run the SQL of the archive in one transaction of psql.

    psql gets COMMIT only after pg_restore has read the whole archive: when either fails, or this
    process is killed, the connection closes and nothing has changed.
    """
    with (
        tempfile.TemporaryFile() as errors,
        tools.run(
            "psql",
            *["--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"],
            f"--dbname={tools.address}",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        ) as psql,
        tools.run(
            "pg_restore",
            *["--verbose", "--file=-", f"--schema={manifest.schema}"],
            *["--no-owner", "--no-privileges", "--no-comments"],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as archive,
    ):
        assert psql.stdin
        assert archive.stdout
        assert archive.stderr
        messages = Messages(archive.stderr, manifest, "Restoring rows", progress)
        try:
            _send(psql.stdin, _before(drops))
            head = archive.stdout.read(HEAD_BYTES)
            if server < TRANSACTION_TIMEOUT_SINCE:
                head = head.replace(TRANSACTION_TIMEOUT, b"", 1)
            psql.stdin.write(head)
            shutil.copyfileobj(archive.stdout, psql.stdin)
            if archive.wait():
                psql.kill()
                raise BackupError(
                    f"The backup cannot be read; nothing was changed: {messages.failure()}"
                )
            messages.finish()
            progress("Checking counts", 0, 1)
            _send(psql.stdin, [*_checks(manifest), "COMMIT;"])
        except BrokenPipeError:
            pass  # psql has failed: its exit code is checked below
        finally:
            with suppress(BrokenPipeError):
                psql.stdin.close()
        if psql.wait():
            errors.seek(0)
            why = summarize_output(errors.read().decode(errors="replace"))
            raise BackupError(f"The backup was not restored; nothing was changed: {why}")
        progress("Checking counts", 1, 1)


def _send(stdin: IO[bytes], statements: Iterable[str]) -> None:
    stdin.write("".join(f"{statement}\n" for statement in statements).encode())


def _before(drops: list[str]) -> Iterator[str]:
    yield "SET client_min_messages = warning;"
    yield "SET statement_timeout = 0;"
    yield "SET idle_in_transaction_session_timeout = 0;"
    yield "SET lock_timeout = '10s';"  # for the drops: the archive begins by setting it to 0
    yield "BEGIN;"
    yield from drops


def _checks(manifest: Manifest) -> Iterator[str]:
    """Statements that fail unless each table has as many rows as the backup says."""
    for table, rows in manifest.rows.items():
        check = sql.SQL(
            """BEGIN IF (SELECT count(*) FROM {table}) <> {rows} THEN
            RAISE EXCEPTION USING MESSAGE = {message}; END IF; END"""
        ).format(
            table=sql.Identifier(manifest.schema, table),
            rows=sql.Literal(rows),
            message=sql.Literal(f"the table {table} has not {rows} rows as the backup says"),
        )
        yield f"DO {sql.Literal(check.as_string(None)).as_string(None)};"

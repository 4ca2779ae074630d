"""Write a backup of the configured database, while it is used."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone
from psycopg import sql

from ilara_admin.core.progress import Progress
from ilara_admin.runtime.backup.manifest import FORMAT, BackupError, Manifest, write
from ilara_admin.runtime.backup.programs import Messages, Programs, programs, server_version

# The limits of a session that would end a long backup.
UNLIMITED = ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")


def dump(file: BinaryIO, progress: Progress) -> Manifest:
    """Write a backup to a file or pipe.

    The counts and the dump see one snapshot, taken after this was called: whatever was committed
    before the call is in the backup. Raises BackupError and DatabaseError.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # Settings that this version of PostgreSQL lacks have no row.
        cursor.execute(
            "SELECT set_config(name, '0', true) FROM pg_settings WHERE name = ANY(%s)",
            [list(UNLIMITED)],
        )
        server = server_version()
        tools = programs(at_least=server)
        manifest = _manifest(cursor, server, tools.version, progress)
        cursor.execute("SELECT pg_export_snapshot()")
        snapshot = cursor.fetchone()[0]
        write(file, manifest)
        # This transaction stays open, so that none of the counted tables can be dropped meanwhile.
        _archive(file, manifest, tools, snapshot, progress)
    return manifest


@contextmanager
def complete_file(path: Path) -> Iterator[BinaryIO]:
    """A new private file that appears under its name once it is complete and on disk.

    Raises BackupError if the name is taken or the folder cannot be written to.
    """
    try:
        if os.path.lexists(path):
            raise BackupError(f"{path} exists: choose another name, or remove that file first.")
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(descriptor)
            os.rename(draft, path)
            _fsync_folder(path.parent)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(draft)
            raise
    except OSError as error:
        raise BackupError(f"Cannot write {path}: {error.strerror or error}.") from None


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _manifest(cursor: CursorWrapper, server: int, version: int, progress: Progress) -> Manifest:
    cursor.execute("SELECT current_database(), current_schema()")
    database, schema = cursor.fetchone()
    tables = _tables(cursor, schema)
    if "django_migrations" not in tables:
        raise BackupError(
            f"The database {database} has no tables yet: there is nothing to back up."
        )
    rows = {}
    for number, table in enumerate(tables):
        progress("Counting rows", number, len(tables))
        name = sql.Identifier(schema, table)
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(name))
        rows[table] = cursor.fetchone()[0]
    progress("Counting rows", len(tables), len(tables))
    applied = MigrationRecorder(connection).applied_migrations()
    return Manifest(
        format=FORMAT,
        created_at=timezone.now().isoformat(timespec="seconds"),
        database=database,
        schema=schema,
        server=server,
        programs=version,
        migrations=sorted(f"{app}.{name}" for app, name in applied),
        rows=rows,
    )


def _tables(cursor: CursorWrapper, schema: str) -> list[str]:
    """The tables that hold rows: ordinary ones and partitions, without those of extensions."""
    cursor.execute(
        """SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname = %s AND c.relkind = 'r' AND NOT EXISTS (
               SELECT FROM pg_depend d
               WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
           ORDER BY c.relname""",
        [schema],
    )
    return [name for (name,) in cursor.fetchall()]


def _archive(
    file: BinaryIO, manifest: Manifest, tools: Programs, snapshot: str, progress: Progress
) -> None:
    # Read through a pipe: a dump to a file would note places in the file, which are wrong behind
    # the first line.
    with tools.run(
        "pg_dump",
        "--format=custom",
        "--compress=1",  # the default takes 2.5 times as long and saves 6 %
        "--verbose",
        "--no-password",
        f"--snapshot={snapshot}",
        f'--schema="{manifest.schema}"',
        f"--dbname={tools.address}",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        messages = Messages(process.stderr, manifest, "Backing up rows", progress)
        shutil.copyfileobj(process.stdout, file)
        if process.wait():
            raise BackupError(f"pg_dump failed: {messages.failure()}")
        messages.finish()

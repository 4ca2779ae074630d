"""Backups: their first line, their counts, and restores that must fail."""

import io
import stat
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from ilara_admin.core.progress import no_progress
from ilara_admin.models import Project
from ilara_admin.runtime.backup import manifest, programs
from ilara_admin.runtime.backup.dump import complete_file, dump
from ilara_admin.runtime.backup.manifest import BackupError, Manifest
from ilara_admin.runtime.backup.restore import restore
from tests.factories import make_environment

DATABASE = pytest.mark.django_db(transaction=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "test.backup"


@pytest.fixture
def alone(transactional_db: None) -> None:
    """Servers that other tests share keep connections to this database, which they replace."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        )


def write(file: Path) -> Manifest:
    with complete_file(file) as stream:
        return dump(stream, no_progress)


def put_back(file: Path, replace: str | None = None) -> None:
    with open(file, "rb", buffering=0) as stream:
        restore(stream, replace, no_progress)


def name_of_database() -> str:
    return str(connection.settings_dict["NAME"])


# --- The first line -------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{}\n", b"PGDMP\x01\x0f", b"-- SQL\n", b"\xff" * 100])
def test_other_files__are_refused(content: bytes) -> None:
    with pytest.raises(BackupError, match=r"not a file that `manage.py backup` wrote"):
        manifest.read(io.BytesIO(content))


def test_format_of_another_version__is_refused() -> None:
    line = msgspec.json.encode(Manifest("ilara-backup-2", "", "", "", 18, 18, [], {}))
    with pytest.raises(BackupError, match="ilara-backup-2"):
        manifest.read(io.BytesIO(line))


# --- The file -------------------------------------------------------------------------------------


def test_file__is_private_and_never_replaces_another(file: Path) -> None:
    with complete_file(file) as stream:
        stream.write(b"first")
        assert not file.exists()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(BackupError, match="exists: choose another name"), complete_file(file):
        pass
    assert file.read_bytes() == b"first"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, BackupError])
def test_failed_backup__leaves_no_file(file: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with complete_file(file) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert list(file.parent.iterdir()) == []


def test_missing_folder__is_named(file: Path) -> None:
    with pytest.raises(BackupError, match=r"Cannot write .*none/x: No such"):
        complete_file(file / "none" / "x").__enter__()


# --- Programs -------------------------------------------------------------------------------------


@DATABASE
@pytest.mark.usefixtures("alone")
def test_no_fitting_programs__error_says_what_to_install() -> None:
    with pytest.raises(BackupError, match=r"PostgreSQL 99 or newer \(found: .*client-99"):
        programs.programs(at_least=99)


# --- Backup and restore ---------------------------------------------------------------------------


@pytest.mark.slow
@DATABASE
@pytest.mark.usefixtures("alone")
def test_restore__database_is_as_before(file: Path) -> None:
    environment = make_environment()
    written = write(file)
    assert (written.rows["project"], written.rows["environment"]) == (1, 2)
    before = contents()

    environment.project.delete()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE left_over (id int); CREATE TYPE mood AS ENUM ('good')")
        cursor.execute("CREATE FUNCTION left_over(mood) RETURNS int RETURN 1")
    put_back(file, name_of_database())
    assert contents() == before
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('left_over'), to_regtype('mood')")
        assert cursor.fetchone() == (None, None)
    newest = Project.objects.get().pk
    assert Project.objects.create(name="Next", slug="next").pk == newest + 1


def contents() -> dict[str, str]:
    """A digest of each table."""
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            rows = "string_agg(t::text, chr(10) ORDER BY t::text)"
            cursor.execute(f"SELECT md5(coalesce({rows}, '')) FROM {table} t")
            found[table] = cursor.fetchone()[0]
    return found


@pytest.mark.slow
@DATABASE
@pytest.mark.usefixtures("alone")
def test_changes_during_the_backup__are_not_in_it(file: Path) -> None:
    """The counts and the dump see one snapshot: otherwise the restore would refuse the counts."""
    make_environment()

    def add_project(step: str, done: int, total: int) -> None:
        if (step, done) == ("Counting rows", 1):
            with other_session() as session:
                session.execute(
                    "INSERT INTO project (name, slug, tier) VALUES ('Late', 'late', 'free')"
                )

    with complete_file(file) as stream:
        written = dump(stream, add_project)
    assert Project.objects.count() == 2
    assert written.rows["project"] == 1
    put_back(file, name_of_database())
    assert Project.objects.count() == 1


def other_session() -> "psycopg.Connection[tuple[Any, ...]]":
    connection.ensure_connection()
    assert connection.connection
    info = connection.connection.info
    return psycopg.connect(info.dsn, password=info.password)


@pytest.mark.slow
@DATABASE
@pytest.mark.usefixtures("alone")
def test_refused_restores__change_nothing(file: Path, tmp_path: Path) -> None:
    make_environment()
    written = write(file)
    first, archive = file.read_bytes().split(b"\n", 1)
    make_environment()
    before, name = contents(), name_of_database()

    with pytest.raises(BackupError, match=f"{name} is not empty.*--replace {name}"):
        put_back(file)
    with pytest.raises(BackupError, match=f"--replace names other, but the database is {name}"):
        put_back(file, "other")

    file.write_bytes(first + b"\n" + archive[:-2000])
    with pytest.raises(BackupError, match="cannot be read; nothing was changed"):
        put_back(file, name)

    miscounted = msgspec.structs.replace(written, rows=written.rows | {"project": 7})
    file.write_bytes(msgspec.json.encode(miscounted) + b"\n" + archive)
    with pytest.raises(BackupError, match=r"nothing was changed: .*project has not 7 rows"):
        put_back(file, name)

    file.write_bytes(first + b"\n" + archive)
    with other_session() as session:
        session.execute("SELECT 1")
        with pytest.raises(BackupError, match="1 other connection uses the database"):
            put_back(file, name)
    assert contents() == before


@pytest.mark.slow
@DATABASE
@pytest.mark.usefixtures("alone")
def test_commands__say_what_to_do_next(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_environment()
    call_command("backup", str(file))
    assert "rows in" in capsys.readouterr().err
    with pytest.raises(CommandError, match="exists: choose another name"):
        call_command("backup", str(file))

    line, archive = file.read_bytes().split(b"\n", 1)
    written = msgspec.json.decode(line, type=Manifest)
    for migrations, expected in (
        ([*written.migrations, "flags.9999_new"], "newer version of Ilara, with the migrations"),
        (written.migrations[1:], "run `manage.py migrate`"),
    ):
        changed = msgspec.structs.replace(written, migrations=migrations)
        file.write_bytes(msgspec.json.encode(changed) + b"\n" + archive)
        call_command("restore", str(file), "--replace", name_of_database())
        out, err = capsys.readouterr()
        assert out == (
            f"Restored {written.total:,} rows in {len(written.rows)} tables, as counted in the "
            f"backup of {written.created_at}.\n"
        )
        assert expected in err

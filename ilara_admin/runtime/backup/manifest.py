"""The first line of a backup: JSON that says what the archive behind it holds.

A backup is this line and then an archive in pg_dump's custom format, so `head -n 1 FILE` shows what
a backup holds, and `tail -n +2 FILE` is an archive for pg_restore.
"""

from typing import BinaryIO

import msgspec

from ilara_admin.core.structs import decoder

FORMAT = "ilara-backup-1"
MAX_LINE_BYTES = 16 * 1024 * 1024


class BackupError(Exception):
    """A backup cannot be written or restored; the message is one line that names the fix."""


class Manifest(msgspec.Struct, frozen=True):
    """`rows` counts the rows of each table in `schema`, in the snapshot that was dumped.

    `server` and `programs` are major versions of PostgreSQL; migrations are named like
    "events.0001_initial".
    """

    format: str
    created_at: str
    database: str
    schema: str
    server: int
    programs: int
    migrations: list[str]
    rows: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.rows.values())


def write(file: BinaryIO, manifest: Manifest) -> None:
    file.write(msgspec.json.encode(manifest) + b"\n")


def read(file: BinaryIO) -> Manifest:
    """Read the first line. The file must be unbuffered: a program reads the rest of it."""
    line = file.readline(MAX_LINE_BYTES)
    try:
        manifest: Manifest = decoder(Manifest).decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BackupError("This is not a file that `manage.py backup` wrote.") from None
    if manifest.format != FORMAT:
        raise BackupError(
            f"This backup has the format {manifest.format}, but this version of Ilara reads "
            f"{FORMAT}: restore it with the version that wrote it."
        )
    return manifest

"""A separate database for the measurements."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.core.management import call_command
from django.db import connections

from ilara_admin.runtime import embedded_postgres


@contextmanager
def bench_database(home: Path | None) -> Iterator[embedded_postgres.Server]:
    """Use the embedded server of `home`, or of a temporary folder, instead of the configured
    database, with all tables. A temporary folder is removed at the end."""
    kept = home is not None
    place = home or Path(tempfile.mkdtemp(prefix="ilara-bench-"))
    if not kept:
        place.chmod(0o755)  # for root: PostgreSQL's user must enter it
    connections["default"].close()
    connections.settings["default"].update(embedded_postgres.database(place))
    del connections["default"]  # the next use opens one with these settings
    server = embedded_postgres.lease(place)
    try:
        call_command("migrate", verbosity=0, interactive=False)
        yield server
    finally:
        connections.close_all()
        embedded_postgres.release(place)
        if not kept:
            shutil.rmtree(server.data.parent)
            shutil.rmtree(place, ignore_errors=True)

"""Web servers to measure: Ilara as in production, and the limit views under plain gunicorn."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from django.conf import settings

from ilara_admin.bench.drivers import BenchError
from ilara_admin.bench.processes import running_on
from ilara_admin.runtime import embedded_postgres, sizing
from ilara_admin.runtime.servers import web_command
from ilara_admin.runtime.supervisor import START_SECONDS, STOP_SECONDS, ending_with_parent

HOST = "127.0.0.1"


class WebServer(NamedTuple):
    pid: int
    port: int


@contextmanager
def ilara(
    server: str,
    database: embedded_postgres.Server,
    cores: frozenset[int],
    workers: int = 1,
    threads: int | None = None,
) -> Iterator[WebServer]:
    port = _free_port()
    environment = {"ILARA_THREADS": str(threads)} if threads else {}
    with _running(web_command(server, HOST, port, workers), environment, database, cores, port) as (
        found
    ):
        yield found


@contextmanager
def limit_views(database: embedded_postgres.Server, cores: frozenset[int]) -> Iterator[WebServer]:
    """As many threads as Ilara has."""
    port = _free_port()
    command = [
        *(sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--workers", "1"),
        *("--threads", str(sizing.web_threads(1)), "--keep-alive", "75", "--no-control-socket"),
        *("--bind", f"{HOST}:{port}", "--log-level", "warning"),
        "ilara_admin.bench.limit_views:application()",
    ]
    with _running(command, {}, database, cores, port) as found:
        yield found


@contextmanager
def _running(
    command: list[str],
    environment: dict[str, str],
    database: embedded_postgres.Server,
    cores: frozenset[int],
    port: int,
) -> Iterator[WebServer]:
    given = {
        "DATABASE_URL": f"postgresql://ilara@/ilara?host={database.socket}",
        "SECRET_KEY": settings.SECRET_KEY,
        "ALLOWED_HOSTS": HOST,
        "ILARA_HTTPS": "0",
    }
    with running_on(cores):
        process = subprocess.Popen(
            command,
            cwd=settings.BASE_DIR,
            env={**os.environ, **given, **environment},
            preexec_fn=ending_with_parent(),
        )
    try:
        _wait_until_it_answers(process, port)
        yield WebServer(process.pid, port)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_it_answers(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        session = http.client.HTTPConnection(HOST, port, timeout=5)
        with contextlib.closing(session), contextlib.suppress(OSError, http.client.HTTPException):
            session.request("GET", "/v1/")  # any status will do
            session.getresponse()
            return
        time.sleep(0.05)
    raise BenchError(f"The server on port {port} did not start: see the lines above.")

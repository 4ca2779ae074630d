"""gunicorn on the test database, with the production settings, for tests with real processes."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import IO
from urllib.parse import quote, urlencode

from django.conf import settings
from django.db import connection

from ilara_admin.runtime.supervisor import ending_with_parent
from tests.api_client import HttpApi
from tests.homes import wait_until
from tests.running import free_port


@dataclass(frozen=True, slots=True)
class Gunicorn:
    process: subprocess.Popen[bytes]
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def api(self, token: str | None) -> HttpApi:
        return HttpApi(self.address, token)

    def answers(self) -> bool:
        assert self.process.poll() is None, "gunicorn has exited"
        with contextlib.suppress(OSError):
            return self.api(None).get("/v1/").status == 404
        return False


@cache
def database_url() -> str:
    """The URL of the test database, for other processes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        (name,) = cursor.fetchone()
    info = connection.connection.info
    login = quote(info.user) + (f":{quote(info.password)}" if info.password else "")
    where = urlencode({"host": info.host, "port": info.port})
    return f"postgresql://{login}@/{name}?{where}"


@contextmanager
def gunicorns(
    number: int, port: int | None = None, log: IO[str] | None = None, /, **environ: str
) -> Iterator[list[Gunicorn]]:
    """`number` servers, each with one worker and a free port, or one server on `port`. `log` takes
    their stderr."""
    if "DATABASE_URL" not in environ:
        environ["DATABASE_URL"] = database_url()
    started: list[Gunicorn] = []
    try:
        for _ in range(number):
            started.append(_start(environ, port or free_port(), log))
        for server in started:
            wait_until(server.answers)
        yield started
    finally:
        for server in started:
            server.process.terminate()
        for server in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(30)
            server.process.kill()
            server.process.wait()


def _start(environ: dict[str, str], port: int, log: IO[str] | None) -> Gunicorn:
    command = [sys.executable, "-m", "gunicorn", "-c", "ilara_admin/runtime/gunicorn_conf.py"]
    process = subprocess.Popen(
        [*command, "--log-level", "warning", "ilara_admin.wsgi"],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "SECRET_KEY": "x",
            "PGAPPNAME": f"ilara-{port}",
            "ILARA_BIND": f"127.0.0.1:{port}",
            "ILARA_WORKERS": "1",
            **environ,
        },
        stderr=log,
        preexec_fn=ending_with_parent(),
    )
    return Gunicorn(process, port)
